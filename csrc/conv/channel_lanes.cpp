// A task with output channels in the lanes: a rectangle of output pixels, of one image or of several small ones, by a
// range of weight panels.
//
// The rectangle's windows are read in place or from a padded copy. The sums of its pixels are kept either in the output
// itself (NHWC) or in the workspace, from where they are transposed into the output's planes. A panel of weights
// goes through the whole reduction before the next one where the windows were copied, since the copy lies in L2; where
// they are read in place, each block of the reduction meets all panels first, so that its input is fetched once.
// Start reading at run(), below.
#include <algorithm>

#include "../workspace.hpp"
#include "stage.hpp"
#include "store.hpp"
#include "task.hpp"

namespace fastconv {
namespace {

constexpr Index kLongBlock = 96;       // products; the weights of fewer leave room in L1
constexpr double kFarInput = 8 << 20;  // bytes: more than stays in a cache from one use to the next

Rectangle rectangle_of(const Problem& p, const DirectPlan& plan, const Task& t) {
  const Index oh = t.bh * plan.block_height, ow = t.bw * plan.block_width;
  return {t.n * plan.block_images,
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
      : call_(call),
        task_(task),
        rectangle_(rectangle),
        images_(std::min(call.plan.block_images, call.p.batch - rectangle.n)) {
    const Problem& p = call.p;
    const DirectPlan& plan = call.plan;
    Workspace workspace(plan.workspace);
    const Index most = plan.block_images * plan.block_height * plan.block_width;
    tap_offset_ = workspace.take<Index>(plan.reduction.depth());
    pixel_offset_ = workspace.take<Index>(most);
    panel_ = workspace.take<T>(plan.reduction.depth() * call.kernels.lanes * call.kernels.tile_vectors);
    half_sums_ = workspace.take<T>(most * call.kernels.lanes * call.kernels.tile_vectors);
    if (!plan.in_place) sums_ = workspace.take<T>(most * plan.sums_width(call.kernels.lanes));
    const Index image = Stage::elements(p, plan.block_height, plan.block_width);
    T* const stage = plan.staged ? workspace.take<T>(plan.block_images * image) : nullptr;
    for (Index i = 0; i < images_; ++i) {
      const Windows<T> windows =
          plan.staged ? Stage::copy(p, call.a.x, part(i), stage + i * image) : Stage::windows(p, call.a.x, part(i));
      if (i == 0) windows_ = windows;
      windows.pixel_offsets(p, rectangle_, windows.data - windows_.data, pixel_offset_ + i * rectangle_.pixels());
    }
    // Blocks of whole channels differ in their first channel only; the first block is the largest.
    windows_.tap_offsets(p, plan.reduction.block(0), tap_offset_);
  }

  void run() {
    const Index blocks = call_.plan.reduction.count();
    if (call_.plan.reduction_outer) {
      for (Index k = 0; k < blocks; ++k) {
        for (Index i = task_.first_panel; i < task_.end_panel; ++i) {
          add_block(i, k);
          if (k + 1 == blocks) store(i);
        }
      }
    } else {
      for (Index i = task_.first_panel; i < task_.end_panel; ++i) {
        for (Index k = 0; k < blocks; ++k) add_block(i, k);
        store(i);
      }
    }
  }

 private:
  Rectangle part(Index image) const {
    Rectangle r = rectangle_;
    r.n += image;
    return r;
  }
  Index width(Index panel) const { return call_.plan.panels.size(panel) * call_.kernels.lanes; }
  OutputBlock<T> output(Index panel, const Rectangle& r) const {
    const Index first = call_.plan.panels.start(panel) * call_.kernels.lanes;
    return {call_.p, r, call_.a.y, first, std::min(width(panel), call_.p.outputs - first), call_.bias(task_.g, first)};
  }
  // Sums of a panel: those of all the task's panels are kept where the reduction is the outer loop.
  T* sums(Index panel) const {
    if (!call_.plan.reduction_outer) return sums_;
    const Panels& panels = call_.plan.panels;
    return sums_ + images_ * rectangle_.pixels() * (panels.start(panel) - panels.start(task_.first_panel)) *
                       call_.kernels.lanes;
  }

  void store(Index panel) const {
    if (call_.plan.in_place) return;
    for (Index i = 0; i < images_; ++i) {
      const Rectangle r = part(i);
      output(panel, r).store_pixel_rows(sums(panel) + i * r.pixels() * width(panel), width(panel));
    }
  }

  // One block of the reduction for one panel of weights and all pixels.
  void add_block(Index panel, Index k) {
    const DirectPlan& plan = call_.plan;
    const Reduction::Block b = plan.reduction.block(k);
    if (plan.reduction.tap_blocks.count > 1) windows_.tap_offsets(call_.p, b, tap_offset_);
    const bool last = k + 1 == plan.reduction.count();
    Tile<T> tile{};
    tile.far = plan.far && plan.in_place;
    tile.depth = b.depth();
    tile.a = windows_.data + b.channel * windows_.channel;
    tile.b = call_.weights(task_.g, b, panel, panel_);
    tile.k_offset = tap_offset_;
    tile.accumulate = k > 0;
    if (plan.in_place) {
      const OutputBlock<T> out = output(panel, rectangle_);
      tile.c = out.data();
      tile.ldc = call_.p.y.space[kWidth];
      tile.lanes = out.outputs();
      tile.relu = last && call_.p.relu;
      tile.bias = last ? out.bias() : nullptr;
    } else {
      tile.c = sums(panel);
      tile.ldc = tile.lanes = width(panel);
    }
    Wanted wanted;
    wanted.weights = call_.ahead(next_weights(panel, k));
    if (panel == task_.first_panel) wanted.input = next_input(k);
    if (last) wanted.output = next_output(panel, 0);
    if (b.depth() < kLongBlock) {
      sweep_pixels(tile, panel, wanted);
      return;
    }
    // Half of the weights stays in L1 beside what passes by; the second half goes on with the sums of the first.
    Tile<T> half = tile;
    half.depth = b.depth() / 2;
    half.c = half_sums_;
    half.ldc = half.lanes = width(panel);
    half.accumulate = half.relu = half.far = false;
    half.bias = nullptr;
    sweep_pixels(half, panel, wanted);
    tile.depth -= half.depth;
    tile.b += half.depth * width(panel);
    tile.k_offset += half.depth;
    tile.start = half_sums_;
    sweep_pixels(tile, panel, wanted);
  }

  // Where pixels are rows of channels, read in place from far away: those of the next block, at last of the pixels that
  // follow.
  Ahead next_input(Index k) const {
    const Problem& p = call_.p;
    if (call_.plan.staged || p.taps() != 1 || p.x.channel != 1 || p.height().out != 1 || images_ != 1) return {};
    if (static_cast<double>(p.channels) * static_cast<double>(p.width().out) * sizeof(T) < kFarInput) return {};
    const bool last = k + 1 == call_.plan.reduction.count();
    const Reduction::Block b = call_.plan.reduction.block(last ? 0 : k + 1);
    const Index pixels = rectangle_.pixels(), step = p.width().stride * p.x.space[kWidth];
    return {windows_.data + b.channel + (last ? pixels * step : 0), pixels, b.channels, step};
  }

  // Where store() will write the sums of an image, if that is far away.
  Ahead next_output(Index panel, Index image) const {
    const Problem& p = call_.p;
    if (call_.plan.in_place || !call_.plan.far || p.pool != OutputPool::kNone) return {};
    const OutputBlock<T> out = output(panel, part(image));
    const Index pixels = rectangle_.pixels();
    if (p.y.space[kWidth] != 1 || rectangle_.width != p.width().out) return {};
    if (p.y.channel == pixels) return {out.data(), out.outputs() * pixels};
    return {out.data(), out.outputs(), pixels, p.y.channel};
  }

  // The panel that follows this one in run()'s order.
  NextWeights next_weights(Index panel, Index k) const {
    const bool last_k = k + 1 == call_.plan.reduction.count(), last_panel = panel + 1 == task_.end_panel;
    if (last_k && last_panel) return {task_.g, -1, call_.plan.reduction.block(0)};
    if (call_.plan.reduction_outer ? last_panel : !last_k) {
      return {task_.g, call_.plan.reduction_outer ? task_.first_panel : panel, call_.plan.reduction.block(k + 1)};
    }
    return {task_.g, panel + 1, call_.plan.reduction.block(call_.plan.reduction_outer ? k : 0)};
  }

  // What is asked for while tiles compute, or its way from L3 or memory would show.
  struct Wanted {
    Ahead weights, input, output;
    Index image = 0;  // of the output
  };
  Ahead& first_wanted(Index panel, Wanted& wanted) const {
    if (!wanted.weights.finished()) return wanted.weights;
    if (!wanted.input.finished()) return wanted.input;
    while (wanted.output.finished() && wanted.image + 1 < images_) wanted.output = next_output(panel, ++wanted.image);
    return wanted.output;
  }

  // All pixels against one weight panel.
  void sweep_pixels(const Tile<T>& first, Index panel, Wanted& wanted) const {
    const Panels rows(images_ * rectangle_.pixels(), call_.kernels.tile_rows);
    Tile<T> tile = first;
    for (Index i = 0; i < rows.count; i += tile.tiles) {
      tile.tiles = first_wanted(panel, wanted).give_share(tile, 1, rows.end_of_size(i) - i);
      tile.next.c = rows.size(i) * first.ldc;
      tile.row_offset = pixel_offset_ + rows.start(i);
      tile.c = first.c + rows.start(i) * first.ldc;
      if (first.start != nullptr) tile.start = first.start + rows.start(i) * width(panel);
      call_.kernels.channel_lanes[rows.size(i) - 1][call_.plan.panels.size(panel) - 1](tile);
    }
  }

  const Call<T>& call_;
  const Task& task_;
  Rectangle rectangle_;  // of the first image
  Index images_;
  Index* tap_offset_;
  Index* pixel_offset_;
  T* panel_;      // of weights, where they are not packed beforehand
  T* half_sums_;  // of half a block
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
