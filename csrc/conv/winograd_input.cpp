#include "winograd_input.hpp"

#include <algorithm>

#include "../cpu.hpp"

namespace fastconv {

template <class T>
WinogradInput<T> StagedRows<T>::stage(const TileRun& run, Index c, Index channels) {
  const Index lanes = kernels().of<T>().lanes, span = height_.span();
  const Index row = columns(width_, run.count) * lanes;
  const Index held = below_last(run, c) ? span - height_.tile : 0;
  WinogradInput<T> input{};
  input.tiles = run.count;
  input.step = width_.tile * lanes;
  for (Index i = 0; i < span; ++i) {
    const Index at = run.row * height_.tile + i;
    T* to = ring_ + at % span * row;
    const Index ih = p_.height().input_of(run.grid_h, at);  // dilation is the step from a row of the grid to the next
    if (i >= held) stage_row(run, ih, c, channels, to);
    input.rows[i] = to;
  }
  if (span == 1) {  // a line of columns
    for (Index i = 1; i < width_.span(); ++i) input.rows[i] = input.rows[0] + i * lanes;
  }
  last_ = run;
  last_channel_ = c;
  return input;
}

template <class T>
bool StagedRows<T>::below_last(const TileRun& run, Index c) const {
  return last_channel_ == c && last_.n == run.n && last_.od == run.od && last_.grid_h == run.grid_h &&
         last_.grid_w == run.grid_w && last_.row + 1 == run.row && last_.column == run.column &&
         last_.count == run.count;
}

template <class T>
void StagedRows<T>::stage_row(const TileRun& run, Index ih, Index c, Index channels, T* to) const {
  const Index lanes = kernels().of<T>().lanes, width = columns(width_, run.count);
  const Axis& w = p_.width();
  const Index step = w.dilation, iw = w.input_of(run.grid_w, run.column * width_.tile);
  const Index id = p_.depth().input_of(run.od, c / p_.channels);
  const Index before = std::min(iw < 0 ? ceil_div(-iw, step) : 0, width);
  const Index first = iw + before * step, left = first < w.in ? ceil_div(w.in - first, step) : 0;
  const Index inside = std::min(left, width - before);
  if (inside == 0 || ih < 0 || ih >= p_.height().in || id < 0 || id >= p_.depth().in) {
    std::fill_n(to, width * lanes, T(0));
    return;
  }
  std::fill_n(to, before * lanes, T(0));
  copy(x_ + run.n * p_.x.batch + c % p_.channels * p_.x.channel + id * p_.x.space[kDepth] + ih * p_.x.space[kHeight] +
           first * p_.x.space[kWidth],
       inside, channels, to + before * lanes);
  std::fill(to + (before + inside) * lanes, to + width * lanes, T(0));
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
