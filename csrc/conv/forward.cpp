// Forward convolution: walks the road that the plan chose.
#include "conv.hpp"
#include "depthwise.hpp"
#include "direct.hpp"
#include "dot_products.hpp"
#include "store.hpp"
#include "winograd.hpp"

namespace fastconv {

template <class T>
void conv_forward(const Problem& p, const ConvPlan& plan, const Operands<T>& a, const T* packed) {
  if (p.channels == 0 || p.taps() == 0) {
    fill_with_bias(p, a.y, a.bias);
    return;
  }
  if (plan.algorithm == Algorithm::kDepthwise) {
    depthwise_forward(p, plan.depthwise, a);
  } else if (plan.algorithm == Algorithm::kWinograd) {
    winograd_forward(p, plan.winograd, a, packed);
  } else if (plan.algorithm == Algorithm::kDots) {
    dots_forward(p, plan.dots, a);
  } else {
    direct_forward(p, plan.direct, a, packed);
  }
}

template void conv_forward(const Problem&, const ConvPlan&, const Operands<float>&, const float*);
template void conv_forward(const Problem&, const ConvPlan&, const Operands<double>&, const double*);

}  // namespace fastconv
