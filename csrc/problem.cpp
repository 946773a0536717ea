#include "problem.hpp"

#include <algorithm>
#include <numeric>

namespace fastconv {

void throw_overflow() {
  throw std::overflow_error(
      "the size of the output or of the window, from input, weight, kernel, stride, padding and dilation, exceeds 64 "
      "bits");
}

ImageStrides dense_strides(Index groups, Index channels, const std::array<Index, kSpatial>& space, bool channels_last) {
  const Index all = groups * channels;
  ImageStrides s;
  Index step = channels_last ? all : 1;
  for (std::size_t i = kSpatial; i-- > 0;) {
    s.space[i] = step;
    step *= space[i];
  }
  s.channel = channels_last ? 1 : step;
  s.group = channels * s.channel;
  s.batch = channels_last ? step : all * step;
  return s;
}

Index output_size(Index in, Index pad_before, Index pad_after, const Axis& axis, bool ceil_mode) {
  const Index span = checked_add(checked_multiply(axis.dilation, axis.kernel - 1), 1);
  const Index room = checked_add(checked_add(in, pad_before), pad_after) - span;
  if (room < 0) return ceil_mode && room > -axis.stride ? 1 : 0;
  Index out = (axis.stride == 1 ? room : room / axis.stride) + 1;  // most are 1, and divisions are slow
  // out * stride stays below room + stride; compared without that sum, which could overflow.
  if (ceil_mode && room % axis.stride != 0 && room - room % axis.stride < in + pad_before - axis.stride) {
    ++out;
  }
  return out;
}

Index pad_same(Axis& a, bool odd_first) {
  const Index out = a.in / a.stride + (a.in % a.stride != 0 ? 1 : 0);
  const Index span = checked_add(checked_multiply(a.dilation, a.kernel - 1), 1);
  const Index needed = checked_add(checked_multiply(out - 1, a.stride), span);
  const Index total = std::max<Index>(0, needed - a.in);
  a.pad = odd_first ? total - total / 2 : total / 2;
  return total - a.pad;
}

namespace {

// One tap and no padding: the stride is a matter of where the input's elements lie.
void absorb_stride(Problem& p, int s) {
  Axis& a = p.axis[static_cast<std::size_t>(s)];
  if (a.kernel != 1 || a.padded() || a.pad != 0) return;
  if (a.out > 1) p.x.space[static_cast<std::size_t>(s)] *= a.stride;  // a stride never taken may be huge
  a.stride = 1;
  a.dilation = 1;
  a.in = a.out;
}

constexpr Index kLargeImage = Index{1} << 16;  // elements: a fourth of L2

// Rows of a dilated window meet every d-th row only. As slices of the unused depth axis, one for each residue, rows
// that belong together are neighbours, and a block's windows reach no further than undilated ones do.
void split_dilated_rows(Problem& p) {
  Axis &h = p.axis[kHeight], &depth = p.axis[kDepth];
  const Index d = h.dilation;
  if (h.kernel == 1 || d == 1 || h.stride != 1 || depth.in != 1 || depth.kernel != 1 || depth.out != 1) return;
  if (depth.pad != 0 || h.in % d != 0 || h.out % d != 0 || h.pad % d != 0) return;
  if (static_cast<double>(p.channels) * static_cast<double>(h.in) * static_cast<double>(p.width().in) < kLargeImage)
    return;
  depth.in = depth.out = d;
  h.in /= d;
  h.out /= d;
  h.pad /= d;
  h.dilation = 1;
  for (ImageStrides* s : {&p.x, &p.y}) {
    s->space[kDepth] = s->space[kHeight];
    s->space[kHeight] *= d;
  }
}

// A kernel with depth but without height: the two axes change places, since algorithms know more of the second one.
Problem depth_as_height(Problem p) {
  if (!p.height().pointwise() || p.depth().kernel == 1) return p;
  std::swap(p.axis[kDepth], p.axis[kHeight]);
  for (ImageStrides* s : {&p.x, &p.y}) std::swap(s->space[kDepth], s->space[kHeight]);
  std::swap(p.w.space[kDepth], p.w.space[kHeight]);
  return p;
}

}  // namespace

Problem simplified(Problem p) {
  for (int s = 0; s < kSpatial; ++s) absorb_stride(p, s);
  split_dilated_rows(p);
  Axis& width = p.axis[kWidth];
  for (const std::size_t outer : {kHeight, kDepth}) {
    Axis& a = p.axis[outer];
    if (!a.pointwise() || !width.pointwise()) return depth_as_height(p);
    if (a.out == 1) continue;
    const bool even =
        p.x.space[outer] == width.out * p.x.space[kWidth] && p.y.space[outer] == width.out * p.y.space[kWidth];
    if (width.out != 1 && !even) return depth_as_height(p);
    if (width.out == 1) {
      p.x.space[kWidth] = p.x.space[outer];
      p.y.space[kWidth] = p.y.space[outer];
    }
    width.in = width.out = width.out * a.out;
    a = Axis{};
  }
  const bool even = p.x.batch == width.out * p.x.space[kWidth] && p.y.batch == width.out * p.y.space[kWidth];
  if (width.out == 1) {
    p.x.space[kWidth] = p.x.batch;
    p.y.space[kWidth] = p.y.batch;
  }
  if (width.out == 1 || even) {
    width.in = width.out = width.out * p.batch;
    p.batch = 1;
  }
  return p;
}

// Input index i meets output o through tap k where o * s = i + pad - k * d. For i = phase + s * t the
// taps that fit form an arithmetic progression k = k0 + j * step with step = s / gcd(s, d); along
// it o falls by step * d / s. Counting those taps backwards turns it into a forward convolution of
// stride 1 over the outputs, whose index t is the input's.
Index count_phases(const Problem& forward) {
  Index phases = 1;
  for (const Axis& a : forward.axis) phases *= std::min(a.stride, a.in);
  return phases;
}

GradInputPhase grad_input_phase(const Problem& forward, Index phase) {
  GradInputPhase result;
  Problem& p = result.problem;
  p.batch = forward.batch;
  p.groups = forward.groups;
  p.channels = forward.outputs;
  p.outputs = forward.channels;
  p.x = forward.y;
  p.y = forward.x;
  p.w.group = forward.w.group;
  p.w.out = forward.w.in;
  p.w.in = forward.w.out;
  for (std::size_t s = kSpatial; s-- > 0;) {
    const Axis& a = forward.axis[s];
    const Index residues = std::min(a.stride, a.in);  // an index never reaches the others
    const Index r = phase % residues;
    phase /= residues;
    const Index step = a.stride / std::gcd(a.stride, a.dilation);
    Index first = 0;
    while (first < std::min(step, a.kernel) && (r + a.pad - first * a.dilation) % a.stride != 0) ++first;
    Axis& b = p.axis[s];
    b.in = a.out;
    b.stride = 1;
    b.out = a.in > r ? (a.in - r - 1) / a.stride + 1 : 0;
    b.kernel = first < std::min(step, a.kernel) ? (a.kernel - 1 - first) / step + 1 : 0;
    b.dilation = step * a.dilation / a.stride;
    // Tap j (counted backwards from the last) meets output t + (r + pad - last * d) / s + j * dilation.
    const Index last = first + (b.kernel - 1) * step;
    b.pad = b.kernel > 0 ? -((r + a.pad - last * a.dilation) / a.stride) : 0;
    p.w.space[s] = b.kernel > 1 ? -step * forward.w.space[s] : 0;  // steps never taken may be huge
    result.w_offset += b.kernel > 0 ? last * forward.w.space[s] : 0;
    p.y.space[s] = b.out > 1 ? a.stride * forward.x.space[s] : 0;
    result.x_offset += r * forward.x.space[s];
  }
  return result;
}

}  // namespace fastconv
