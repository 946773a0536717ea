// The gradients of one convolution, all that are wanted in one call: what they read once then serves them all.
#pragma once

#include "../problem.hpp"

namespace fastconv {

// One convolution twice: for its gradient of the input, with the strides of dx and w, and for that of the weight, with
// those of x and dw (taps side by side). Strides of arrays that are not there do not matter.
struct GradientProblem {
  Problem input, weight;
};

// Results that are not wanted, and what only they need, are null.
template <class T>
struct GradientOperands {
  const T *dy, *x, *w;
  T *dx, *dw, *db;
};

// Writes those of the three that are wanted. The bits of one do not depend on the others.
template <class T>
void conv_gradients(const GradientProblem& p, const GradientOperands<T>& a, int threads);

// The same in one sweep, of which at least one of dx and dw is wanted; false where other roads are as good. Depthwise
// convolutions: rows of 3 x 3 taps that roll through registers; pixels in the lanes, where 'same' padding gives dY rows
// that match those of x; and groups in the lanes, for channels-last arrays and other small planes. Narrow groups: their
// channels in the lanes.
template <class T>
bool depthwise_rolling_gradients(const GradientProblem& p, const GradientOperands<T>& a, int threads);
template <class T>
bool depthwise_plane_gradients(const GradientProblem& p, const GradientOperands<T>& a, int threads);
template <class T>
bool depthwise_lane_gradients(const GradientProblem& p, const GradientOperands<T>& a, int threads);
template <class T>
bool narrow_gradients(const GradientProblem& p, const GradientOperands<T>& a, int threads);

}  // namespace fastconv
