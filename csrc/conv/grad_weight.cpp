// The gradient of the weights: dW[o, (c, tap)] = sum over pixels of dY[o, pixel] x[pixel + tap, c].
//
// The same tile kernel as in forward, with its two offset tables swapped: the rows of a tile are now
// taps, the reduction runs over pixels. The lanes are output channels, so blocks of dY are packed to
// [pixel][output]; x is read through offsets, from a padded copy where it meets padding. Start
// reading at grad_weight_by_tiles, at the end.
//
// The sums of one task live in its workspace while all pixels pass by. Where dW is so small that
// there are few tasks, the pixels are split too, into parts that depend on the problem alone; their
// partial sums are added in order, so the bits do not depend on the threads.
#include "grad_weight.hpp"

#include <algorithm>

#include "../cpu.hpp"
#include "../memory.hpp"
#include "../parallel.hpp"
#include "../workspace.hpp"
#include "ahead.hpp"
#include "direct_plan.hpp"
#include "grad_parts.hpp"
#include "grad_weight_plan.hpp"
#include "gradient_panel.hpp"
#include "stage.hpp"

namespace fastconv {
namespace {

// Of rows so far apart.
template <class T>
bool shares_sets(Index step) {
  return step * static_cast<Index>(sizeof(T)) % 2048 == 0;
}

template <class T>
struct Call {
  const Problem& p;
  const GradWeightPlan& plan;
  const T* x;
  const T* dy;
  const Kernels<T>& kernels;
};

struct Task {
  Index g, part, channel, channels, tap, taps, first_panel, end_panel;
};

template <class T>
class GradWeightTask {
 public:
  GradWeightTask(const Call<T>& call, const Task& task)
      : call_(call),
        task_(task),
        problem_(call.p),
        rows_(task.channels * task.taps),
        first_lane_(call.plan.outputs.start(task.first_panel) * call.plan.lanes),
        width_(call.plan.outputs.start(task.end_panel) * call.plan.lanes - first_lane_) {
    problem_.channels = task.channels;
  }

  void run(T* gradient) {
    const GradWeightPlan& plan = call_.plan;
    Workspace workspace(bytes());
    sums_ = workspace.take<T>(rows_ * width_);
    dy_ = workspace.take<T>(most_steps() * width_);
    tap_offset_ = workspace.take<Index>(rows_);
    pixel_offset_ = workspace.take<Index>(plan.most_pixels());
    stage_ = workspace.take<T>(plan.staged ? stage_elements() * plan.images : 0);
    halves_ = workspace.take<T>(plan.together > 1 ? rows_ * width_ : 0);
    strided_ = workspace.take<T>(strided_elements());
    std::fill_n(sums_, rows_ * width_, T(0));
    const Range blocks = blocks_of_part(plan.pixel_blocks(call_.p), plan.parts, task_.part);
    for (Index i = blocks.first; i < blocks.last; ++i) {
      add_block(block_at(i), block_at(std::min(i + 1, blocks.last - 1)).r);
    }
    if (plan.together > 1) join_pairs();
    store(gradient);
  }

  std::size_t bytes() const {
    const GradWeightPlan& plan = call_.plan;
    return Workspace::piece_bytes<T>(rows_ * width_) + Workspace::piece_bytes<T>(most_steps() * width_) +
           Workspace::piece_bytes<Index>(rows_) + Workspace::piece_bytes<Index>(plan.most_pixels()) +
           Workspace::piece_bytes<T>(plan.staged ? stage_elements() * plan.images : 0) +
           Workspace::piece_bytes<T>(plan.together > 1 ? rows_ * width_ : 0) +
           Workspace::piece_bytes<T>(strided_elements());
  }

 private:
  // Of a tile: pixels, or pairs of them.
  Index most_steps() const { return ceil_div(call_.plan.most_packed(), call_.plan.together); }
  Index first_output() const { return first_lane_ / call_.plan.together; }
  Index outputs() const { return std::min(width_ / call_.plan.together, call_.p.outputs - first_output()); }
  Index strided_elements() const { return strided_pixels(call_.p, call_.plan.packed_height * call_.plan.width); }
  Index stage_elements() const { return Stage::elements(problem_, call_.plan.height, call_.plan.width); }

