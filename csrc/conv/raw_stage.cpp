#include "raw_stage.hpp"

#include <algorithm>

#include "../cpu.hpp"
#include "blocking.hpp"

namespace fastconv {

RawStage::RawStage(const Problem& p, Index height, Index width) {
  const Axis &h = p.height(), &w = p.width();
  rows_ = (height - 1) * h.stride + h.span();
  phases_ = std::min(w.stride, w.span());
  phase_ = width + (w.kernel - 1) * w.dilation / w.stride;
  if (__builtin_mul_overflow(rows_, p.depth().kernel, &channel_) ||
      __builtin_mul_overflow(channel_, phases_ * phase_, &channel_) ||
      __builtin_mul_overflow(channel_, p.channels, &elements_)) {
    elements_ = Index{1} << 60;
  }
}

// One input row of all channels, or zeros if it lies in the padding (row is null). Column j of phase f is the input
// column (ow + j) * stride + f - pad; those outside the input are zero.
template <class T>
void RawStage::fill_rows(const Problem& p, const T* row, Index ow, T* to) const {
  const Kernels<T>& k = kernels().of<T>();
  const Axis& w = p.width();
  const Index step = w.stride * p.x.space[kWidth];
  for (Index f = 0; f < phases_; ++f, to += phase_) {
    const Index start = w.input_of(ow, 0) + f;
    const Index outside = ceil_div(std::max<Index>(-start, 0), w.stride);
    const Index before = row == nullptr ? phase_ : std::min(outside, phase_);
    const Index end = w.in - start <= 0 ? 0 : ceil_div(w.in - start, w.stride);
    const Index inside = std::clamp<Index>(end - before, 0, phase_ - before);
    const T* src = inside > 0 ? row + (start + before * w.stride) * p.x.space[kWidth] : nullptr;
    if (inside > 0 && step == 1) k.copy({src, p.x.channel, p.channels, inside, to + before, channel_});
    T* dst = to;
    for (Index c = 0; c < p.channels; ++c, dst += channel_) {
      for (Index i = 0; i < before; ++i) dst[i] = T(0);
      for (Index i = before + inside; i < phase_; ++i) dst[i] = T(0);
      if (inside > 0 && step != 1) k.take_every(src + c * p.x.channel, step, inside, dst + before);
    }
  }
}

template <class T>
void RawStage::fill(const Problem& p, const T* x, const RawBlock& block, T* to) const {
  const T* image = x + block.n * p.x.batch + block.g * p.x.group;
  T* dst = to;
  for (Index kd = 0; kd < p.depth().kernel; ++kd) {
    const Index id = p.depth().input_of(block.od, kd);
    for (Index r = 0; r < rows_; ++r, dst += phases_ * phase_) {
      const Index ih = p.height().input_of(block.oh, 0) + r;
      const bool inside = id >= 0 && id < p.depth().in && ih >= 0 && ih < p.height().in;
      fill_rows(p, inside ? image + id * p.x.space[kDepth] + ih * p.x.space[kHeight] : nullptr, block.ow, dst);
    }
  }
  // Idle lanes of the last vector read this: no denormals there.
  std::fill_n(to + elements_, kernels().of<T>().lanes, T(0));
}

void RawStage::tap_offsets(const Problem& p, Index* offset) const {
  const Index row = phases_ * phase_, taps = p.taps();
  Index* first = offset;
  for (Index kd = 0; kd < p.depth().kernel; ++kd) {
    for (Index kh = 0; kh < p.height().kernel; ++kh) {
      const Index start = (kd * rows_ + kh * p.height().dilation) * row;
      for (Index kw = 0; kw < p.width().kernel; ++kw) {
        const Index column = kw * p.width().dilation;
        *first++ = start + column % p.width().stride * phase_ + column / p.width().stride;
      }
    }
  }
  for (Index i = taps; i < p.channels * taps; ++i) offset[i] = offset[i - taps] + channel_;
}

template void RawStage::fill(const Problem&, const float*, const RawBlock&, float*) const;
template void RawStage::fill(const Problem&, const double*, const RawBlock&, double*) const;

}  // namespace fastconv
