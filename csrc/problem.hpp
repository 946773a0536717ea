// A convolution as a value: sizes, strides and padding, with no array attached.
//
// Every problem has three spatial axes (depth, height, width); 2-D ones have a unit depth. A data
// format is nothing but strides, so nothing behind this file asks whether it sees NCHW or NHWC.
#pragma once

#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace fastconv {

using Index = std::int64_t;

constexpr int kSpatial = 3;
enum SpatialAxis : std::size_t { kDepth = 0, kHeight = 1, kWidth = 2 };

struct Axis {
  Index in = 1;
  Index kernel = 1;
  Index out = 1;
  Index stride = 1;
  Index dilation = 1;
  Index pad = 0;  // before the first element; negative crops (it comes up in gradients)

  // How far the taps of one output reach.
  Index span() const { return dilation * (kernel - 1) + 1; }
  // The input index that output o meets with its tap k; outside [0, in) lies padding.
  Index input_of(Index o, Index k) const { return o * stride + k * dilation - pad; }
  // Whether output i is input i, and there are no others.
  bool pointwise() const { return kernel == 1 && stride == 1 && pad == 0 && in == out; }
  // Whether some output meets padding.
  bool padded() const { return pad > 0 || input_of(out - 1, kernel - 1) >= in; }
};

// In elements. `group` is the distance between the first channels of consecutive groups.
struct ImageStrides {
  Index batch = 0, group = 0, channel = 0;
  std::array<Index, kSpatial> space{};
};
// Of an array without gaps, N C D H W or N D H W C.
ImageStrides dense_strides(Index groups, Index channels, const std::array<Index, kSpatial>& space, bool channels_last);

struct WeightStrides {
  Index group = 0, out = 0, in = 0;
  std::array<Index, kSpatial> space{};
};

// What becomes of a convolution's result before it is stored: windows of 2 along each spatial axis of the call, with
// stride 2, are reduced to their maximum or average.
enum class OutputPool { kNone, kMax, kAverage };

// Cross-correlation y[n, o, p] = sum_{c, k} w[o, c, k] x[n, c, p * stride + k * dilation - pad].
struct Problem {
  Index batch = 1;
  Index groups = 1;
  Index channels = 1;  // of the input, in one group
  Index outputs = 1;   // channels of the output, in one group
  std::array<Axis, kSpatial> axis{};
  ImageStrides x, y;
  WeightStrides w;
  bool relu = false;
  // Windows of 2x2 outputs are pooled in the store, and the strides of y are those of the pooled array.
  OutputPool pool = OutputPool::kNone;

  const Axis& depth() const { return axis[kDepth]; }
  const Axis& height() const { return axis[kHeight]; }
  const Axis& width() const { return axis[kWidth]; }

  Index taps() const { return depth().kernel * height().kernel * width().kernel; }
  Index pixels() const { return depth().out * height().out * width().out; }
  double flops() const {
    return 2.0 * static_cast<double>(batch * groups) * static_cast<double>(outputs * pixels()) *
           static_cast<double>(channels * taps());
  }
  // Of so many rows or columns of outputs, those that are stored.
  Index stored(Index n) const { return pool == OutputPool::kNone ? n : n / 2; }
  bool pointwise() const { return depth().pointwise() && height().pointwise() && width().pointwise(); }
  bool padded() const { return depth().padded() || height().padded() || width().padded(); }
};

template <class T>
struct Operands {
  const T* x;
  const T* w;
  const T* bias;  // or null
  T* y;
};

// a * b and a + b; throws std::overflow_error beyond 64 bits.
[[noreturn]] void throw_overflow();
inline Index checked_multiply(Index a, Index b) {
  Index result;
  if (__builtin_mul_overflow(a, b, &result)) throw_overflow();
  return result;
}
inline Index checked_add(Index a, Index b) {
  Index result;
  if (__builtin_add_overflow(a, b, &result)) throw_overflow();
  return result;
}

// floor((in + pads - span) / stride) + 1, or with ceil_mode rounded up without a last window that
// would start in the end padding. May be below 1: the caller knows whose fault that is.
Index output_size(Index in, Index pad_before, Index pad_after, const Axis& axis, bool ceil_mode);

// Padding for ceil(in / stride) outputs, TensorFlow's 'same': the odd element goes to the end, or to the
// start with `odd_first`. Sets axis.pad, returns the padding behind.
Index pad_same(Axis& axis, bool odd_first);

// The same convolution with fewer axes where that changes nothing but the bookkeeping: a pixel is a
// pixel, so pointwise axes that lie evenly in memory become one, the batch included. Every output
// keeps its operands and their order, hence its bits.
Problem simplified(Problem p);

// dx = grad_input(dy): again a convolution, of dy with the flipped, transposed weights. With stride s
// the gradient falls apart into one convolution for each residue of the input index modulo s; no
// zero is ever inserted. An empty phase (no tap reaches it) has taps() == 0.
struct GradInputPhase {
  Problem problem;
  Index w_offset = 0;  // elements to add to the pointers
  Index x_offset = 0;  // into the gradient that is written
};
Index count_phases(const Problem& forward);
GradInputPhase grad_input_phase(const Problem& forward, Index phase);

}  // namespace fastconv
