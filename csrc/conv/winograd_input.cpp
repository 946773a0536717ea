#include "winograd_input.hpp"

#include <algorithm>

#include "../cpu.hpp"

namespace fastconv {

template <class T>
WinogradInput<T> StagedRows<T>::stage(const TileRun& run, Index c, Index channels) {
  const Index lanes = kernels().of<T>().lanes, span = height_.span();
  const Index row = columns(width_, run.count) * lanes, held = rows_held(run, c);
  WinogradInput<T> input{};
  input.tiles = run.count;
  input.step = width_.step() * lanes;
  for (Index i = 0; i < span; ++i) {
    const Index at = run.row * height_.step() + i;
    T* to = ring_ + at % span * run.grids * row;
    const Index ih = p_.height().input_of(run.grid_h, at);  // dilation is the step from a row of the grid to the next
    if (i >= held) stage_row(run, ih, c, channels, to);
    input.rows[i] = to + (run.grids > 1 ? run.grid_w * row : 0);
  }
  if (span == 1) {  // a line of columns
    for (Index i = 1; i < width_.span(); ++i) input.rows[i] = input.rows[0] + i * lanes;
  }
  last_ = run;
  last_channel_ = c;
  return input;
}

// The first ones, if the last run left them: that of another grid with the same rows, or that above.
template <class T>
Index StagedRows<T>::rows_held(const TileRun& run, Index c) const {
  const bool grid = last_.grids == run.grids && (run.grids > 1 || last_.grid_w == run.grid_w);
  if (last_channel_ != c || last_.n != run.n || last_.od != run.od || last_.grid_h != run.grid_h || !grid ||
      last_.column != run.column || last_.count != run.count) {
    return 0;
  }
  if (last_.row == run.row) return run.grids > 1 ? height_.span() : 0;
  return last_.row + 1 == run.row ? height_.span() - height_.step() : 0;
}

template <class T>
void StagedRows<T>::stage_row(const TileRun& run, Index ih, Index c, Index channels, T* to) const {
  const Index lanes = kernels().of<T>().lanes, width = columns(width_, run.count);
  const Axis& w = p_.width();
  const Index step = w.dilation, id = p_.depth().input_of(run.od, c / p_.channels);
  if (ih < 0 || ih >= p_.height().in || id < 0 || id >= p_.depth().in) {
    std::fill_n(to, width * run.grids * lanes, T(0));
    return;
  }
  const T* const row =
      x_ + run.n * p_.x.batch + c % p_.channels * p_.x.channel + id * p_.x.space[kDepth] + ih * p_.x.space[kHeight];
  const bool dense = run.grids > 1 && p_.x.space[kWidth] == 1;
  T* grid = to;
  for (Index i = 0; i < run.grids; ++i, grid += width * lanes) {
    const Index iw = w.input_of(run.grids > 1 ? i : run.grid_w, run.column * width_.step());
    const Index before = std::min(iw < 0 ? ceil_div(-iw, step) : 0, width);
    const Index first = iw + before * step, left = first < w.in ? ceil_div(w.in - first, step) : 0;
    const Index inside = std::min(left, width - before);
    std::fill_n(grid, before * lanes, T(0));
    if (inside > 0 && !dense) copy(row + first * p_.x.space[kWidth], inside, channels, grid + before * lanes);
    std::fill(grid + (before + inside) * lanes, grid + width * lanes, T(0));
  }
  if (dense) copy_grids(row, width, channels, to);
}

// A row of so many columns of every grid: neighbours in memory go to neighbouring grids.
template <class T>
void StagedRows<T>::copy_grids(const T* src, Index columns, Index channels, T* to) const {
  constexpr Index kMost = 64;
  const Axis& w = p_.width();
  const Index lanes = kernels().of<T>().lanes, grids = w.dilation;
  const Index iw = w.input_of(0, 0), first = std::max<Index>(0, iw), end = std::min(w.in, iw + columns * grids);
  Index place[kMost], grid = (first - iw) % grids, column = (first - iw) / grids;
  for (Index at = first; at < end; at += kMost) {
    const Index count = std::min(kMost, end - at);
    for (Index i = 0; i < count; ++i) {
      place[i] = (grid * columns + column) * lanes;
      if (++grid == grids) grid = 0, ++column;
    }
    kernels().of<T>().interleave({src + at, p_.x.channel, channels, count, to, place});
  }
}

template <class T>
void StagedRows<T>::copy(const T* src, Index columns, Index channels, T* to) const {
  const Kernels<T>& k = kernels().of<T>();
  const Index step = columns > 1 ? p_.x.space[kWidth] * p_.width().dilation : 1;
  if (step == 1) {
    k.interleave({src, p_.x.channel, channels, columns, to});
  } else if (p_.x.channel == 1) {
    k.copy({src, step, columns, channels, to, k.lanes});
  } else {
    for (Index i = 0; i < columns; ++i) {
      for (Index c = 0; c < channels; ++c) to[i * k.lanes + c] = src[i * step + c * p_.x.channel];
    }
  }
}

template class StagedRows<float>;
template class StagedRows<double>;

}  // namespace fastconv
