// The gradients of the weights and the bias: which algorithm computes them. Start reading at conv_grad_parameters.
#include <algorithm>

#include "../cpu.hpp"
#include "../memory.hpp"
#include "column_products.hpp"
#include "conv.hpp"
#include "depthwise.hpp"
#include "grad_parts.hpp"
#include "grad_weight.hpp"
#include "grad_weight_raw.hpp"
#include "winograd_grad_weight.hpp"

namespace fastconv {
namespace {

constexpr Index kMostRows = 128;     // of x, for grad_weight_of_rows: more pay for a transposed dY
constexpr Index kFewestVectors = 4;  // of such a row

template <class T>
void grad_weight_by_taps(const Problem& forward, const T* x, const T* grad_output, T* grad_weight, int threads) {
  Problem p = forward;
  for (Index t = 0; t < forward.taps(); ++t) {
    Index rest = t;
    for (std::size_t s = kSpatial; s-- > 0;) {
      const Axis& a = forward.axis[s];
      p.axis[s].kernel = 1;
      p.axis[s].pad = a.pad - rest % a.kernel * a.dilation;
      rest /= a.kernel;
    }
    conv_grad_weight(p, x, grad_output, grad_weight + t, threads);
  }
}

// One tap of the depth, whose dW has no gaps.
Problem at_depth_tap(const Problem& forward, Index d) {
  Problem p = forward;
  Axis& depth = p.axis[kDepth];
  depth.kernel = 1;
  depth.pad -= d * depth.dilation;
  p.w.in = p.taps();
  p.w.out = p.channels * p.w.in;
  p.w.group = p.outputs * p.w.out;
  return p;
}

template <class T>
void winograd_by_depth_taps(const Problem& forward, const T* x, const T* grad_output, T* grad_weight, int threads) {
  const Index depths = forward.depth().kernel, taps = forward.taps() / depths;
  const Index kernels_2d = forward.groups * forward.outputs * forward.channels;
  const RecycledBlock one(static_cast<std::size_t>(kernels_2d * taps) * sizeof(T));
  for (Index d = 0; d < depths; ++d) {
    winograd_grad_weight(at_depth_tap(forward, d), x, grad_output, one.as<T>(), threads);
    kernels().of<T>().copy({one.as<const T>(), taps, kernels_2d, taps, grad_weight + d * taps, forward.taps()});
  }
}

// Without taps, where the rows of x are channels that lie side by side (dense layers), dW is a pointwise convolution of
// these rows: its channels are the pixels, its pixels the channels, its weights dY. Nothing is transposed but dY.
template <class T>
bool grad_weight_of_rows(const Problem& p, const T* x, const T* grad_output, T* grad_weight, int threads) {
  const bool merged = p.batch == 1 && p.pixels() == p.width().out;  // all pixels are one axis, see simplified()
  const bool rows_of_channels = p.w.in == 1 && p.x.channel == 1 && p.groups == 1 && merged && p.pointwise();
  if (!rows_of_channels || p.width().out > kMostRows || p.channels < kFewestVectors * kernels().of<T>().lanes) {
    return false;
  }
  Problem rows;
  rows.channels = p.width().out;
  rows.outputs = p.outputs;
  rows.axis[kWidth].in = rows.axis[kWidth].out = p.channels;
  rows.x.channel = p.x.space[kWidth];
  rows.x.space[kWidth] = 1;
  rows.w.in = p.y.space[kWidth];
  rows.w.out = p.y.channel;
  rows.y.channel = p.w.out;
  rows.y.space[kWidth] = 1;
  const ConvPlan plan = plan_conv<T>(rows, false, threads, Algorithm::kDirect);
  conv_forward<T>(rows, plan, {x, grad_output, nullptr, grad_weight}, nullptr);
  return true;
}

// Without taps dW is a product of two matrices of pixels, either of which may be the one that is transposed: the one
// with fewer channels, if these fill the lanes. Pixels that lie apart, as those that a stride meets, are dearer to
// transpose, but read where they lie they come in lines of which every second element is idle.
template <class T>
bool better_swapped(const Problem& p) {
  if (p.w.in != 1 || !p.pointwise()) return false;
  const Index lanes = kernels().of<T>().lanes;
  const auto cost = [&](const Problem& one) {  // that packs dY
    const double pack = one.y.space[kWidth] == 1 ? 1.2 : one.y.channel == 1 ? 0.3 : 4.0;
    const double read = one.x.space[kWidth] == 1 || one.x.channel == 1 ? 1.0 : 1.15;
    const Index together = pixels_together<T>(one);
    return static_cast<double>(round_up(together * one.outputs, lanes) / together) *
           (pack + static_cast<double>(one.channels) / (2.0 * static_cast<double>(lanes))) * read;
  };
  return cost(swapped(p)) < cost(p);
}

template <class T>
bool takes_winograd(const Problem& p) {
  return p.w.in == p.taps() && winograd_grad_weight_wins<T>(p);
}

template <class T>
bool takes_raw(const Problem& p) {
  return dense_gradient(p) && one_stage_holds_windows(p) && grad_weight_raw_wins<T>(p) && !takes_winograd<T>(p);
}

// The algorithms that read dY where it lies, and can sum it meanwhile.
enum class Reader { kColumns, kRaw, kNone };

// (Depthwise images have roads of their own.)
template <class T>
Reader reader_of(const Problem& p, int threads) {
  DepthwisePlan plan;
  if (p.flops() == 0 || plan_depthwise_grad_weight<T>(p, threads, plan)) return Reader::kNone;
  if (wide_kernels(p) || few_columns<T>(p)) return Reader::kColumns;
  return takes_raw<T>(p) ? Reader::kRaw : Reader::kNone;
}

// The others.
template <class T>
void grad_weight_of(const Problem& p, const T* x, const T* grad_output, T* grad_weight, int threads) {
  const Index elements = p.groups * p.outputs * p.channels * p.taps();
  if (elements == 0) return;
  if (p.batch * p.pixels() == 0) {
    std::fill_n(grad_weight, elements, T(0));
    return;
  }
  if (depthwise_grad_weight(p, x, grad_output, grad_weight, threads)) return;
  if (!one_stage_holds_windows(p)) {
    grad_weight_by_taps(p, x, grad_output, grad_weight, threads);
    return;
  }
  if (takes_winograd<T>(p)) {
    winograd_grad_weight(p, x, grad_output, grad_weight, threads);
    return;
  }
  if (p.w.in == p.taps() && p.depth().kernel > 1 && winograd_grad_weight_wins<T>(at_depth_tap(p, 0))) {
    winograd_by_depth_taps(p, x, grad_output, grad_weight, threads);
    return;
  }
  if (grad_weight_of_rows(p, x, grad_output, grad_weight, threads)) return;
  if (better_swapped<T>(p)) {
    conv_grad_weight(swapped(p), grad_output, x, grad_weight, threads);
    return;
  }
  grad_weight_by_tiles(p, x, grad_output, grad_weight, threads);
}

}  // namespace

// grad_weight is laid out as forward.w says, taps side by side.
template <class T>
void conv_grad_parameters(const Problem& forward, const T* x, const T* grad_output, T* grad_weight, T* grad_bias,
                          int threads) {
  if (grad_weight == nullptr && grad_bias == nullptr) return;
  const Problem p = simplified(forward);
  const Reader reader = reader_of<T>(p, threads);
  // Groups may go through a sweep for dx, whose sums are those of conv_grad_bias.
  T* const read_bias = reader != Reader::kNone && p.groups == 1 ? grad_bias : nullptr;
  if (grad_weight != nullptr || read_bias != nullptr) {
    if (reader == Reader::kColumns) {
      column_products_grad_weight<T>(p, x, grad_output, grad_weight, read_bias, threads);
    } else if (reader == Reader::kRaw) {
      conv_grad_weight_raw<T>(p, x, grad_output, grad_weight, read_bias, threads);
    } else {
      grad_weight_of(p, x, grad_output, grad_weight, threads);
    }
  }
  if (grad_bias != nullptr && read_bias == nullptr) conv_grad_bias(forward, grad_output, grad_bias, threads);
}

template <class T>
void conv_grad_weight(const Problem& forward, const T* x, const T* grad_output, T* grad_weight, int threads) {
  conv_grad_parameters<T>(forward, x, grad_output, grad_weight, nullptr, threads);
}

template void conv_grad_weight(const Problem&, const float*, const float*, float*, int);
template void conv_grad_weight(const Problem&, const double*, const double*, double*, int);
template void conv_grad_parameters(const Problem&, const float*, const float*, float*, float*, int);
template void conv_grad_parameters(const Problem&, const double*, const double*, double*, double*, int);

}  // namespace fastconv
