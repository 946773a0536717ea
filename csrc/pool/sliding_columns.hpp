// Gradients of maxima over windows that slide by one pixel, with planes or channels in the lanes: for each row of
// windows, the maxima of the columns, those of the windows, and what these give to the columns
// (kernels/column_gradient.hpp).
#pragma once

#include "backward.hpp"
#include "rows_in_lanes.hpp"

namespace fastconv {

template <class T>
class SlidingColumns {
  using P = PlaceOf<T>;
  static constexpr Index kFewestTaps = 3;  // that the kernels take
  static constexpr Index kMostTaps = 24;
  // A window asks each of its columns, which takes as long as giving to its winner where these are many. Channels that
  // lie far apart would have to be kept together for that, and are worth more.
  static constexpr Index kMostColumns = 7;

 public:
  // Of problems that WindowRows takes.
  static bool applies(const PoolProblem& p) {
    const auto few = [](const Axis& a, Index most) {
      return a.stride == 1 && a.kernel >= kFewestTaps && a.kernel <= most;
    };
    return kernels().of<T>().column_gradient != nullptr && few(p.height(), kMostTaps) &&
           few(p.width(), p.gradient.channel == 1 ? kMostTaps : kMostColumns);
  }
  static std::size_t workspace_bytes(const PoolProblem& p) {
    const Sizes s(p);
    return Workspace::piece_bytes<T>(p.height().in * s.columns) + Workspace::piece_bytes<T>(s.rows * s.windows) +
           Workspace::piece_bytes<T>(s.rows * s.columns) + Workspace::piece_bytes<P>((s.rows + 1) * s.columns) +
           Workspace::piece_bytes<T>(s.windows) + Workspace::piece_bytes<P>(s.windows) +
           2 * Workspace::piece_bytes<T>(s.columns) + Workspace::piece_bytes<P>(s.columns);
  }

  // Of `lanes` planes or channels, at most a vector's, from x and dy on.
  SlidingColumns(const PoolProblem& p, const T* x, const T* dy, Index lanes, const PlaceSteps& place,
                 Workspace& workspace)
      : p_(p), kernels_(kernels().of<T>()), s_(p), x_(x), dy_(dy), lanes_(lanes) {
    const Axis &h = p.height(), &w = p.width();
    in_place_ = p.x.channel == 1 && lanes == kernels_.lanes;
    copied_ = workspace.take<T>(h.in * s_.columns);
    shares_ = workspace.take<T>(s_.rows * s_.windows);
    values_ = workspace.take<T>(s_.rows * s_.columns);
    places_ = workspace.take<P>((s_.rows + 1) * s_.columns);
    for (T*& sums : sums_) sums = workspace.take<T>(s_.columns);
    row_.most = workspace.take<T>(s_.windows);
    row_.winner = workspace.take<P>(s_.windows);
    row_.finished = workspace.take<P>(s_.columns);
    row_.columns = w.in, row_.taps = w.kernel, row_.pad = w.pad, row_.lanes = lanes;

    columns_.in = h.in, columns_.taps = h.kernel, columns_.pad = h.pad, columns_.lines = w.in;
    columns_.x = in_place_ ? x : copied_;
    columns_.x_line = in_place_ ? p.x.space[kWidth] : kernels_.lanes;
    columns_.x_step = in_place_ ? p.x.space[kHeight] : s_.columns;
    columns_.y = values_, columns_.y_place = places_ + s_.columns;
    columns_.y_line = kernels_.lanes, columns_.y_step = s_.columns;
    columns_.pixel_place = place.row, columns_.line_place = place.pixel, columns_.lane_place = place.lane;
  }

  // To dx, which is 0: false if an element of x is NaN (or if there is inf as well as -inf), and then dx is
  // unspecified.
  bool add_to(T* dx) {
    row_.dx = dx;
    std::fill_n(sums_[0], s_.columns, T(0));
    std::fill_n(places_, s_.columns, P{-1});
    const Axis& h = p_.height();
    const Index out = h.out;
    Index copied = 0;
    for (Index first = 0; first < out; first += s_.rows) {
      const Index end = std::min(out, first + s_.rows), reach = std::min(p_.height().in, end - 1 - h.pad + h.kernel);
      if (!in_place_ && copied < reach) {
        copy(p_.x, x_, {copied, reach}, p_.width().in, copied_ + copied * s_.columns);
        copied = reach;
      }
      columns_.begin = first, columns_.end = end;
      if (!kernels_.slide_winners(columns_)) return false;
      copy(p_.y, dy_, {first, end}, p_.width().out, shares_);
      for (Index i = 0; lanes_ < kernels_.lanes && i < (end - first) * p_.width().out; ++i) {
        std::fill(shares_ + i * kernels_.lanes + lanes_, shares_ + (i + 1) * kernels_.lanes, T(0));
      }
      for (Index i = 0; i < end - first; ++i) {
        row_.value = values_ + i * s_.columns, row_.dy = shares_ + i * s_.windows;
        add_row(p_.width().out, places_ + i * s_.columns);
      }
      const P* const last = places_ + (end - first) * s_.columns;
      std::copy(last, last + s_.columns, places_);
    }
    std::fill_n(places_ + s_.columns, s_.columns, P{-1});
    add_row(0, places_);
    return true;
  }

  // Whether so many rows of windows met elements that are alike that WindowRows and SlidingRows are faster.
  bool many_ties() const { return 4 * ties_ > p_.height().out; }

 private:
  // A row of columns and one of windows, elements of vectors; and rows of windows at a time.
  struct Sizes {
    Index columns, windows, rows;
    explicit Sizes(const PoolProblem& p) {
      const Index lanes = kernels().of<T>().lanes;
      columns = p.width().in * lanes, windows = p.width().out * lanes;
      rows = p.height().kernel < 8 ? 4 : 8;
    }
  };

  // Some rows of an array, with its lanes side by side.
  void copy(const ImageStrides& s, const T* array, Range rows, Index width, T* to) const {
    const Index vector = kernels_.lanes, count = rows.size();
    const T* const from = array + rows.first * s.space[kHeight];
    if (s.space[kWidth] == 1 || width == 1) {
      const Index at_once = s.space[kHeight] == width ? count : 1;
      for (Index i = 0; i < count; i += at_once) {
        kernels_.interleave({from + i * s.space[kHeight], s.channel, lanes_, at_once * width, to + i * width * vector});
      }
    } else {
      if (lanes_ < vector) std::fill_n(to, count * width * vector, T(0));
      kernels_.to_cells(lane_pixels<T>(s, width, lanes_, count), from, nullptr, to);
    }
  }

  void add_row(Index windows, const P* before) {
    row_.windows = windows;
    row_.before = before, row_.place = before + s_.columns;
    row_.sum = sums_[0], row_.next_sum = sums_[1];
    if (!kernels_.column_gradient(row_)) ++ties_;
    std::swap(sums_[0], sums_[1]);
  }

  const PoolProblem& p_;
  const Kernels<T>& kernels_;
  const Sizes s_;
  const T *x_, *dy_;
  Index lanes_;
  bool in_place_;
  Index ties_ = 0;
  T *copied_, *shares_, *values_, *sums_[2];
  P* places_;
  SlideWinners<T> columns_{};
  ColumnGradient<T> row_{};
};

}  // namespace fastconv
