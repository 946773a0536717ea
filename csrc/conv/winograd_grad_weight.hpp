// The weights' gradient by Winograd's algorithm, transposed: see winograd_grad_weight.cpp.
#pragma once

#include "../problem.hpp"

namespace fastconv {

// Whether it is faster here than the others; follows from the problem alone. Needs a dense dW.
template <class T>
bool winograd_grad_weight_wins(const Problem& p);
template <class T>
void winograd_grad_weight(const Problem& p, const T* x, const T* grad_output, T* grad_weight, int threads);

}  // namespace fastconv
