// The gradient of the input is a convolution again: see grad_input_phase in problem.hpp.
#include "conv.hpp"
#include "depthwise.hpp"
#include "store.hpp"
#include "tap_products.hpp"

namespace fastconv {

template <class T>
void conv_grad_input(const Problem& forward, const T* grad_output, const T* w, const T* bias, T* grad_input,
                     int threads) {
  if (bias == nullptr && depthwise_grad_input(forward, grad_output, w, grad_input, threads)) return;
  if (tap_products_grad_input(forward, grad_output, w, bias, grad_input, threads)) return;
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

template void conv_grad_input(const Problem&, const float*, const float*, const float*, float*, int);
template void conv_grad_input(const Problem&, const double*, const double*, const double*, double*, int);

}  // namespace fastconv
