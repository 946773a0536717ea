// Winners of large windows that slide by one pixel, with planes or channels in the lanes: all rows of x are folded
// along the width, then rows of windows along the height, by kernels that take four windows at a time.
#pragma once

#include <optional>

#include "rows_in_lanes.hpp"

namespace fastconv {

template <class T>
class SlidingRows {
  using P = PlaceOf<T>;
  static constexpr Index kFewestTaps = 4;  // that the kernel takes
  static constexpr Index kMostTaps = 24;   // with more, windows that share more than four do are faster

 public:
  // Of problems that WindowRows takes.
  static bool applies(const PoolProblem& p) {
    const auto few = [](const Axis& a) { return a.stride == 1 && a.kernel >= kFewestTaps && a.kernel <= kMostTaps; };
    return few(p.height()) && few(p.width());
  }
  static std::size_t workspace_bytes(const PoolProblem& p) {
    const Index lanes = kernels().of<T>().lanes, row = p.width().out * lanes;
    return RowsInLanes<T>::workspace_bytes(p) + Workspace::piece_bytes<T>(p.height().in * row) +
           Workspace::piece_bytes<P>(p.height().in * row) + Workspace::piece_bytes<T>(rows_at_once(p) * row) +
           Workspace::piece_bytes<P>(rows_at_once(p) * row);
  }
  // As many rows of windows as make a good transpose.
  static Index rows_at_once(const PoolProblem& p) { return std::max<Index>(1, kPixels / p.width().out / 8) * 8; }

  // Of `lanes` planes or channels, at most a vector's, from x on.
  SlidingRows(const PoolProblem& p, const T* x, Index lanes, const PlaceSteps& place, Workspace& workspace)
      : p_(p), place_(place), kernels_(kernels().of<T>()), x_(p, x, lanes, workspace) {
    const Index row = p.width().out * kernels_.lanes;
    folded_ = workspace.take<T>(p.height().in * row);
    places_ = workspace.take<P>(p.height().in * row);
    values_ = workspace.take<T>(rows_at_once(p) * row);
    winners_ = workspace.take<P>(rows_at_once(p) * row);
  }

  // The winners of some rows of windows, a vector for each, and the maxima, if they are wanted; groups of rows come in
  // order. Nothing if an element is NaN (or if there is inf as well as -inf).
  struct Rows {
    const P* winners;
    const T* values;
  };
  std::optional<Rows> rows(Range rows, bool with_values) {
    const Axis& h = p_.height();
    if (!fold_width(std::min(h.in, rows.last - 1 - h.pad + h.kernel))) return std::nullopt;
    const Index row = p_.width().out * kernels_.lanes;
    SlideWinners<T> t{};
    t.in = h.in, t.begin = rows.first, t.end = rows.last, t.taps = h.kernel, t.pad = h.pad;
    t.lines = p_.width().out;
    t.x = folded_, t.x_place = places_, t.x_step = row, t.x_line = kernels_.lanes;
    t.y = with_values ? values_ : nullptr, t.y_place = winners_, t.y_step = row, t.y_line = kernels_.lanes;
    t.lane_place = place_.lane;
    kernels_.slide_winners(t);
    return Rows{winners_, values_};
  }

 private:
  static constexpr Index kPixels = 128;

  // Rows of x up to `last`, each right before windows need it.
  bool fold_width(Index last) {
    const Axis& w = p_.width();
    SlideWinners<T> t{};
    t.in = w.in, t.end = w.out, t.taps = w.kernel, t.pad = w.pad;
    t.y_step = kernels_.lanes, t.y_line = w.out * kernels_.lanes;
    t.pixel_place = place_.pixel, t.line_place = place_.row;
    bool numbers = true;
    for (; next_ < last && numbers; next_ += t.lines) {
      const typename RowsInLanes<T>::Rows rows = x_.rows(next_);
      t.lines = std::min(rows.count, last - next_);
      t.x = rows.x, t.x_step = rows.pixel, t.x_line = rows.step;
      t.y = folded_ + next_ * t.y_line, t.y_place = places_ + next_ * t.y_line;
      t.place = next_ * place_.row;
      numbers = kernels_.slide_winners(t);
    }
    return numbers;
  }

  const PoolProblem& p_;
  PlaceSteps place_;
  const Kernels<T>& kernels_;
  RowsInLanes<T> x_;
  T *folded_, *values_;
  P *places_, *winners_;
  Index next_ = 0;  // row of x
};

}  // namespace fastconv
