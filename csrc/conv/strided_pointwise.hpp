// The gradient of a strided pointwise convolution's input; see strided_pointwise.cpp.
#pragma once

#include "../problem.hpp"

namespace fastconv {

// False where the problem is none for this way.
template <class T>
bool strided_pointwise_grad_input(const Problem& forward, const T* grad_output, const T* w, T* grad_input, int threads);

}  // namespace fastconv
