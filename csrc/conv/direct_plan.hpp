// Everything that the direct convolution decides, as a value.
//
// No search and no timing: the blocks follow from the problem and the caches by formula, so the same
// problem always takes the same road, and its bits do not depend on the number of threads.
#pragma once

#include "../kernels/table.hpp"
#include "../problem.hpp"
#include "blocking.hpp"

namespace fastconv {

enum class Orientation {
  kChannelLanes,  // vectors of output channels; pixels are broadcast through offsets
  kPixelLanes,    // vectors of output pixels, packed; weights are broadcast
  kRawPixels,     // vectors of output pixels, read from a padded copy of the input; weights are broadcast
};

struct DirectPlan {
  Orientation lanes = Orientation::kPixelLanes;
  bool staged = false;          // channel lanes: windows are read from a padded copy in the workspace
  bool in_place = false;        // tiles accumulate in the output itself
  bool far = false;             // the output is too large to be in a cache when it is written or met again
  bool joined = false;          // raw pixels: rows of outputs join, see raw_stage.hpp
  bool raw_weights = false;     // pixel lanes, raw pixels: OIHW rows serve as they are
  bool weights_stay = false;    // pixel lanes: a task's weights fit L2
  bool shared_weights = false;  // weights are packed once, before the tasks start
  Reduction reduction;
  Panels panels;  // of output channels: vectors (channel lanes) or rows (pixel lanes)
  // Channel lanes: each block of the reduction meets all panels of the task before the next block.
  bool reduction_outer = false;
  Index block_images = 1;
  Index block_height = 0;  // output pixels of a task: a rectangle (channel lanes) ...
  Index block_width = 0;   // ... or a run of the flattened plane (pixel lanes; height 1)
  Index blocks_h = 0, blocks_w = 0;
  Index panels_per_task = 0;
  Index output_tasks = 0;
  int threads = 1;
  std::size_t workspace = 0;  // bytes for each thread
  std::size_t shared = 0;     // bytes for the call

  Index tasks(const Problem& p) const {
    return ceil_div(p.batch, block_images) * p.groups * p.depth().out * blocks_h * blocks_w * output_tasks;
  }
  // Pixel lanes: a panel of pixels goes through the whole reduction before the next one.
  bool by_panels() const { return weights_stay && reduction.count() > 1; }
  // Pixel lanes: how many packed pixels a task holds.
  Index packed_pixels(Index vector, Index panel) const { return by_panels() ? panel : round_up(block_width, vector); }
  // Channel lanes: how many sums of a pixel a task holds.
  Index sums_width(Index vector) const {
    const Index widest = panels.base + (panels.extra > 0 ? 1 : 0);
    return (reduction_outer ? std::min(panels_per_task * widest, panels.total) : widest) * vector;
  }
};

// Raw pixels: of how many panels a task holds the sums, where tiles do not accumulate in the output itself.
inline Index raw_sums_panels(const Problem& p, const DirectPlan& plan) {
  return p.pool == OutputPool::kNone ? plan.panels_per_task : 1;
}

// The width of a vector panel and the depth that keeps it in L1.
Index reduction_depth(int tile_vectors, std::size_t vector_bytes);
// Enough work for each thread to pay for waking it.
int useful_threads(double flops, Index tasks, int available);

template <class T>
DirectPlan plan_direct(const Problem& p, bool prepacked, int threads);

}  // namespace fastconv
