// A task with output pixels in the lanes: a run of the flattened plane by a range of output channels.
//
// Pixels are packed in panels of a few vectors, one block of the reduction at a time, before the first panel of weights
// or by it. Where the weights fit L2 and the reduction has several blocks, a panel, which stays in L1, goes through all
// of them before the next one. Otherwise each block is packed for the whole run and meets one panel of weights after
// the other, which writes its rows of the output from end to end. Tiles add to the output itself where pixels lie side
// by side in it, else to sums in the workspace that are scattered at the end. Start reading at run(), below.
#include <algorithm>

#include "../workspace.hpp"
#include "pixel_panel.hpp"
#include "store.hpp"
#include "task.hpp"

namespace fastconv {
namespace {

constexpr Index kAheadLines = 2;  // that tiles with pixels in the lanes ask for at two steps

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
    pixels_ = workspace.take<T>(depth * plan.packed_pixels(call.kernels.lanes, width));
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
    if (call_.plan.by_panels()) {
      if (copies_weights()) copy_weights(0, reduction.count());
      for (Index j = 0; j < vectors_.count; ++j) {
        for (Index k = 0; k < reduction.count(); ++k) add_panel(k, j);
      }
    } else {
      for (Index k = 0; k < reduction.count(); ++k) {
        if (copies_weights()) copy_weights(k, k + 1);
        add_block(k);
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

  // What the tiles of a block have in common.
  Tile<T> tile_of(Index k, const Reduction::Block& b, const Rows& rows) const {
    const DirectPlan& plan = call_.plan;
    Tile<T> tile{};
    tile.depth = b.depth();
    tile.lda = rows.ld;
    tile.ldc = ldc_;
    tile.far = plan.far;
    tile.accumulate = k > 0;
    tile.relu = finished(k) && call_.p.relu;
    return tile;
  }
  bool finished(Index k) const { return call_.plan.in_place && k + 1 == call_.plan.reduction.count(); }

  // Weight panel i against the pixels of panel j.
  void place(Tile<T>& tile, const Rows& rows, Index k, Index i, Index j) const {
    const DirectPlan& plan = call_.plan;
    const Index row = plan.panels.start(i) - first_output_, lane = vectors_.start(j) * call_.kernels.lanes;
    const Index width = vectors_.size(j) * call_.kernels.lanes;
    tile.lanes = plan.in_place ? std::min(width, run_.count - lane) : width;
    tile.a = rows.data + row * rows.ld;
    tile.c = c_ + row * ldc_ + lane;
    tile.bias = finished(k) ? call_.bias(task_.g, first_output_ + row) : nullptr;
  }
  void add(Tile<T>& tile, const Rows& rows, Index k, Index i, Index j, T* packed) const {
    if (i == task_.first_panel) {
      add_first(tile, rows, k, j, packed);
    } else {
      add_packed(tile, rows, k, i, j, packed);
    }
  }
  void add_packed(Tile<T>& tile, const Rows& rows, Index k, Index i, Index j, const T* packed) const {
    tile.b = packed;
    place(tile, rows, k, i, j);
    call_.kernels.pixel_lanes[call_.plan.panels.size(i) - 1][vectors_.size(j) - 1](tile);
  }
  // The first weight panel packs the pixels on its way, where they lie in rows.
  void add_first(Tile<T>& tile, const Rows& rows, Index k, Index j, T* packed) const {
    const Index i = task_.first_panel;
    const Reduction::Block b = call_.plan.reduction.block(k);
    const PixelRun part = part_of_run(j);
    const auto kernel = call_.kernels.unpacked_pixels[call_.plan.panels.size(i) - 1][vectors_.size(j) - 1];
    const Index width = vectors_.size(j) * call_.kernels.lanes;
    if (kernel == nullptr || !pixels_in_rows(call_.p) || part.count < width) {
      for (Index n = 0; n < std::max<Index>(tile.tiles, 1); ++n) {
        pack_pixels(call_.p, call_.a.x, part_of_run(j + n), b, width, packed + n * tile.next.b);
      }
      add_packed(tile, rows, k, i, j, packed);
      return;
    }
    tile.next.b = width;
    tile.b = row_of_pixels(call_.p, call_.a.x, part, b);
    tile.ldb = call_.p.x.channel;
    tile.packed = packed;
    place(tile, rows, k, i, j);
    kernel(tile);
  }

  // One panel of pixels against all weight rows of the task.
  void add_panel(Index k, Index j) {
    const DirectPlan& plan = call_.plan;
    const Reduction::Block b = plan.reduction.block(k);
    const Rows rows = weight_rows(b);
    Ahead ahead = pixels_after(k, j);
    Tile<T> tile = tile_of(k, b, rows);
    for (Index i = task_.first_panel; i < task_.end_panel; i += tile.tiles) {
      const bool first = i == task_.first_panel, from_far = plan.raw_weights && j == 0;
      const Index size = plan.panels.size(i), end = std::min(plan.panels.end_of_size(i), task_.end_panel);
      if (from_far) ahead = raw_weights_ahead(b, i + 1);
      tile.tiles = ahead.give_share(tile, kAheadLines, first || from_far ? 1 : end - i);
      tile.next.a = size * rows.ld;
      tile.next.b = 0;
      tile.next.bias = size;
      tile.next.c = size * ldc_;
      add(tile, rows, k, i, j, pixels_);
    }
  }

  // All pixels of the run against all weight rows of the task.
  void add_block(Index k) {
    const DirectPlan& plan = call_.plan;
    const Reduction::Block b = plan.reduction.block(k);
    const Rows rows = weight_rows(b);
    const auto panel = [&](Index j) { return pixels_ + vectors_.start(j) * call_.kernels.lanes * b.depth(); };
    Ahead input = pixels_after(k), weights = weights_after(k);
    Tile<T> tile = tile_of(k, b, rows);
    for (Index i = task_.first_panel; i < task_.end_panel; ++i) {
      if (plan.raw_weights) input = raw_weights_ahead(b, i + 1);
      for (Index j = 0; j < vectors_.count; j += tile.tiles) {
        const Index width = vectors_.size(j) * call_.kernels.lanes;
        tile.tiles = (input.finished() ? weights : input).give_share(tile, kAheadLines, whole_end(j) - j);
        tile.next.b = b.depth() * width;
        tile.next.c = width;
        add(tile, rows, k, i, j, panel(j));
      }
    }
  }

  // Where the panels of pixels end that are as wide as panel j.
  Index whole_end(Index j) const {
    const Index end = vectors_.end_of_size(j);
    const bool ragged = end == vectors_.count && vectors_.total * call_.kernels.lanes > run_.count;
    return ragged && j + 1 < end ? end - 1 : end;
  }

  PixelRun part_of_run(Index j) const {
    const Index lane = vectors_.start(j) * call_.kernels.lanes, width = vectors_.size(j) * call_.kernels.lanes;
    PixelRun part = run_;
    part.first += lane;
    part.count = std::min(width, run_.count - lane);
    return part;
  }

  // The pixels that add_panel packs next, at last the first ones of the next task.
  Ahead pixels_after(Index k, Index j) const {
    PixelRun next = part_of_run(j);
    if (++k == call_.plan.reduction.count()) {
      k = 0;
      const Index width = next.count;
      if (++j < vectors_.count) {
        next = part_of_run(j);
      } else {
        next = next_run();
        next.count = std::min(next.count, width);
      }
    }
    return pixels_ahead(k, next);
  }
  // Those that add_block packs next, at last those of the next task.
  Ahead pixels_after(Index k) const {
    return ++k < call_.plan.reduction.count() ? pixels_ahead(k, run_) : pixels_ahead(0, next_run());
  }
  Ahead pixels_ahead(Index k, const PixelRun& run) const {
    return run.count > 0 ? fastconv::pixels_ahead(call_.p, call_.a.x, run, call_.plan.reduction.block(k)) : Ahead();
  }

  // What the next task meets, which comes to this thread unless its share ends; no pixels behind the last one.
  PixelRun next_run() const {
    const Problem& p = call_.p;
    PixelRun next = run_;
    next.first += run_.count;
    if (next.first >= p.height().out * p.width().out) {
      next.first = 0;
      const bool other_outputs = task_.end_panel < call_.plan.panels.count;
      if (!other_outputs && ++next.od == p.depth().out) {
        next.od = 0;
        if (++next.g == p.groups) next.g = 0, ++next.n;
      }
    }
    next.count = next.n < p.batch ? std::min(call_.plan.block_width, p.height().out * p.width().out - next.first) : 0;
    return next;
  }

  // The packed weights of the next block, or of the first one for the run that follows.
  Ahead weights_after(Index k) const {
    const Reduction& reduction = call_.plan.reduction;
    if (call_.packed == nullptr || reduction.count() == 1) return {};
    const Reduction::Block b = reduction.block(k + 1 < reduction.count() ? k + 1 : 0);
    const Index lines = kAheadLines * static_cast<Index>(kCacheLine) / static_cast<Index>(sizeof(T));
    return {call_.weights(task_.g, b, task_.first_panel, nullptr), ceil_div(b.depth() * outputs(), lines), lines,
            lines};
  }
  Ahead raw_weights_ahead(const Reduction::Block& b, Index panel) const {
    return panel < task_.end_panel ? weight_panel_ahead(call_.p, call_.plan, raw(), b, panel) : Ahead();
  }

  const Call<T>& call_;
  const Task& task_;
  PixelRun run_;
  Index first_output_;
  Panels vectors_;  // of the run
  T* pixels_;       // packed: one panel, or all of a block
  T* weights_;      // copied, where they are neither packed nor used in place
  T* c_;            // of the first output and pixel: the output, or sums
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
