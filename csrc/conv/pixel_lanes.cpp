// A task with output pixels in the lanes: a run of the flattened plane by a range of output channels.
//
// Pixels are packed one panel and one block of the reduction at a time (it stays in L1), and all weight rows go
// past it. If the weights fit L2, a panel goes through the whole reduction before the next one; otherwise each
// block of the weights meets all panels before the next block. Tiles add to the output itself where pixels lie side by
// side in it, else to sums in the workspace that are scattered at the end. Start reading at run(), below.
#include <algorithm>

#include "../workspace.hpp"
#include "pixel_panel.hpp"
#include "store.hpp"
#include "task.hpp"

namespace fastconv {
namespace {

template <class T>
class PixelLanesTask {
 public:
  PixelLanesTask(const Call<T>& call, const Task& task, const PixelRun& run)
      : call_(call),
        task_(task),
        run_(run),
        first_output_(call.plan.panels.start(task.first_panel)),
        vectors_(ceil_div(run.count, call.kernels.lanes), call.kernels.tile_vectors) {
    const Problem& p = call.p;
    const DirectPlan& plan = call.plan;
    Workspace workspace(plan.workspace);
    const Index depth = plan.reduction.depth(), most = plan.panels_per_task * call.kernels.tile_rows;
    const Index width = call.kernels.lanes * call.kernels.tile_vectors;
    pixels_ = workspace.take<T>(depth * width);
    weights_ = workspace.take<T>((plan.weights_stay ? p.channels * p.taps() : depth) * most);
    if (plan.in_place) {
      c_ = call.a.y + run.n * p.y.batch + run.g * p.y.group + run.od * p.y.space[kDepth] + first_output_ * p.y.channel +
           run.first;
      ldc_ = p.y.channel;
    } else {
      c_ = workspace.take<T>(most * 2 * width);
      ldc_ = vectors_.total * call.kernels.lanes;
    }
  }

  void run() {
    const Reduction& reduction = call_.plan.reduction;
    if (call_.plan.weights_stay) {
      if (copies_weights()) copy_weights(0, reduction.count());
      for (Index j = 0; j < vectors_.count; ++j) {
        for (Index k = 0; k < reduction.count(); ++k) add_panel(k, j);
      }
    } else {
      for (Index k = 0; k < reduction.count(); ++k) {
        if (copies_weights()) copy_weights(k, k + 1);
        for (Index j = 0; j < vectors_.count; ++j) add_panel(k, j);
      }
    }
    if (call_.plan.in_place) return;
    store_output_rows(call_.p, run_, call_.a.y, first_output_, outputs(), c_, ldc_, call_.bias(task_.g, first_output_));
  }

 private:
  Index outputs() const { return call_.plan.panels.start(task_.end_panel) - first_output_; }
  const T* raw() const { return call_.a.w + task_.g * call_.p.w.group; }
  bool copies_weights() const { return !call_.plan.raw_weights && call_.packed == nullptr; }
  // Where copied weights of a block start: behind those of the blocks before it, if these stay.
  T* copied(const Reduction::Block& b) const {
    return weights_ + (call_.plan.weights_stay ? b.first(call_.p.taps()) * outputs() : 0);
  }

  void copy_weights(Index first, Index last) {
    for (Index k = first; k < last; ++k) {
      const Reduction::Block b = call_.plan.reduction.block(k);
      for (Index i = task_.first_panel; i < task_.end_panel; ++i) {
        call_.weights(task_.g, b, i, copied(b) + b.depth() * (call_.plan.panels.start(i) - first_output_));
      }
    }
  }

  // Weights of a block, from first_output_ on: row upon row, as they lie in an OIHW array, as they were
  // packed, or as they were copied.
  struct Rows {
    const T* data;
    Index ld;
  };
  Rows weight_rows(const Reduction::Block& b) const {
    const Problem& p = call_.p;
    if (call_.plan.raw_weights) return {raw() + first_output_ * p.w.out + b.first(p.taps()), p.w.out};
    if (call_.packed != nullptr) return {call_.weights(task_.g, b, task_.first_panel, nullptr), b.depth()};
    return {copied(b), b.depth()};
  }

