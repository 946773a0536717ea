// The gradients of a convolution, those that are wanted.
#include "gradients.hpp"
#include "conv.hpp"

namespace fastconv {

template <class T>
void conv_gradients(const GradientProblem& p, const GradientOperands<T>& a, int threads) {
  const bool sweep = a.dx != nullptr || a.dw != nullptr;
  if (sweep && (depthwise_rolling_gradients(p, a, threads) || depthwise_plane_gradients(p, a, threads) ||
                depthwise_lane_gradients(p, a, threads) || narrow_gradients(p, a, threads))) {
    return;
  }
  if (a.dx != nullptr) conv_grad_input<T>(p.input, a.dy, a.w, nullptr, a.dx, threads);
  conv_grad_parameters<T>(p.weight, a.x, a.dy, a.dw, a.db, threads);
}

template void conv_gradients(const GradientProblem&, const GradientOperands<float>&, int);
template void conv_gradients(const GradientProblem&, const GradientOperands<double>&, int);

}  // namespace fastconv
