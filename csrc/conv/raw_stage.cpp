#include "raw_stage.hpp"

#include <algorithm>

#include "../cpu.hpp"
#include "blocking.hpp"

namespace fastconv {

// A vector of outputs meets each copied one (kernel rows x outputs) times; half a cycle each, as the copy takes some.
bool worth_joining(const Problem& p, Index lanes) {
  constexpr double kCopy = 2;
  constexpr Index kMostElements = Index{256} << 10;  // for a single row of outputs
  if (RawStage(p, 1, p.width().out, true).elements() > kMostElements) return false;
  const double use = lane_use(p.width().out, lanes);
  const double uses = static_cast<double>(p.height().kernel) * static_cast<double>(p.outputs);
  return uses * (1 / use - 1) > kCopy * static_cast<double>(p.height().stride);
}

// Rows that begin with a line of the cache: of shifted loads, those that meet the first column then cross none. Where
// that adds a seventh at most.
static Index in_whole_lines(Index elements) {
  constexpr Index kLine = 16;
  const Index whole = round_up(elements, kLine);
  return 7 * (whole - elements) <= elements ? whole : elements;
}

RawStage::RawStage(const Problem& p, Index height, Index width, bool joined) : joined_(joined) {
  const Axis &h = p.height(), &w = p.width();
  rows_ = (height - 1) * h.stride + h.span();
  if (joined) rows_ = round_up(rows_, h.stride);
  phases_ = joined ? w.kernel : std::min(w.stride, w.span());
  phase_ = joined ? width : width + (w.kernel - 1) * w.dilation / w.stride;
  if (!joined && w.span() > w.stride) phase_ = in_whole_lines(phase_);
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

// What one column of the kernel meets of a plane: rows of each phase, upwards, so that zeros may overshoot.
template <class T>
void RawStage::fill_column(const Problem& p, const T* plane, const RawBlock& block, Index column, T* to) const {
  const Axis &h = p.height(), &w = p.width();
  const Index start = w.input_of(block.ow, column), rows = rows_ / h.stride;
  const Index before = std::min(phase_, ceil_div(std::max<Index>(-start, 0), w.stride));
  const Index end = w.in - start <= 0 ? 0 : ceil_div(w.in - start, w.stride);
  StageRows<T> s{};
  s.step = w.stride * p.x.space[kWidth];
  s.src_row = h.stride * p.x.space[kHeight];
  s.count = std::clamp<Index>(end - before, 0, phase_ - before);
  s.left = before;
  s.dst_row = phase_;
  for (Index f = 0; f < h.stride; ++f, to += rows * phase_) {
    const Index top = h.input_of(block.oh, 0) + f;
    const Index above = std::min(rows, ceil_div(std::max<Index>(-top, 0), h.stride));
    const Index last = h.in - top <= 0 ? 0 : ceil_div(h.in - top, h.stride);
    s.rows = s.count > 0 && plane != nullptr ? std::clamp<Index>(last - above, 0, rows - above) : 0;
    std::fill_n(to, above * phase_, T(0));
    s.dst = to + above * phase_;
    if (s.rows > 0) {
      s.src = plane + (top + above * h.stride) * p.x.space[kHeight] + (start + before * w.stride) * p.x.space[kWidth];
      kernels().of<T>().stage_rows(s);
    }
    std::fill_n(s.dst + s.rows * phase_, (rows - above - s.rows) * phase_, T(0));
  }
}

template <class T>
void RawStage::fill_joined(const Problem& p, const T* x, const RawBlock& block, T* to) const {
  for (Index c = 0; c < p.channels; ++c) {
    for (Index kd = 0; kd < p.depth().kernel; ++kd) {
      const Index id = p.depth().input_of(block.od, kd);
      const bool inside = id >= 0 && id < p.depth().in;
      const T* plane = inside ? x + c * p.x.channel + id * p.x.space[kDepth] : nullptr;
      for (Index kw = 0; kw < phases_; ++kw, to += rows_ * phase_) fill_column(p, plane, block, kw, to);
    }
  }
}

template <class T>
void RawStage::fill(const Problem& p, const T* x, const RawBlock& block, T* to) const {
  const T* image = x + block.n * p.x.batch + block.g * p.x.group;
  if (joined_) {
    fill_joined(p, image, block, to);
    std::fill_n(to + elements_, kernels().of<T>().lanes, T(0));
    return;
  }
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
  const Index row = phases_ * phase_, taps = p.taps(), stride = p.height().stride;
  Index* first = offset;
  for (Index kd = 0; kd < p.depth().kernel; ++kd) {
    for (Index kh = 0; kh < p.height().kernel; ++kh) {
      const Index r = kh * p.height().dilation;
      for (Index kw = 0; kw < p.width().kernel; ++kw) {
        const Index column = kw * p.width().dilation;
        *first++ = joined_ ? (((kd * phases_ + kw) * stride + r % stride) * (rows_ / stride) + r / stride) * phase_
                           : (kd * rows_ + r) * row + column % p.width().stride * phase_ + column / p.width().stride;
      }
    }
  }
  for (Index i = taps; i < p.channels * taps; ++i) offset[i] = offset[i - taps] + channel_;
}

template void RawStage::fill(const Problem&, const float*, const RawBlock&, float*) const;
template void RawStage::fill(const Problem&, const double*, const RawBlock&, double*) const;

}  // namespace fastconv