  struct Block {
    Rectangle r;  // of the first image
    Index images;
  };
  Block block_at(Index i) const {
    const GradWeightPlan& plan = call_.plan;
    const Problem& p = problem_;
    Rectangle r{};
    r.g = task_.g;
    r.ow = i % plan.blocks_w * plan.width;
    i /= plan.blocks_w;
    r.oh = i % plan.blocks_h * plan.height;
    i /= plan.blocks_h;
    r.od = i % p.depth().out;
    r.n = i / p.depth().out * plan.images;
    r.height = std::max<Index>(0, std::min(plan.height, p.height().out - r.oh));
    r.width = std::max<Index>(0, std::min(plan.width, p.width().out - r.ow));
    return {r, std::min(plan.images, p.batch - r.n)};
  }

  // Rows of a block that are packed together, from `top` on.
  Rectangle packed_rows(const Rectangle& block, Index top) const {
    Rectangle r = block;
    r.oh += top;
    r.height = std::min(call_.plan.packed_height, block.height - top);
    return r;
  }

  void add_block(const Block& block, const Rectangle& next) {
    const GradWeightPlan& plan = call_.plan;
    const Problem& p = problem_;
    Rectangle r = block.r;
    const Index first_image = r.n, images = block.images, pixels = images * r.pixels();
    if (pixels == 0) return;

    const T* x = call_.x + task_.channel * p.x.channel;
    const bool same = r.height == height_ && r.width == block_width_ && images == images_;  // then so are the offsets
    height_ = r.height, block_width_ = r.width, images_ = images;
    const T* data = nullptr;
    for (Index m = 0; m < images; ++m) {
      r.n = first_image + m;
      const Windows<T> windows =
          plan.staged ? Stage::copy(p, x, r, stage_ + m * stage_elements()) : Stage::windows(p, x, r);
      if (m == 0) data = windows.data;
      if (!same) windows.pixel_offsets(p, r, windows.data - data, pixel_offset_ + m * r.pixels());
      if (!same && m == 0) windows.tap_offsets(p, {0, p.channels, task_.tap, task_.taps}, tap_offset_);
    }
    for (Index i = 0; !same && plan.together > 1 && 2 * i < pixels; ++i) pixel_offset_[i] = pixel_offset_[2 * i];

    Ahead input = input_ahead(next);
    for (Index top = 0; top < r.height; top += plan.packed_height) {
      Rectangle rows = packed_rows(r, top);
      const Index packed = rows.pixels(), then = top + plan.packed_height;
      unpacked_ = images == 1 && packs_in_tile(rows) ? gradient_at(rows) : nullptr;
      if (unpacked_ != nullptr) rows = end_of(rows, packed % kPackedPixels);
      for (Index m = 0; m < images; ++m) {
        rows.n = first_image + m;
        pack_panels(rows, images * packed, (m + 1) * packed - rows.pixels());
      }
      Ahead gradient = gradient_ahead(then < r.height ? packed_rows(block.r, then) : packed_rows(next, 0));
      multiply(data, pixel_offset_ + top * r.width, images * packed, gradient, input);
    }
  }

  // The gradient and the input of a block, where each is one run of a channel: whole rows that join, or a part of the
  // only one.
  static bool is_run(const Problem& p, const Rectangle& r, const ImageStrides& s, Index row) {
    if (p.height().out == 1) return true;
    return s.channel != 1 && r.width == p.width().out && s.space[kHeight] <= row * s.space[kWidth];
  }
  Ahead gradient_ahead(const Rectangle& r) const {
    const Problem& p = call_.p;
    if (!is_run(p, r, p.y, 2 * p.width().out)) return {};
    const T* first = gradient_at(r);
    const Index last = (r.height - 1) * p.y.space[kHeight] + (r.width - 1) * p.y.space[kWidth];
    return {first, outputs(), last + 1, p.y.channel};
  }
  Ahead input_ahead(const Rectangle& r) const {
    const Problem& p = problem_;
    if (!is_run(p, r, p.x, p.width().in)) return {};
    const Index top = std::max<Index>(0, p.height().input_of(r.oh, 0)), left = p.height().out > 1 ? 0 : r.ow;
    const Index rows = (r.height - 1) * p.height().stride + 1, columns = p.height().out > 1 ? p.width().in : r.width;
    const T* first = call_.x + task_.channel * p.x.channel + image_offset(p.x, r, top, left);
    return {first, p.channels, rows * columns * p.x.space[kWidth], p.x.channel};
  }
  const T* gradient_at(const Rectangle& r) const {
    return call_.dy + image_offset(problem_.y, r, r.oh, r.ow) + first_output() * problem_.y.channel;
  }
  static Index image_offset(const ImageStrides& s, const Rectangle& r, Index row, Index column) {
    return r.n * s.batch + r.g * s.group + r.od * s.space[kDepth] + row * s.space[kHeight] + column * s.space[kWidth];
  }

