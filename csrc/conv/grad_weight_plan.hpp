// Everything that the general algorithm of the weights' gradient decides, as a value: the blocks of pixels, the tasks,
// and the parts of the reduction, which follow from the problem alone.
#pragma once

#include "../problem.hpp"
#include "blocking.hpp"

namespace fastconv {

struct GradWeightPlan {
  Index lanes;
  Index together;                      // neighbouring pixels of an output, side by side in the lanes: 1 or 2
  Panels outputs;                      // vectors of output channels
  Panels output_tasks, channel_tasks;  // panels and channels of a task
  Index taps_per_task, tap_tasks;      // all of them, but for enormous windows
  Index images;                        // of a pixel block; more than one where planes are small
  Index height, width;                 // of a pixel block
  Index packed_height;                 // rows of it whose dY is packed at a time
  Index blocks_n, blocks_h, blocks_w;
  Index pixels_together;  // of those that are packed, that meet all rows before the others do
  Index parts;            // of the reduction
  bool staged;

  Index pixel_blocks(const Problem& p) const { return blocks_n * p.depth().out * blocks_h * blocks_w; }
  Index most_pixels() const { return images * height * width; }
  Index most_packed() const { return images * packed_height * width; }
};

template <class T>
GradWeightPlan plan_grad_weight(const Problem& p, int threads);

}  // namespace fastconv
