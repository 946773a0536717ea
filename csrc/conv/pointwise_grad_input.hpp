// The gradient of the input of a strided pointwise convolution; see pointwise_grad_input.cpp.
#pragma once

#include "../problem.hpp"

namespace fastconv {

// False where the problem is none for this way.
template <class T>
bool pointwise_grad_input(const Problem& forward, const T* grad_output, const T* w, T* grad_input, int threads);

}  // namespace fastconv