  // Whether tiles are of nine rows by two whole vectors.
  bool nine_rows() const {
    if (sizeof(T) != sizeof(float)) return false;
    return call_.kernels.nine_rows != nullptr && rows_ % kNineRows == 0 && width_ == 2 * call_.plan.lanes &&
           outputs() == width_ && call_.plan.together == 1;
  }
  // Whether the first of them packs dY as it goes: a run of pixels, of rows whose lines do not share cache sets, since
  // each is met twice.
  bool packs_in_tile(const Rectangle& r) const {
    const ImageStrides& y = problem_.y;
    const bool joined = r.height == 1 || (r.width == problem_.width().out && y.space[kHeight] == r.width);
    return nine_rows() && joined && y.space[kWidth] == 1 && !shares_sets<T>(y.channel) && r.width >= kPackedPixels &&
           call_.plan.pixels_together >= r.pixels();
  }
  static Rectangle end_of(Rectangle r, Index pixels) {  // of its last row
    r.oh += r.height - 1;
    r.ow += r.width - pixels;
    r.height = 1;
    r.width = pixels;
    return r;
  }

  // dy_ holds the panels one behind the other, each [pixels][its width].
  void pack_panels(const Rectangle& r, Index pixels, Index first_pixel) {
    const GradWeightPlan& plan = call_.plan;
    const Index together = plan.together;
    for (Index i = task_.first_panel; i < task_.end_panel; ++i) {
      const Index lane = plan.outputs.start(i) * plan.lanes, width = plan.outputs.size(i) * plan.lanes;
      const Index output = lane / together, outputs = std::min(width / together, call_.p.outputs - output);
      pack_gradient(call_.p, call_.dy, r, together, output, outputs, width, strided_,
                    dy_ + ((lane - first_lane_) * pixels + first_pixel * width) / together);
    }
  }

  // Meanwhile asks for what comes next.
  void multiply(const T* x, const Index* pixel_offset, Index pixels, Ahead& gradient, Ahead& input) {
    const Index together = call_.plan.together, steps = pixels / together;
    const Panels parts(steps, ceil_div(call_.plan.pixels_together, together));
    for (Index i = task_.first_panel; i < task_.end_panel; ++i) {
      for (Index j = 0; j < parts.count; ++j) {
        const Range part{parts.start(j), parts.start(j) + parts.size(j)};
        multiply(x, pixel_offset + part.first, steps, part, i, gradient, input);
      }
    }
  }
  // A part of the block's steps, for one panel of dY.
  void multiply(const T* x, const Index* pixel_offset, Index steps, const Range& part, Index panel, Ahead& gradient,
                Ahead& input) {
    const GradWeightPlan& plan = call_.plan;
    const Index lane = plan.outputs.start(panel) * plan.lanes - first_lane_;
    const Index vectors = plan.outputs.size(panel);
    const bool nine = nine_rows();
    const Panels rows(rows_, nine ? kNineRows : call_.kernels.tile_rows);
    Tile<T> tile{};
    tile.depth = part.size();
    tile.a = x;
    T* const packed = dy_ + lane * steps + part.first * vectors * plan.lanes;
    tile.ldb = problem_.y.channel;
    tile.k_offset = pixel_offset;
    tile.ldc = width_;
    tile.lanes = vectors * plan.lanes;
    tile.accumulate = true;
    const auto& kernel = plan.together > 1 ? call_.kernels.channel_pairs : call_.kernels.channel_lanes;
    for (Index j = 0; j < rows.count; j += tile.tiles) {
      tile.row_offset = tap_offset_ + rows.start(j);
      tile.c = sums_ + rows.start(j) * width_ + lane;
      tile.next.c = rows.size(j) * width_;
      Ahead& next = gradient.finished() ? input : gradient;
      const bool packs = unpacked_ != nullptr && j == 0;
      tile.tiles = next.give_runs(tile, plan.together, packs ? 1 : rows.end_of_size(j) - j);
      tile.b = packs ? unpacked_ : packed;
      tile.packed = packs ? packed : nullptr;
      (nine ? call_.kernels.nine_rows : kernel[rows.size(j) - 1][vectors - 1])(tile);
    }
  }

