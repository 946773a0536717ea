// The gradient of an input with few channels (a first layer's), hence also a transposed convolution to few channels (a
// decoder's last layer): see tap_products.cpp.
#pragma once

#include "../problem.hpp"

namespace fastconv {

// False where the problem is none for this road; then nothing is written.
template <class T>
bool tap_products_grad_input(const Problem& forward, const T* grad_output, const T* w, const T* bias, T* grad_input,
                             int threads);

}  // namespace fastconv
