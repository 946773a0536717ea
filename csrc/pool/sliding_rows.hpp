// Winners of large windows that slide by one pixel, with planes or channels in the lanes: rows of x are folded along
// the width right before rows of windows are along the height, by kernels that take four or eight windows at a time.
#pragma once

#include <optional>

#include "rows_in_lanes.hpp"

namespace fastconv {

template <class T>
class SlidingRows {
  using P = PlaceOf<T>;
  static constexpr Index kFewestTaps = 3;  // that the kernel takes
  static constexpr Index kMostTaps = 24;   // with more, windows that share more than four do are faster

 public:
  // Of problems that WindowRows takes.
  static bool applies(const PoolProblem& p) {
    const auto few = [](const Axis& a) { return a.stride == 1 && a.kernel >= kFewestTaps && a.kernel <= kMostTaps; };
    return few(p.height()) && few(p.width());
  }
  static std::size_t workspace_bytes(const PoolProblem& p) {
    const Index lanes = kernels().of<T>().lanes, row = p.width().out * lanes;
    return RowsInLanes<T>::workspace_bytes(p) + Workspace::piece_bytes<T>(folded_rows(p) * row) +
           Workspace::piece_bytes<P>(folded_rows(p) * row) + Workspace::piece_bytes<T>(rows_at_once(p) * row) +
           Workspace::piece_bytes<P>(rows_at_once(p) * row);
  }
  // As many rows of windows as make a good transpose.
  static Index rows_at_once(const PoolProblem& p) { return std::max<Index>(1, kPixels / p.width().out / 8) * 8; }

  // Of `lanes` planes or channels, at most a vector's, from x on.
  SlidingRows(const PoolProblem& p, const T* x, Index lanes, const PlaceSteps& place, Workspace& workspace)
      : p_(p), place_(place), kernels_(kernels().of<T>()), x_(p, x, lanes, workspace) {
    const Index row = p.width().out * kernels_.lanes;
    folded_ = workspace.take<T>(folded_rows(p) * row);
    places_ = workspace.take<P>(folded_rows(p) * row);
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
    const Index row = p_.width().out * kernels_.lanes, last = std::min(h.in, rows.last - 1 - h.pad + h.kernel);
    if (last - base_ > folded_rows(p_)) leave_rows(std::max<Index>(0, rows.first - h.pad));
    if (!fold_width(last)) return std::nullopt;
    SlideWinners<T> t{};
    t.in = h.in - base_, t.begin = rows.first, t.end = rows.last, t.taps = h.kernel, t.pad = h.pad + base_;
    t.lines = p_.width().out;
    t.x = folded_, t.x_place = places_, t.x_step = row, t.x_line = kernels_.lanes;
    t.y = with_values ? values_ : nullptr, t.y_place = winners_, t.y_step = row, t.y_line = kernels_.lanes;
    t.lane_place = place_.lane;
    kernels_.slide_winners(t);
    return Rows{winners_, values_};
  }

 private:
  static constexpr Index kPixels = 128;

  // What a group of rows of windows reaches, and half as many, so that rows seldom move.
  static Index folded_rows(const PoolProblem& p) {
    const Index reach = rows_at_once(p) + p.height().kernel - 1;
    return std::min(p.height().in, reach + reach / 2);
  }

  // Those before `first` are not needed any more.
  void leave_rows(Index first) {
    const Index row = p_.width().out * kernels_.lanes, from = (first - base_) * row, end = (next_ - base_) * row;
    if (from < end) {
      std::copy(folded_ + from, folded_ + end, folded_);
      std::copy(places_ + from, places_ + end, places_);
    }
    base_ = first;
  }

  // Rows of x up to `last`.
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
      t.y = folded_ + (next_ - base_) * t.y_line, t.y_place = places_ + (next_ - base_) * t.y_line;
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
  Index base_ = 0, next_ = 0;  // rows of x: the first that is kept, the next that will be
};

}  // namespace fastconv
