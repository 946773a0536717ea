// The gradients of a strided pointwise convolution; see strided_pointwise.cpp.
#pragma once

#include "../problem.hpp"

namespace fastconv {

// False where the problem is none for this way. That of the weights is simplified(): the stride is in x.space.
template <class T>
bool strided_pointwise_grad_input(const Problem& forward, const T* grad_output, const T* w, T* grad_input, int threads);
template <class T>
bool strided_pointwise_grad_weight(const Problem& pointwise, const T* x, const T* grad_output, T* grad_weight,
                                   int threads);

}  // namespace fastconv
