// Gradients of 1-D convolutions whose kernels are wide and step over few pixels, hence also the transposed convolution
// of a decoder of sound: (c, k), the channels of x and their taps, lie in the lanes. See column_products.cpp (dx) and
// column_weights.cpp (dW).
#pragma once

#include "blocking.hpp"

namespace fastconv {

constexpr Index kColumns = 256;  // (c, k) pairs of a task, if a kernel has no more

bool wide_kernels(const Problem& forward);
// Wide kernels, too, over any number of pixels, but so few (c, k) that dy is all that a gradient of theirs reads.
template <class T>
bool few_columns(const Problem& forward);
// Of pixels whose first taps lie at start, start + stride, ...: those with `taps` taps in a row of `in` elements.
Range whole_rows(Index in, Index taps, Index stride, Index start, Index pixels);

// False where the problem is none for this road; then nothing is written.
template <class T>
bool column_products_grad_input(const Problem& forward, const T* grad_output, const T* w, const T* bias, T* grad_input,
                                int threads);
// Of wide kernels or few columns; dW's kernels lie side by side. Either gradient may be null: that of the bias is
// summed while dy is in the cache.
template <class T>
void column_products_grad_weight(const Problem& forward, const T* x, const T* grad_output, T* grad_weight, T* grad_bias,
                                 int threads);

}  // namespace fastconv