  // The sums of even and of odd pixels become one.
  void join_pairs() {
    const Index each = rows_ * width_ / 2;
    call_.kernels.take_every(sums_, 2, each, halves_);
    call_.kernels.take_every(sums_ + 1, 2, each, halves_ + each);
    call_.kernels.add_rows(halves_ + each, each, halves_);
    std::swap(sums_, halves_);
    width_ /= 2;
  }

  void store(T* gradient) {
    const Problem& p = call_.p;
    const Index outputs = std::min(width_, p.outputs - first_output());
    T* dst = gradient + task_.g * p.w.group + first_output() * p.w.out + task_.channel * p.w.in + task_.tap;
    if (p.w.in == p.taps()) {  // taps are split for single channels only, so the rows join in dW
      call_.kernels.transpose({sums_, width_, rows_, outputs, dst, p.w.out, nullptr, false});
      return;
    }
    if (p.w.out == 1 && p.taps() == 1) {
      call_.kernels.copy({sums_, width_, rows_, outputs, dst, p.w.in});
      return;
    }
    for (Index o = 0; o < outputs; ++o) {
      for (Index row = 0; row < rows_; ++row) {
        dst[o * p.w.out + row / task_.taps * p.w.in + row % task_.taps] = sums_[row * width_ + o];
      }
    }
  }

  const Call<T>& call_;
  const Task& task_;
  Problem problem_;  // with this task's channels only
  Index rows_, first_lane_, width_;
  Index height_ = 0, block_width_ = 0, images_ = 0;  // of the block that the offsets belong to
  T* sums_ = nullptr;
  T* dy_ = nullptr;
  const T* unpacked_ = nullptr;  // dY of the pixels at hand, if a tile packs it
  Index* tap_offset_ = nullptr;
  Index* pixel_offset_ = nullptr;
  T* stage_ = nullptr;
  T* halves_ = nullptr;
  T* strided_ = nullptr;  // pixels of dY that lie apart, side by side
};

}  // namespace

template <class T>
void grad_weight_by_tiles(const Problem& p, const T* x, const T* grad_output, T* grad_weight, int threads) {
  const Index elements = p.groups * p.outputs * p.channels * p.taps();
  threads = useful_threads(p.flops(), threads, threads);
  const GradWeightPlan plan = plan_grad_weight<T>(p, threads);
  const Call<T> call{p, plan, x, grad_output, kernels().of<T>()};
  const RecycledBlock partial(plan.parts > 1 ? static_cast<std::size_t>(plan.parts * elements) * sizeof(T) : 0);
  const Index tasks = p.groups * plan.parts * plan.tap_tasks * plan.channel_tasks.count * plan.output_tasks.count;
  parallel_for(threads, tasks, [&](Index i) {
    Task t{};
    const Index panels = i % plan.output_tasks.count;
    t.first_panel = plan.output_tasks.start(panels);
    t.end_panel = t.first_panel + plan.output_tasks.size(panels);
    i /= plan.output_tasks.count;
    const Index channels = i % plan.channel_tasks.count;
    t.channel = plan.channel_tasks.start(channels);
    t.channels = plan.channel_tasks.size(channels);
    i /= plan.channel_tasks.count;
    t.tap = i % plan.tap_tasks * plan.taps_per_task;
    t.taps = std::min(plan.taps_per_task, p.taps() - t.tap);
    i /= plan.tap_tasks;
    t.part = i % plan.parts;
    t.g = i / plan.parts;
    if (t.channels <= 0 || t.taps <= 0) return;
    T* to = plan.parts > 1 ? partial.as<T>() + t.part * elements : grad_weight;
    GradWeightTask<T>(call, t).run(to);
  });
  if (plan.parts > 1) add_parts(partial.as<const T>(), plan.parts, elements, grad_weight);
}

template void grad_weight_by_tiles(const Problem&, const float*, const float*, float*, int);
template void grad_weight_by_tiles(const Problem&, const double*, const double*, double*, int);

}  // namespace fastconv
