// What lies in the lanes of a direct convolution: the cost model that plan_direct asks. Each orientation has an
// estimate of its efficiency, from the problem, the ISA and whether the weights are packed.
#pragma once

#include "direct_plan.hpp"

namespace fastconv {

constexpr Index kSharedWeights = Index{10} << 20;  // bytes of weights worth packing up front

double weight_bytes(const Problem& p, std::size_t element);
// About how many pixels a block has, with channels in the lanes.
double pixels_of_block(const Problem& p, Index element);

// The tiles may write the output itself if their lanes lie side by side in it.
bool tiles_write_output(const Problem& p, Orientation lanes);

// For vectors of `lanes` elements, each of so many bytes.
Orientation fastest_orientation(const Problem& p, Index lanes, std::size_t element, bool prepacked);

}  // namespace fastconv
