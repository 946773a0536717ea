// A task with output pixels in the lanes, straight from a padded copy of the input: rows of one image by a range of
// output channels. For few input channels, where packing panels of pixels would cost more than using them, and for
// few output channels, where channels cannot fill the lanes.
//
// In the copy every tap of a whole vector of outputs is a plain load, at the vector's place plus the tap's offset:
//
//   stage[c][input row][input column mod stride][input column / stride]
//
// A vector covers up to VL outputs of one row; the last one of a row may be shorter. Start reading at run(), below.
#include <algorithm>

#include "../workspace.hpp"
#include "raw_pixels.hpp"
#include "task.hpp"

namespace fastconv {

RawStage::RawStage(const Problem& p, Index height, Index width) {
  const Axis &h = p.height(), &w = p.width();
  rows = (height - 1) * h.stride + h.span();
  phases = std::min(w.stride, w.span());
  phase = width + (w.kernel - 1) * w.dilation / w.stride;
  Index plane;
  if (__builtin_mul_overflow(rows * p.depth().kernel, phases * phase, &plane) ||
      __builtin_mul_overflow(plane, p.channels, &elements)) {
    elements = Index{1} << 60;
  }
  channel = plane;
}

namespace {

template <class T>
class RawPixelsTask {
 public:
  RawPixelsTask(const Call<T>& call, const Task& task)
      : call_(call),
        task_(task),
        stage_(call.p, call.plan.block_height, call.plan.block_width),
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
    input_ = workspace.take<T>(stage_.elements + call.kernels.lanes);
  }

  void run() {
    if (height_ <= 0 || width_ <= 0) return;
    const Reduction& reduction = call_.plan.reduction;
    fill_stage();
    fill_tap_offsets();
    fill_slots();
    for (Index k = 0; k < reduction.count(); ++k) {
      for (Index i = task_.first_panel; i < task_.end_panel; ++i) add_panel(reduction.block(k), i, k);
    }
  }

 private:
  // One input row of all channels, or zeros if it lies in the padding. Column j of phase f is the input column
  // ow * stride + f + j * stride - pad; those outside the input are zero.
  void fill_rows(const T* row, T* dst) const {
    const Problem& p = call_.p;
    const Axis& w = p.width();
    const Index step = w.stride * p.x.space[kWidth];
    for (Index f = 0; f < stage_.phases; ++f, dst += stage_.phase) {
      const Index start = w.input_of(ow_, 0) + f;
      const Index before = row == nullptr
                               ? stage_.phase
                               : std::clamp<Index>(ceil_div(std::max<Index>(-start, 0), w.stride), 0, stage_.phase);
      const Index end = w.in - start <= 0 ? 0 : ceil_div(w.in - start, w.stride);
      const Index inside = std::clamp<Index>(end - before, 0, stage_.phase - before);
      const Index after = stage_.phase - before - inside;
      const T* src = inside > 0 ? row + (start + before * w.stride) * p.x.space[kWidth] : nullptr;
      if (inside > 0 && step == 1) {
        call_.kernels.copy({src, p.x.channel, p.channels, inside, dst + before, stage_.channel});
      }
      T* to = dst;
      for (Index c = 0; c < p.channels; ++c, to += stage_.channel) {
        for (Index i = 0; i < before; ++i) to[i] = T(0);
        for (Index i = stage_.phase - after; i < stage_.phase; ++i) to[i] = T(0);
        if (inside > 0 && step != 1) call_.kernels.take_every(src + c * p.x.channel, step, inside, to + before);
      }
    }
  }

  void fill_stage() {
    const Problem& p = call_.p;
    const T* image = call_.a.x + task_.n * p.x.batch + task_.g * p.x.group;
    T* dst = input_;
    for (Index kd = 0; kd < p.depth().kernel; ++kd) {
      const Index id = p.depth().input_of(task_.od, kd);
      for (Index r = 0; r < stage_.rows; ++r, dst += stage_.phases * stage_.phase) {
        const Index ih = p.height().input_of(oh_, 0) + r;
        const bool inside = id >= 0 && id < p.depth().in && ih >= 0 && ih < p.height().in;
        fill_rows(inside ? image + id * p.x.space[kDepth] + ih * p.x.space[kHeight] : nullptr, dst);
      }
    }
    // The last vector's idle lanes read this: no denormals there.
    std::fill_n(input_ + stage_.elements, call_.kernels.lanes, T(0));
  }

  void fill_tap_offsets() {
    const Problem& p = call_.p;
    const Index row = stage_.phases * stage_.phase;
    Index* to = tap_offset_;
    for (Index c = 0; c < p.channels; ++c) {
      for (Index kd = 0; kd < p.depth().kernel; ++kd) {
        for (Index kh = 0; kh < p.height().kernel; ++kh) {
          const Index start = c * stage_.channel + (kd * stage_.rows + kh * p.height().dilation) * row;
          for (Index kw = 0; kw < p.width().kernel; ++kw) {
            const Index column = kw * p.width().dilation;
            *to++ = start + column % p.width().stride * stage_.phase + column / p.width().stride;
          }
        }
      }
    }
  }

  // The last vector of a row starts early enough to be whole, and computes some sums again; not where sums are added
  // to what y holds.
  void fill_slots() {
    const Problem& p = call_.p;
    const Index lanes = call_.kernels.lanes;
    const bool overlap = width_ >= lanes && call_.plan.reduction.count() == 1;
    T* y = call_.a.y + task_.n * p.y.batch + task_.g * p.y.group + task_.od * p.y.space[kDepth] +
           first_output_ * p.y.channel;
    for (Index i = 0; i < height_; ++i) {
      const T* row = input_ + i * p.height().stride * stage_.phases * stage_.phase;
      T* to = y + (oh_ + i) * p.y.space[kHeight] + ow_;
      for (Index j = 0; j < width_; j += lanes) {
        const Index at = overlap ? std::min(j, width_ - lanes) : j;
        slots_[slot_count_++] = {row + at, to + at, std::min(lanes, width_ - at)};
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
    const Index shift = (output - first_output_) * call_.p.y.channel;
    Tile<T> tile{};
    tile.depth = b.depth();
    tile.a = rows.data;
    tile.lda = rows.ld;
    tile.k_offset = tap_offset_ + b.first(call_.p.taps());
    tile.ldc = call_.p.y.channel;
    tile.accumulate = k > 0;
    tile.relu = last && call_.p.relu;
    tile.bias = last ? call_.bias(task_.g, output) : nullptr;
    tile.c_shift = shift;
    for (Index j = 0; j < vectors.count; ++j) {
      tile.slot = slots_ + vectors.start(j);
      call_.kernels.raw_pixels[plan.panels.size(panel) - 1][vectors.size(j) - 1](tile);
    }
  }

  const Call<T>& call_;
  const Task& task_;
  RawStage stage_;
  Index oh_, ow_, height_, width_, first_output_;
  Index* tap_offset_;
  Slot<T>* slots_;
  Index slot_count_ = 0;
  T* weights_;  // of one panel, where they are neither packed nor used in place
  T* input_;    // the padded copy
};

}  // namespace

template <class T>
void run_raw_pixels(const Call<T>& call, const Task& task) {
  RawPixelsTask<T>(call, task).run();
}

template void run_raw_pixels(const Call<float>&, const Task&);
template void run_raw_pixels(const Call<double>&, const Task&);

}  // namespace fastconv
