// A task with output pixels in the lanes, straight from a padded copy of the input: rows of one image by a range of
// output channels. For few input channels, where packing panels of pixels would cost more than using them, and for
// few output channels, where channels cannot fill the lanes.
//
// In the copy (raw_stage.hpp) every tap of a whole vector of outputs is a plain load, at the vector's place plus the
// tap's offset. A vector covers up to VL outputs of one row, of which the last one may be shorter, or of the block's
// rows as if they were one. Start reading at run(), below.
#include <algorithm>

#include "../workspace.hpp"
#include "raw_stage.hpp"
#include "task.hpp"

namespace fastconv {

namespace {

template <class T>
class RawPixelsTask {
 public:
  RawPixelsTask(const Call<T>& call, const Task& task)
      : call_(call),
        task_(task),
        stage_(call.p, call.plan.block_height, call.plan.block_width, call.plan.joined),
        oh_(task.bh * call.plan.block_height),
        ow_(task.bw * call.plan.block_width),
        height_(std::min(call.plan.block_height, call.p.height().out - oh_)),
        width_(std::min(call.plan.block_width, call.p.width().out - ow_)),
        first_output_(call.plan.panels.start(task.first_panel)) {
    const Problem& p = call.p;
    Workspace workspace(call.plan.workspace);
    const Index vectors = ceil_div(call.plan.block_width, call.kernels.lanes) * call.plan.block_height;
    tap_offset_ = workspace.take<Index>(p.channels * p.taps());
    slots_ = workspace.take<Slot<T>>(vectors);
    weights_ = workspace.take<T>(call.plan.reduction.depth() * call.kernels.tile_rows);
    input_ = workspace.take<T>(stage_.elements() + call.kernels.lanes);
    T* const y = call.a.y + task.n * p.y.batch + task.g * p.y.group + first_output_ * p.y.channel +
                 task.od * p.y.space[kDepth] + p.stored(oh_) * p.y.space[kHeight] + p.stored(ow_) * p.y.space[kWidth];
    if (call.plan.in_place) {
      to_ = {y, p.y.channel, p.y.space[kHeight]};
    } else {
      const Index plane = call.plan.block_height * call.plan.block_width;
      to_ = {workspace.take<T>(raw_sums_panels(p, call.plan) * call.kernels.tile_rows * plane), plane, width_};
      y_ = y;
    }
    if (p.pool == OutputPool::kAverage) {
      factors_ = workspace.take<T>(call.plan.block_width);
      factor_rows_ = workspace.take<const T*>(call.plan.block_height);
    }
  }

  void run() {
    if (height_ <= 0 || width_ <= 0) return;
    const Reduction& reduction = call_.plan.reduction;
    const Problem& p = call_.p;
    stage_.fill(p, call_.a.x, {task_.n, task_.g, task_.od, oh_, ow_}, input_);
    stage_.tap_offsets(p, tap_offset_);
    fill_slots();
    if (p.pool != OutputPool::kNone) {
      run_pooled();
      return;
    }
    for (Index k = 0; k < reduction.count(); ++k) {
      for (Index i = task_.first_panel; i < task_.end_panel; ++i) add_panel(reduction.block(k), i, k);
    }
    if (!call_.plan.in_place) scatter();
  }

 private:
  // Where sums are added to what y holds, a tile reads all of them before it writes; so the last two vectors of a row
  // may overlap if they belong to one tile.
  bool may_overlap(Index rows, Index width) const {
    const Index vectors = ceil_div(width, call_.kernels.lanes);
    if (vectors < 2 || call_.plan.reduction.count() == 1) return true;
    const Panels tiles(rows * vectors, call_.kernels.tile_vectors);
    for (Index end = vectors; end <= tiles.total; end += vectors) {
      if (tiles.panel_of(end - 2) != tiles.panel_of(end - 1)) return false;
    }
    return true;
  }

  // The last vector of a row starts early enough to be whole, if it may, and computes some sums again.
  void fill_slots() {
    const Problem& p = call_.p;
    const Index lanes = call_.kernels.lanes;
    const bool joined = call_.plan.joined;
    const Index rows = joined ? 1 : height_, width = joined ? height_ * width_ : width_;
    const bool overlap = width >= lanes && may_overlap(rows, width);
    for (Index i = 0; i < rows; ++i) {
      const T* row = input_ + stage_.row_offset(p, i);
      T* to = to_.first + i * to_.row;
      for (Index j = 0; j < width; j += lanes) {
        const Index at = overlap ? std::min(j, width - lanes) : j;
        slots_[slot_count_++] = {row + at, to + at, std::min(lanes, width - at)};
      }
    }
  }

