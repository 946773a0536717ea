// What the two orientations share: the call that every task serves, and the piece of it that a task is.
#pragma once

#include <algorithm>

#include "../problem.hpp"
#include "ahead.hpp"
#include "direct_plan.hpp"
#include "weights.hpp"

namespace fastconv {

// The weights that will be wanted next; panel -1: none.
struct NextWeights {
  Index g, panel;
  Reduction::Block block;
};

template <class T>
struct Call {
  const Problem& p;
  const DirectPlan& plan;
  const Operands<T>& a;
  const T* packed;
  const Kernels<T>& kernels;
  WeightLayout layout;

  // Panel i of a block of the reduction: packed before, or now into `to`.
  const T* weights(Index g, const Reduction::Block& b, Index i, T* to) const {
    if (packed != nullptr) return packed + g * layout.group + layout.panel(p, plan, b, i);
    pack_weight_panel(p, plan, a.w + g * p.w.group, b, i, to);
    return to;
  }
  // What weights(next) will read.
  Ahead ahead(const NextWeights& next) const {
    if (next.panel < 0) return {};
    if (packed == nullptr) return weight_panel_ahead(p, plan, a.w + next.g * p.w.group, next.block, next.panel);
    return {packed + next.g * layout.group + layout.panel(p, plan, next.block, next.panel),
            next.block.depth() * plan.panels.size(next.panel) * layout.unit};
  }
  const T* bias(Index g, Index output) const { return a.bias == nullptr ? nullptr : a.bias + g * p.outputs + output; }
};

struct Task {
  Index n, g, od, bh, bw, first_panel, end_panel;
};

inline Task task_at(const Problem& p, const DirectPlan& plan, Index i) {
  Task t{};
  const auto digit = [&i](Index radix) {  // i counts in a mixed radix, the last digit fastest
    const Index rest = quotient(i, radix), value = i - rest * radix;
    i = rest;
    return value;
  };
  t.bw = digit(plan.blocks_w);
  t.bh = digit(plan.blocks_h);
  t.first_panel = digit(plan.output_tasks) * plan.panels_per_task;
  t.end_panel = std::min(plan.panels.count, t.first_panel + plan.panels_per_task);
  t.od = digit(p.depth().out);
  t.g = digit(p.groups);
  t.n = i;
  return t;
}

// See channel_lanes.cpp, pixel_lanes.cpp and raw_pixels.cpp.
template <class T>
void run_channel_lanes(const Call<T>& call, const Task& task);
template <class T>
void run_pixel_lanes(const Call<T>& call, const Task& task);
template <class T>
void run_raw_pixels(const Call<T>& call, const Task& task);

}  // namespace fastconv
