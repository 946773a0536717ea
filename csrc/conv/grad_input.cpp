// The gradient of the input is a convolution again: see grad_input_phase in problem.hpp.
#include "../cpu.hpp"
#include "../memory.hpp"
#include "../parallel.hpp"
#include "conv.hpp"
#include "depthwise.hpp"
#include "direct_plan.hpp"
#include "store.hpp"
#include "tap_products.hpp"

namespace fastconv {
namespace {

constexpr std::size_t kMostCopied = std::size_t{16} << 20;  // bytes
constexpr Index kFewestLanes = 8;

// With a stride, the taps of one phase lie apart in w, and every phase would gather its own one by one. Transposed to
// [o][tap][c] they are rows of channels, which is what the lanes want.
bool wants_rows_of_channels(const Problem& forward, std::size_t bytes) {
  Index dense = 1;
  for (std::size_t s = kSpatial; s-- > 0;) {
    if (forward.axis[s].kernel > 1 && forward.w.space[s] != dense) return false;
    dense *= forward.axis[s].kernel;
  }
  return count_phases(forward) > 1 && dense > 1 && forward.w.in == dense && forward.channels >= kFewestLanes &&
         forward.outputs > 1 && bytes <= kMostCopied;
}

template <class T>
Problem with_rows_of_channels(const Problem& forward, const T* w, T* to, int threads) {
  Problem p = forward;
  const Index taps = p.taps(), each = taps * p.channels, count = p.groups * p.outputs;
  parallel_for(useful_threads(static_cast<double>(count * each), count, threads), count, [&](Index i) {
    const T* from = w + i / p.outputs * p.w.group + i % p.outputs * p.w.out;
    kernels().of<T>().transpose({from, taps, p.channels, taps, to + i * each, p.channels, nullptr, false});
  });
  p.w.in = 1;
  p.w.out = each;
  p.w.group = p.outputs * each;
  for (Index& step : p.w.space) step *= p.channels;
  return p;
}

template <class T>
void convolve_phases(const Problem& forward, const T* grad_output, const T* w, const T* bias, T* grad_input,
                     int threads) {
  for (Index i = 0; i < count_phases(forward); ++i) {
    const GradInputPhase phase = grad_input_phase(forward, i);
    T* dx = grad_input + phase.x_offset;
    if (phase.problem.taps() == 0 || phase.problem.channels == 0) {
      fill_with_bias<T>(phase.problem, dx, bias);
      continue;
    }
    const Problem p = simplified(phase.problem);
    const ConvPlan plan = plan_conv<T>(p, false, threads);
    conv_forward<T>(p, plan, {grad_output, w + phase.w_offset, bias, dx}, nullptr);
  }
}

}  // namespace

template <class T>
void conv_grad_input(const Problem& forward, const T* grad_output, const T* w, const T* bias, T* grad_input,
                     int threads) {
  if (bias == nullptr && depthwise_grad_input(forward, grad_output, w, grad_input, threads)) return;
  if (tap_products_grad_input(forward, grad_output, w, bias, grad_input, threads)) return;
  const Index weights = forward.groups * forward.outputs * forward.channels * forward.taps();
  const std::size_t bytes = static_cast<std::size_t>(weights) * sizeof(T);
  if (!wants_rows_of_channels(forward, bytes)) {
    return convolve_phases(forward, grad_output, w, bias, grad_input, threads);
  }
  const RecycledBlock rows(bytes);
  const Problem p = with_rows_of_channels(forward, w, rows.as<T>(), threads);
  convolve_phases<T>(p, grad_output, rows.as<T>(), bias, grad_input, threads);
}

template void conv_grad_input(const Problem&, const float*, const float*, const float*, float*, int);
template void conv_grad_input(const Problem&, const double*, const double*, const double*, double*, int);

}  // namespace fastconv
