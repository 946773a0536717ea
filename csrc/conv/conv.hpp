// The three convolutions that the bindings call. All are exact about what they write: y, grad_input
// and grad_weight in full, whatever they held before.
#pragma once

#include "../problem.hpp"
#include "plan.hpp"

namespace fastconv {

// y = w * x + bias. `packed` holds what pack made for this plan, or is null.
template <class T>
void conv_forward(const Problem& p, const ConvPlan& plan, const Operands<T>& a, const T* packed);

// dx from dy; the x strides of `forward` are those of dx, its y strides those of dy. This is also the transposed
// convolution of dy, which may have a bias: one for each channel of dx, or null.
template <class T>
void conv_grad_input(const Problem& forward, const T* grad_output, const T* w, const T* bias, T* grad_input,
                     int threads);

template <class T>
void conv_grad_weight(const Problem& forward, const T* x, const T* grad_output, T* grad_weight, int threads);

// The gradients of the weights and the bias that are not null. Some layers' are computed on one way over dY; then that
// of the bias has the same bits whether the other one is wanted or not.
template <class T>
void conv_grad_parameters(const Problem& forward, const T* x, const T* grad_output, T* grad_weight, T* grad_bias,
                          int threads);

template <class T>
void conv_grad_bias(const Problem& forward, const T* grad_output, T* grad_bias, int threads);

}  // namespace fastconv
