// Passes over whole arrays for training: optimiser steps and the gradient of ReLU, on several threads.
// The cuts follow from the length alone, so the bits do not depend on the number of threads.
#pragma once

#include "../kernels/table.hpp"

namespace fastconv {

// See the structs and the table in kernels/table.hpp for what they compute.
template <class T>
void adam(const AdamStep<T>& step, int threads);
template <class T>
void sgd(const SgdStep<T>& step, int threads);
template <class T>
void relu_gradient(const T* grad, const T* y, std::ptrdiff_t n, T* result, int threads);

}  // namespace fastconv
