// Packs pixels of dY for the weights' gradient: panel[pixel][output].
#pragma once

#include "stage.hpp"

namespace fastconv {

// Whether neither pixels nor channels lie side by side: those that a pointwise convolution with a stride meets.
inline bool strided_gradient(const Problem& p) { return p.y.space[kWidth] != 1 && p.y.channel != 1; }
// The room that such pixels, of so many at a time, need on their way; none for others.
Index strided_pixels(const Problem& p, Index most);

// Outputs [output, output + outputs) of a rectangle, with zeros up to `width`; `together` neighbouring pixels of each
// side by side; by way of `pixels`, see strided_pixels.
template <class T>
void pack_gradient(const Problem& p, const T* dy, const Rectangle& r, Index together, Index output, Index outputs,
                   Index width, T* pixels, T* to);

}  // namespace fastconv
