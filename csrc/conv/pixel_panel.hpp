// Packs pixels into the lanes of a panel: panel[k][lane] = the input that output pixel `lane` meets at
// step k of the reduction. This is im2col, one panel (tens of kilobytes, in L1) at a time.
#pragma once

#include "../kernels/table.hpp"
#include "../problem.hpp"
#include "ahead.hpp"
#include "blocking.hpp"

namespace fastconv {

// Pixels [first, first + count) of the flattened plane (height, width) of one depth slice.
struct PixelRun {
  Index n, g, od, first, count;
};

// `width` lanes a step; those from run.count on are zero.
template <class T>
void pack_pixels(const Problem& p, const T* x, const PixelRun& run, const Reduction::Block& block, Index width,
                 T* panel);

// Whether every run of pixels is a row of each channel: one tap of unit stride. Then, that of the block's first
// channel.
inline bool pixels_in_rows(const Problem& p) {
  return p.taps() == 1 && !p.padded() && p.height().out == 1 && p.width().stride == 1 && p.x.space[kWidth] == 1;
}
template <class T>
const T* row_of_pixels(const Problem& p, const T* x, const PixelRun& run, const Reduction::Block& block);

// What pack_pixels will read, where that is easy to say: of planes of a single row; of slices of depth all if they are
// few, else the last.
template <class T>
Ahead pixels_ahead(const Problem& p, const T* x, const PixelRun& run, const Reduction::Block& block);

}  // namespace fastconv