  // One panel of pixels against all weight rows of the task.
  void add_panel(Index k, Index j) {
    const Problem& p = call_.p;
    const DirectPlan& plan = call_.plan;
    const Reduction::Block b = plan.reduction.block(k);
    const Rows rows = weight_rows(b);
    const bool finished = plan.in_place && k + 1 == plan.reduction.count();
    const Index lane = vectors_.start(j) * call_.kernels.lanes, width = vectors_.size(j) * call_.kernels.lanes;
    const PixelRun panel = part_of_run(lane, width);
    pack_pixels(p, call_.a.x, panel, b, width, pixels_);
    Ahead input = upcoming(k, j);
    if (j == 0) weights_ahead_ = weights_of_next_block(k);
    Tile<T> tile{};
    tile.far = plan.far;
    tile.depth = b.depth();
    tile.b = pixels_;
    tile.lda = rows.ld;
    tile.ldc = ldc_;
    tile.lanes = plan.in_place ? panel.count : width;
    tile.accumulate = k > 0;
    tile.relu = finished && p.relu;
    for (Index i = task_.first_panel; i < task_.end_panel; ++i) {
      const Index row = plan.panels.start(i) - first_output_;
      if (plan.raw_weights && j == 0) {
        input = i + 1 < task_.end_panel ? weight_panel_ahead(p, plan, raw(), b, i + 1) : Ahead();
      }
      (input.finished() ? weights_ahead_ : input).give_share(tile);
      tile.a = rows.data + row * rows.ld;
      tile.c = c_ + row * ldc_ + lane;
      tile.bias = finished ? call_.bias(task_.g, first_output_ + row) : nullptr;
      call_.kernels.pixel_lanes[plan.panels.size(i) - 1][vectors_.size(j) - 1](tile);
    }
  }

  PixelRun part_of_run(Index lane, Index width) const {
    PixelRun part = run_;
    part.first += lane;
    part.count = std::min(width, run_.count - lane);
    return part;
  }

  // The pixels that will be packed next.
  Ahead upcoming(Index k, Index j) const {
    const Index blocks = call_.plan.reduction.count();
    if (call_.plan.weights_stay && k + 1 < blocks) {
      ++k;
    } else if (j + 1 < vectors_.count) {
      ++j;
      if (call_.plan.weights_stay) k = 0;
    } else {
      return {};
    }
    return pixels_ahead(call_.p, call_.a.x,
                        part_of_run(vectors_.start(j) * call_.kernels.lanes, vectors_.size(j) * call_.kernels.lanes),
                        call_.plan.reduction.block(k));
  }

  // Of the block after this one, or of the first for the next run of pixels, where weights pass by once for each block.
  Ahead weights_of_next_block(Index k) const {
    const Reduction& reduction = call_.plan.reduction;
    if (call_.plan.weights_stay || call_.packed == nullptr) return {};
    const Reduction::Block b = reduction.block(k + 1 < reduction.count() ? k + 1 : 0);
    return {call_.weights(task_.g, b, task_.first_panel, nullptr), b.depth() * outputs()};
  }

  const Call<T>& call_;
  const Task& task_;
  PixelRun run_;
  Index first_output_;
  Panels vectors_;  // of the run
  Ahead weights_ahead_;
  T* pixels_;   // one panel
  T* weights_;  // copied, where they are neither packed nor used in place
  T* c_;        // of the first output and pixel: the output, or sums
  Index ldc_;
};

}  // namespace

template <class T>
void run_pixel_lanes(const Call<T>& call, const Task& task) {
  const Index first = task.bw * call.plan.block_width;
  const Index pixels = std::min(call.plan.block_width, call.p.height().out * call.p.width().out - first);
  if (pixels <= 0) return;
  PixelLanesTask<T>(call, task, {task.n, task.g, task.od, first, pixels}).run();
}

template void run_pixel_lanes(const Call<float>&, const Task&);
template void run_pixel_lanes(const Call<double>&, const Task&);

}  // namespace fastconv
