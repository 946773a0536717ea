// Windows that overlap, most of all those that slide by one pixel: forward, and the gradient of such averages, which is
// the same over dy.
#pragma once

#include "backward.hpp"

namespace fastconv {

// All of y; false if the windows are others.
template <class T>
bool pool_sliding(const PoolProblem& p, const PoolArrays<T>& a, int threads);

// All of dx of an average pool; false if the windows are others.
template <class T>
bool sliding_gradient(const PoolProblem& p, const GradientArrays<T>& a, int threads);

}  // namespace fastconv
