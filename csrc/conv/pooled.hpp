// A convolution whose result is pooled, so that the map of its outputs is never stored as a whole.
#pragma once

#include <functional>

#include "plan.hpp"

namespace fastconv {

// What conv_forward wants to know of weights that are packed beforehand, for the plan at hand.
template <class T>
using PackedWeights = std::function<const T*(const Problem&, const ConvPlan&)>;

// y = pool(w * x + bias): windows of 2 along the last `dims` axes, as conv_forward and max_pool or avg_pool would give
// it with the same plan. p.y is how the pooled array lies.
template <class T>
void conv_pool_forward(const Problem& p, OutputPool pool, int dims, Algorithm wanted, const Operands<T>& a,
                       const PackedWeights<T>& packed, int threads);

}  // namespace fastconv
