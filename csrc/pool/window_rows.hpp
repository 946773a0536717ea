// Winners of large windows, a row of windows after the other, with planes or channels in the lanes.
//
//     for each row of x that a window reaches first   its windows along the width     (kernels/line_winners.hpp)
//     each row of windows                             those folded along the height
//
// Along the height as along the width, a window is the end of one block of rows and the start of the next, so it costs
// the same for every size: rows of a block lie in a ring, folded from the last one upwards, and give way to those of
// the next block, which are folded downwards as windows need them.
#pragma once

#include "rows_in_lanes.hpp"

namespace fastconv {

template <class T>
class WindowRows {
  using P = PlaceOf<T>;

 public:
  static bool applies(const PoolProblem& p) {
    const Axis &d = p.depth(), &h = p.height(), &w = p.width();
    const auto plain = [](const Axis& a) { return a.dilation == 1 && a.pad >= 0 && a.pad < a.kernel; };
    return d.in == 1 && d.out == 1 && d.kernel == 1 && plain(h) && plain(w) && RowsInLanes<T>::applies(p);
  }

  static std::size_t workspace_bytes(const PoolProblem& p) {
    const Index lanes = kernels().of<T>().lanes, width = p.width().in * lanes;
    return RowsInLanes<T>::workspace_bytes(p) + Workspace::piece_bytes<P>(width) +
           Workspace::piece_bytes<P>(2 * p.width().kernel * lanes) +
           Workspace::piece_bytes<P>(2 * (p.height().kernel + 2) * p.width().out * lanes);
  }

  // Of `lanes` planes or channels, at most a vector's, from x on.
  WindowRows(const PoolProblem& p, const T* x, Index lanes, const PlaceSteps& place, Workspace& workspace)
      : p_(p),
        place_(place),
        x_(p, x, lanes, workspace),
        kernels_(kernels().of<T>()),
        unit_(p.width().out * kernels_.lanes),
        block_(-p.height().kernel) {
    const Index width = p.width().in * kernels_.lanes;
    line_.keys = workspace.take<P>(width);
    line_.suffix = workspace.take<P>(2 * p.width().kernel * kernels_.lanes);
    ring_ = workspace.take<P>(2 * (p.height().kernel + 2) * unit_);
    line_.pixels = p.width().in, line_.taps = p.width().kernel, line_.stride = p.width().stride;
    line_.pad = p.width().pad, line_.windows = p.width().out;
    line_.pixel_place = static_cast<P>(place.pixel), line_.lane_place = static_cast<P>(place.lane);
    merge_.sources = 2, merge_.places = true, merge_.n = unit_;
  }

  // The winners of row `oh` of windows, a vector for each; rows come in order.
  const P* row(Index oh) {
    const Axis& h = p_.height();
    const Index start = oh * h.stride;
    while (start >= block_ + h.kernel) begin_block(block_ + h.kernel);
    for (const Index last = std::min(start + h.kernel, end()); next_ < last; ++next_) {
      fold_line(next_);
      prefix_ = prefix_ == nullptr ? slot(next_) : merge(prefix_, slot(next_), ring_ + 2 * h.kernel * unit_);
    }
    P* const suffix = slot(std::max(start, h.pad));
    return (prefix_ == nullptr ? suffix : merge(suffix, prefix_, ring_ + 2 * (h.kernel + 1) * unit_)) + unit_;
  }

 private:
  // Positions count from the first window's first row, so row i of the input has i + pad.
  Index end() const { return p_.height().in + p_.height().pad; }
  // Keys, and behind them places.
  P* slot(Index position) const {
    const Index kernel = p_.height().kernel, i = position - block_;
    return ring_ + 2 * (i < kernel ? i : i - kernel) * unit_;
  }

  void begin_block(Index block) {
    const Axis& h = p_.height();
    const Index last = std::min(block + h.kernel, end()), first = std::max(block, h.pad);
    block_ = block;
    prefix_ = nullptr;
    for (next_ = std::max(next_, first); next_ < last; ++next_) fold_line(next_);
    for (Index i = last - 2; i >= first; --i) merge(slot(i), slot(i + 1), slot(i));
  }

  P* merge(const P* earlier, const P* later, P* to) {
    merge_.key[0] = earlier, merge_.place[0] = earlier + unit_;
    merge_.key[1] = later, merge_.place[1] = later + unit_;
    merge_.best = to, merge_.winner = to + unit_;
    kernels_.winners(merge_);
    return to;
  }

  void fold_line(Index position) {
    const Index row = position - p_.height().pad;
    const typename RowsInLanes<T>::Rows pixels = x_.rows(row);
    line_.x = pixels.x, line_.pixel = pixels.pixel;
    line_.first = static_cast<P>(row * place_.row);
    line_.best = slot(position), line_.winner = line_.best + unit_;
    kernels_.line_winners(line_);
  }

  const PoolProblem& p_;
  PlaceSteps place_;
  RowsInLanes<T> x_;
  const Kernels<T>& kernels_;
  Index unit_;              // elements of a row of windows
  Index block_, next_ = 0;  // positions
  P *ring_, *prefix_ = nullptr;
  LineWinners<T> line_{};
  Winners<T> merge_{};
};

}  // namespace fastconv
