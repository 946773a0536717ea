// Optimisers' steps, the gradient of ReLU; see elementwise_table.hpp.
#include "elementwise.hpp"
#include "part.hpp"

namespace {

template <class T>
constexpr fastconv::ElementwiseKernels<T> elementwise() {
  return {adam<T>, sgd<T>, relu_gradient<T>};
}

}  // namespace

FASTCONV_PART(ElementwiseKernels, elementwise, elementwise)
