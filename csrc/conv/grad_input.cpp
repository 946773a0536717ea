// The gradient of the input is a convolution again: see grad_input_phase in problem.hpp.
#include <algorithm>

#include "../cpu.hpp"
#include "../memory.hpp"
#include "../parallel.hpp"
#include "../workspace.hpp"
#include "column_products.hpp"
#include "conv.hpp"
#include "depthwise.hpp"
#include "phase_weights.hpp"
#include "store.hpp"
#include "strided_pointwise.hpp"
#include "tap_products.hpp"
#include "weights.hpp"

namespace fastconv {
namespace {

constexpr Index kTurnedBytes = Index{16} << 20;

// A phase takes every s-th tap of the weights, transposed. All of them read a copy, [output][tap][channel], where that
// is a matter of whole vectors.
bool worth_turning(const Problem& p, Index phases, Index lanes, std::size_t element) {
  const Index kernels = checked_multiply(checked_multiply(p.groups, p.outputs), p.taps());
  const Index most = kTurnedBytes / static_cast<Index>(element);
  return phases > 1 && p.taps() > 1 && p.taps() <= kMostTurned && p.channels >= lanes && kernels <= most / p.channels &&
         reduction_contiguous(p);
}

template <class T>
void turn_weights(const Problem& p, const T* w, T* turned, int threads) {
  const Kernels<T>& k = kernels().of<T>();
  const Index taps = p.taps(), size = taps * p.channels;
  parallel_for(threads, p.groups * p.outputs, [&](Index i) {
    const T* from = w + i / p.outputs * p.w.group + i % p.outputs * p.w.out;
    alignas(kCacheLine) T piece[kMostTurned * kCacheLine / sizeof(T)];
    for (Index c = 0; c < p.channels; c += k.lanes) {
      const Index lanes = std::min<Index>(k.lanes, p.channels - c);
      ask_for_kernels(from + c * taps, taps * lanes);
      k.interleave({from + c * taps, taps, lanes, taps, piece});
      k.copy({piece, k.lanes, taps, lanes, turned + i * size + c, p.channels});
    }
  });
}

Problem with_turned_weights(Problem p) {
  p.w.in = 1;
  p.w.out = p.taps() * p.channels;
  p.w.group = p.outputs * p.w.out;
  const Index row = p.width().kernel * p.channels;
  p.w.space = {p.height().kernel * row, row, p.channels};
  return p;
}

bool without_taps(const GradInputPhase& phase) { return phase.problem.taps() == 0 || phase.problem.channels == 0; }

bool some_without_taps(const Problem& forward) {
  for (Index i = 0; i < count_phases(forward); ++i) {
    if (without_taps(grad_input_phase(forward, i))) return true;
  }
  return false;
}

// All of dx, rows in one piece.
template <class T>
void fill_rows(const Problem& forward, const T* bias, T* dx, int threads) {
  const Axis &d = forward.depth(), &h = forward.height(), &w = forward.width();
  const ImageStrides& x = forward.x;
  const bool joined = x.space[kHeight] == w.in;
  const Index rows = joined ? 1 : h.in, row = joined ? h.in * w.in : w.in;
  const Index channels = forward.groups * forward.channels, planes = forward.batch * channels;
  const double cost = static_cast<double>(planes * d.in) * static_cast<double>(h.in * w.in);
  parallel_for(useful_threads(cost, planes, threads), planes, [&](Index i) {
    const Index n = i / channels, g = i % channels / forward.channels, c = i % forward.channels;
    const T value = bias == nullptr ? T(0) : bias[i % channels];
    T* plane = dx + n * x.batch + g * x.group + c * x.channel;
    for (Index j = 0; j < d.in * rows; ++j) {
      std::fill_n(plane + j / rows * x.space[kDepth] + j % rows * x.space[kHeight], row, value);
    }
  });
}

// Calls convolve(i, phase, its part of dx), except where there is nothing but the bias to write.
template <class T, class F>
void for_each_phase(const Problem& forward, const T* bias, T* grad_input, int threads, F&& convolve) {
  // To write every second element costs more than to write them all, then those that have taps once more.
  const bool filled = forward.x.space[kWidth] == 1 && some_without_taps(forward);
  if (filled) fill_rows(forward, bias, grad_input, threads);
  for (Index i = 0; i < count_phases(forward); ++i) {
    const GradInputPhase phase = grad_input_phase(forward, i);
    T* dx = grad_input + phase.x_offset;
    if (!without_taps(phase)) {
      convolve(i, phase, dx);
    } else if (!filled) {
      fill_with_bias<T>(phase.problem, dx, bias);
    }
  }
}

template <class T>
void conv_grad_input_phases(const Problem& forward, const T* grad_output, const T* w, const T* bias, T* grad_input,
                            int threads) {
  for_each_phase(forward, bias, grad_input, threads, [&](Index, const GradInputPhase& phase, T* dx) {
    const Problem p = simplified(phase.problem);
    const ConvPlan plan = plan_conv<T>(p, false, threads);
    conv_forward<T>(p, plan, {grad_output, w + phase.w_offset, bias, dx}, nullptr);
  });
}

}  // namespace

template <class T>
void conv_grad_input(const Problem& forward, const T* grad_output, const T* w, const T* bias, T* grad_input,
                     int threads) {
  if (strided_grad_input(forward, grad_output, w, bias, grad_input, threads)) return;
  if (bias == nullptr && depthwise_grad_input(forward, grad_output, w, grad_input, threads)) return;
  if (bias == nullptr && strided_pointwise_grad_input(forward, grad_output, w, grad_input, threads)) return;
  if (tap_products_grad_input(forward, grad_output, w, bias, grad_input, threads)) return;
  if (column_products_grad_input(forward, grad_output, w, bias, grad_input, threads)) return;
  const Index lanes = kernels().of<T>().lanes;
  if (!worth_turning(forward, count_phases(forward), lanes, sizeof(T))) {
    conv_grad_input_phases(forward, grad_output, w, bias, grad_input, threads);
    return;
  }
  const Problem turned = with_turned_weights(forward);
  PhaseWeights<T> weights(turned, threads);
  if (weights.fit()) {
    weights.pack(w, forward.w);
    for_each_phase(forward, bias, grad_input, threads,
                   [&](Index i, const GradInputPhase&, T* dx) { weights.convolve(i, grad_output, bias, dx); });
    return;
  }
  const Index elements = forward.groups * forward.outputs * forward.taps() * forward.channels;
  const RecycledBlock copy(static_cast<std::size_t>(elements) * sizeof(T));
  const double cost = 8 * static_cast<double>(elements);
  turn_weights(forward, w, copy.as<T>(), useful_threads(cost, forward.groups * forward.outputs, threads));
  conv_grad_input_phases(turned, grad_output, copy.as<const T>(), bias, grad_input, threads);
}

template void conv_grad_input(const Problem&, const float*, const float*, const float*, float*, int);
template void conv_grad_input(const Problem&, const double*, const double*, const double*, double*, int);

}  // namespace fastconv
