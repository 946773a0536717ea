// Packed weights: for each block of the reduction, panel upon panel. Where channels lie in the lanes a
// panel is [k][width]; where they are broadcast it is [row][k], which is how OIHW arrays lie anyway.
#pragma once

#include "../problem.hpp"
#include "ahead.hpp"
#include "blocking.hpp"
#include "direct_plan.hpp"

namespace fastconv {

// Where the pieces of packed weights lie; `unit` is a vector's lanes, or 1 where weights are rows.
struct WeightLayout {
  Index unit;
  Index padded_outputs;  // panels.total * unit
  Index group;           // elements of a group

  WeightLayout(const Problem& p, const DirectPlan& plan, Index lanes)
      : unit(plan.lanes == Orientation::kChannelLanes ? lanes : 1),
        padded_outputs(plan.panels.total * unit),
        group(padded_outputs * p.channels * p.taps()) {}

  // Of panel i of a block, within a group.
  Index panel(const Problem& p, const DirectPlan& plan, const Reduction::Block& b, Index i) const {
    return b.first(p.taps()) * padded_outputs + b.depth() * plan.panels.start(i) * unit;
  }
};

// Packs one panel of one block; w is the group's first weight. Lanes beyond the outputs are zero.
template <class T>
void pack_weight_panel(const Problem& p, const DirectPlan& plan, const T* w, const Reduction::Block& b, Index panel,
                       T* dst);

// Elements (channel, tap) of one output channel follow each other, as in a contiguous OIHW array.
bool reduction_contiguous(const Problem& p);
// The weights of the input's gradient: an output's kernel lies backwards, one output's beside the next one's.
bool kernels_backwards(const Problem& p);

// What pack_weight_panel will read.
template <class T>
Ahead weight_panel_ahead(const Problem& p, const DirectPlan& plan, const T* w, const Reduction::Block& b, Index panel);

// Packs everything: groups * layout.group elements.
template <class T>
void pack_weights(const Problem& p, const DirectPlan& plan, const T* w, T* dst, int threads);

}  // namespace fastconv
