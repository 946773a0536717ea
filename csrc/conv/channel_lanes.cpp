// A task with output channels in the lanes: a rectangle of output pixels by a range of weight panels.
//
// The rectangle's windows are read in place or from a padded copy. For each panel of weights the sums of all
// its pixels are kept, either in the output itself (NHWC) or in the workspace, from where they are
// transposed into the output's planes. Start reading at run(), below.
#include <algorithm>

#include "../workspace.hpp"
#include "stage.hpp"
#include "store.hpp"
#include "task.hpp"

namespace fastconv {
namespace {

Rectangle rectangle_of(const Problem& p, const DirectPlan& plan, const Task& t) {
  const Index oh = t.bh * plan.block_height, ow = t.bw * plan.block_width;
  return {t.n,
          t.g,
          t.od,
          oh,
          ow,
          std::min(plan.block_height, p.height().out - oh),
          std::min(plan.block_width, p.width().out - ow)};
}

template <class T>
class ChannelLanesTask {
 public:
  ChannelLanesTask(const Call<T>& call, const Task& task, const Rectangle& rectangle)
      : call_(call), task_(task), rectangle_(rectangle) {
    const Problem& p = call.p;
    const DirectPlan& plan = call.plan;
    Workspace workspace(plan.workspace);
    const Index pixels = plan.block_height * plan.block_width;
    const Index width = call.kernels.lanes * call.kernels.tile_vectors;
    tap_offset_ = workspace.take<Index>(plan.reduction.depth());
    pixel_offset_ = workspace.take<Index>(pixels);
    panel_ = workspace.take<T>(plan.reduction.depth() * width);
    if (!plan.in_place) sums_ = workspace.take<T>(pixels * width);
    windows_ = plan.staged ? Stage::copy(p, call.a.x, rectangle_,
                                         workspace.take<T>(Stage::elements(p, plan.block_height, plan.block_width)))
                           : Stage::windows(p, call.a.x, rectangle_);
    windows_.pixel_offsets(p, rectangle_, pixel_offset_);
    // Blocks of whole channels differ in their first channel only; the first block is the largest.
    windows_.tap_offsets(p, plan.reduction.block(0), tap_offset_);
  }

  void run() {
    const Problem& p = call_.p;
    for (Index i = task_.first_panel; i < task_.end_panel; ++i) {
      const Index width = call_.plan.panels.size(i) * call_.kernels.lanes;
      const Index output = call_.plan.panels.start(i) * call_.kernels.lanes;
      const OutputBlock<T> out(p, rectangle_, call_.a.y, output, std::min(width, p.outputs - output),
                               call_.bias(task_.g, output));
      for (Index k = 0; k < call_.plan.reduction.count(); ++k) add_block(i, k, out);
      if (!call_.plan.in_place) out.store_pixel_rows(sums_, width);
    }
  }

 private:
  // One block of the reduction for one panel of weights and all pixels.
  void add_block(Index panel, Index k, const OutputBlock<T>& out) {
    const DirectPlan& plan = call_.plan;
    const Reduction::Block b = plan.reduction.block(k);
    if (plan.reduction.tap_blocks.count > 1) windows_.tap_offsets(call_.p, b, tap_offset_);
    const bool last = k + 1 == plan.reduction.count();
    Tile<T> tile{};
    tile.depth = b.depth();
    tile.a = windows_.data + b.channel * windows_.channel;
    tile.b = call_.weights(task_.g, b, panel, panel_);
    tile.k_offset = tap_offset_;
    tile.accumulate = k > 0;
    if (plan.in_place) {
      tile.c = out.data();
      tile.ldc = call_.p.y.space[kWidth];
      tile.lanes = out.outputs();
      tile.relu = last && call_.p.relu;
      tile.bias = last ? out.bias() : nullptr;
    } else {
      tile.c = sums_;
      tile.ldc = tile.lanes = plan.panels.size(panel) * call_.kernels.lanes;
    }
    sweep_pixels(tile, plan.panels.size(panel), next_weights(panel, k));
  }

  NextWeights next_weights(Index panel, Index k) const {
    const bool last = k + 1 == call_.plan.reduction.count();
    if (!last) return {task_.g, panel, call_.plan.reduction.block(k + 1)};
    return {task_.g, panel + 1 < task_.end_panel ? panel + 1 : -1, call_.plan.reduction.block(0)};
  }

  // All pixels against one weight panel. Meanwhile the next weights are asked for, or their way from L3
  // would show.
  void sweep_pixels(const Tile<T>& first, Index vectors, const NextWeights& next) {
    const Panels rows(rectangle_.pixels(), call_.kernels.tile_rows);
    const Index units = call_.prefetch_units(next), share = ceil_div(units, rows.count);
    Tile<T> tile = first;
    for (Index i = 0, asked = 0; i < rows.count; ++i, asked += share) {
      if (asked < units) call_.prefetch(next, asked, std::min(units, asked + share));
      tile.row_offset = pixel_offset_ + rows.start(i);
      tile.c = first.c + rows.start(i) * first.ldc;
      call_.kernels.channel_lanes[rows.size(i) - 1][vectors - 1](tile);
    }
  }

  const Call<T>& call_;
  const Task& task_;
  Rectangle rectangle_;
  Index* tap_offset_;
  Index* pixel_offset_;
  T* panel_;  // of weights, where they are not packed beforehand
  T* sums_ = nullptr;
  Windows<T> windows_;
};

}  // namespace

template <class T>
void run_channel_lanes(const Call<T>& call, const Task& task) {
  const Rectangle rectangle = rectangle_of(call.p, call.plan, task);
  if (rectangle.height <= 0 || rectangle.width <= 0) return;
  ChannelLanesTask<T>(call, task, rectangle).run();
}

template void run_channel_lanes(const Call<float>&, const Task&);
template void run_channel_lanes(const Call<double>&, const Task&);

}  // namespace fastconv