  // The sums of one panel stay in L1, and leave it pooled.
  void run_pooled() {
    const Reduction& reduction = call_.plan.reduction;
    for (Index i = task_.first_panel; i < task_.end_panel; ++i) {
      for (Index k = 0; k < reduction.count(); ++k) add_panel(reduction.block(k), i, k);
      pool(call_.plan.panels.start(i) - first_output_, call_.plan.panels.size(i));
    }
  }

  // Windows of 2x2 sums, which are finished, straight to y, whose columns lie side by side.
  void pool(Index first, Index outputs) const {
    const Problem& p = call_.p;
    const bool average = p.pool == OutputPool::kAverage;
    Roll<T> t{};
    t.x = t.x_begin = to_.first;
    t.x_end = to_.first + outputs * to_.channel;
    t.x_plane = to_.channel;
    t.x_row = to_.row;
    t.height = height_;
    t.width = width_;
    t.y = y_ + first * p.y.channel;
    t.y_plane = p.y.channel;
    t.y_row = p.y.space[kHeight];
    t.planes = outputs;
    t.rows = height_ / 2;
    t.n = width_ / 2;
    const bool whole = width_ == p.width().out && t.y_row == t.n && t.y_plane == t.rows * t.n;
    if (whole) t.y_end = t.y + t.planes * t.y_plane;  // no other task's
    if (average) {
      std::fill_n(factors_, t.n, T(0.25));
      std::fill_n(factor_rows_, t.rows, factors_);
      t.scale = factor_rows_;
    }
    call_.kernels.roll[average ? kFoldSum : kFoldMax][kRoll2x2Stride2](t);
  }

  // Of an output whose columns lie apart, as those of a strided gradient do.
  void scatter() const {
    const Problem& p = call_.p;
    const Index outputs = call_.plan.panels.start(task_.end_panel) - first_output_, step = p.y.space[kWidth];
    for (Index o = 0; o < outputs; ++o) {
      for (Index i = 0; i < height_; ++i) {
        const T* from = to_.first + o * to_.channel + i * to_.row;
        T* y = y_ + o * p.y.channel + i * p.y.space[kHeight];
        for (Index j = 0; j < width_; ++j) y[j * step] = from[j];
      }
    }
  }

  struct Rows {
    const T* data;
    Index ld;
  };
  Rows weight_rows(const Reduction::Block& b, Index panel) {
    const Problem& p = call_.p;
    if (call_.plan.raw_weights) {
      return {call_.a.w + task_.g * p.w.group + call_.plan.panels.start(panel) * p.w.out + b.first(p.taps()), p.w.out};
    }
    return {call_.weights(task_.g, b, panel, weights_), b.depth()};
  }

  // One block of the reduction for some output channels and all vectors.
  void add_panel(const Reduction::Block& b, Index panel, Index k) {
    const DirectPlan& plan = call_.plan;
    const bool last = k + 1 == plan.reduction.count();
    const Rows rows = weight_rows(b, panel);
    const Index output = plan.panels.start(panel);
    const Panels vectors(slot_count_, call_.kernels.tile_vectors);
    const Index shift = call_.p.pool == OutputPool::kNone ? (output - first_output_) * to_.channel : 0;
    Tile<T> tile{};
    tile.far = plan.far;
    tile.depth = b.depth();
    tile.a = rows.data;
    tile.lda = rows.ld;
    tile.k_offset = tap_offset_ + b.first(call_.p.taps());
    tile.ldc = to_.channel;
    tile.accumulate = k > 0;
    tile.relu = last && call_.p.relu;
    tile.bias = last ? call_.bias(task_.g, output) : nullptr;
    tile.c_shift = shift;
    for (Index j = 0; j < vectors.count; j += tile.tiles) {
      tile.slot = slots_ + vectors.start(j);
      tile.tiles = vectors.end_of_size(j) - j;
      tile.next.slot = vectors.size(j);
      call_.kernels.raw_pixels[plan.panels.size(panel) - 1][vectors.size(j) - 1](tile);
    }
  }

  struct Sums {
    T* first;  // of the task's first output and pixel
    Index channel, row;
  };

  const Call<T>& call_;
  const Task& task_;
  RawStage stage_;
  Index oh_, ow_, height_, width_, first_output_;
  Index* tap_offset_;
  Slot<T>* slots_;
  Index slot_count_ = 0;
  T* weights_;  // of one panel, where they are neither packed nor used in place
  T* input_;    // the padded copy
  Sums to_;     // the output itself, or sums that are scattered
  T* y_ = nullptr;
  T* factors_ = nullptr;  // of averages, and the same for each row
  const T** factor_rows_ = nullptr;
};

}  // namespace

template <class T>
void run_raw_pixels(const Call<T>& call, const Task& task) {
  RawPixelsTask<T>(call, task).run();
}

template void run_raw_pixels(const Call<float>&, const Task&);
template void run_raw_pixels(const Call<double>&, const Task&);

}  // namespace fastconv
