// The gradient of the weights with pixels in the lanes: see grad_weight_raw.cpp.
#pragma once

#include "../problem.hpp"

namespace fastconv {

// Whether it is faster here than the general one; follows from the problem alone.
template <class T>
bool grad_weight_raw_wins(const Problem& p);
template <class T>
// Either gradient may be null. That of the bias is summed while dY is in the cache.
void conv_grad_weight_raw(const Problem& p, const T* x, const T* grad_output, T* grad_weight, T* grad_bias,
                          int threads);

}  // namespace fastconv
