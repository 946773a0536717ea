// The general algorithm of the weights' gradient: see grad_weight.cpp.
#pragma once

#include "../problem.hpp"

namespace fastconv {

// Whether a stage holds the windows of a pixel: those of enormous ones must go tap by tap.
bool one_stage_holds_windows(const Problem& p);
// How many neighbouring pixels of each output lie side by side in the lanes.
template <class T>
Index pixels_together(const Problem& p);
template <class T>
void grad_weight_by_tiles(const Problem& p, const T* x, const T* grad_output, T* grad_weight, int threads);

}  // namespace fastconv
