// The gradient of the weights with pixels in the lanes, for few taps and channels: first layers above all.
//
//   dW[o, (c, tap)] = sum over pixels of dY[o, pixel] x[c, pixel + tap]
//
// Both factors come as vectors of neighbouring pixels: dY from a copy whose rows are filled up with zeros, x from the
// padded copy of raw_stage.hpp, where each tap is a shifted load. Nothing is transposed; a sum stays spread over the
// lanes of its vector until all pixels have passed. (The general algorithm transposes dY, which few taps do not pay
// for.)
//
// A task is a part of the pixels by a range of output channels. Parts follow from the problem alone, and their
// results are added in order, so the bits do not depend on the threads. Start reading at conv_grad_weight_raw.
#include "grad_weight_raw.hpp"

#include <algorithm>

#include "../cpu.hpp"
#include "../memory.hpp"
#include "../parallel.hpp"
#include "../workspace.hpp"
#include "direct_plan.hpp"
#include "raw_stage.hpp"

namespace fastconv {
namespace {

constexpr Index kSumsBytes = Index{256} << 10;      // of a task, in L2
constexpr Index kPartialBytes = Index{4} << 20;     // of all parts together
constexpr Index kStageElements = Index{128} << 10;  // of a block's input
constexpr Index kSteps = 64;                        // of a tile: long enough to pay for its start, short enough for L1

struct RawGradPlan {
  Index lanes;
  Index columns;         // (channel, tap) pairs
  Index full, tail;      // vectors of a row, and pixels beyond them
  Index height, blocks;  // rows of a block, blocks of a plane
  Index outputs, output_tasks;
  Index parts;

  Index vectors() const { return full + (tail > 0 ? 1 : 0); }
  Index steps() const { return height * vectors(); }
  Index all_blocks(const Problem& p) const { return p.batch * p.depth().out * blocks; }
};

template <class T>
RawGradPlan plan_raw(const Problem& p) {
  const Kernels<T>& k = kernels().of<T>();
  RawGradPlan plan{};
  plan.lanes = k.lanes;
  plan.columns = p.channels * p.taps();
  plan.full = p.width().out / plan.lanes;
  plan.tail = p.width().out % plan.lanes;
  plan.height = std::clamp<Index>(kSteps / plan.vectors(), 1, p.height().out);
  plan.blocks = ceil_div(p.height().out, plan.height);
  plan.height = ceil_div(p.height().out, plan.blocks);
  const Index sums = plan.columns * plan.lanes * static_cast<Index>(sizeof(T));
  plan.outputs = std::clamp<Index>(kSumsBytes / sums, 1, p.outputs);
  plan.output_tasks = ceil_div(p.outputs, plan.outputs);
  plan.outputs = round_up(ceil_div(p.outputs, plan.output_tasks), k.dot_rows);
  plan.output_tasks = ceil_div(p.outputs, plan.outputs);
  // Enough parts for many threads, each with some blocks.
  const Index gradient = p.groups * p.outputs * plan.columns * static_cast<Index>(sizeof(T));
  plan.parts = std::clamp<Index>(std::min(plan.all_blocks(p) / 4, kPartialBytes / gradient), 1, 16);
  return plan;
}

template <class T>
class RawGradTask {
 public:
  RawGradTask(const Problem& p, const RawGradPlan& plan, Index group, Index first, const T* x, const T* dy)
      : p_(p),
        plan_(plan),
        kernels_(kernels().of<T>()),
        stage_(p, plan.height, p.width().out),
        group_(group),
        first_(first),
        outputs_(std::min(plan.outputs, p.outputs - first)),
        x_(x),
        dy_(dy),
        workspace_(bytes()) {
    sums_ = workspace_.take<T>(outputs_ * plan.columns * plan.lanes);
    gradient_ = workspace_.take<T>(outputs_ * ld());
    input_ = workspace_.take<T>(stage_.elements() + 2 * plan.lanes);
    column_offset_ = workspace_.take<Index>(plan.columns);
    step_offset_ = workspace_.take<Index>(plan.steps());
    std::fill_n(sums_, outputs_ * plan.columns * plan.lanes, T(0));
    std::fill_n(gradient_, outputs_ * ld(), T(0));  // the lanes behind a row's end stay zero
    stage_.tap_offsets(p, column_offset_);
    for (Index i = 0; i < plan.height; ++i) {
      for (Index j = 0; j < plan.full; ++j) step_offset_[i * plan.full + j] = stage_.row_offset(p, i) + j * plan.lanes;
      if (plan.tail > 0) step_offset_[masked_step() + i] = stage_.row_offset(p, i) + plan.full * plan.lanes;
    }
  }

  void run(Index first_block, Index blocks, T* to) {
    for (Index i = first_block; i < first_block + blocks; ++i) add_block(i);
    T* row = to + group_ * p_.w.group + first_ * p_.w.out;
    for (Index o = 0; o < outputs_; ++o, row += p_.w.out) {  // columns lie side by side: see conv_grad_weight
      kernels_.sum_lanes(sums_ + o * plan_.columns * plan_.lanes, plan_.columns, row);
    }
  }

 private:
  // A row of the copied gradient: the whole vectors of all its rows of pixels, then the vectors with a tail.
  Index ld() const { return plan_.steps() * plan_.lanes; }
  Index masked_step() const { return plan_.height * plan_.full; }

  std::size_t bytes() const {
    return Workspace::piece_bytes<T>(outputs_ * plan_.columns * plan_.lanes) +
           Workspace::piece_bytes<T>(outputs_ * ld()) + Workspace::piece_bytes<T>(stage_.elements() + 2 * plan_.lanes) +
           Workspace::piece_bytes<Index>(plan_.columns) + Workspace::piece_bytes<Index>(plan_.steps());
  }

  void add_block(Index block) {
    RawBlock b{};
    b.g = group_;
    b.oh = block % plan_.blocks * plan_.height;
    block /= plan_.blocks;
    b.od = block % p_.depth().out;
    b.n = block / p_.depth().out;
    const Index height = std::min(plan_.height, p_.height().out - b.oh);
    if (height <= 0) return;
    stage_.fill(p_, x_, b, input_);
    copy_gradient(b, height);
    multiply(height);
  }

  void copy_gradient(const RawBlock& b, Index height) {
    const T* dy = dy_ + b.n * p_.y.batch + b.g * p_.y.group + first_ * p_.y.channel + b.od * p_.y.space[kDepth] +
                  b.oh * p_.y.space[kHeight];
    const Index whole = plan_.full * plan_.lanes;
    for (Index i = 0; i < height; ++i, dy += p_.y.space[kHeight]) {
      copy_run(dy, whole, gradient_ + i * whole);
      copy_run(dy + whole * p_.y.space[kWidth], plan_.tail, gradient_ + (masked_step() + i) * plan_.lanes);
    }
  }

  void copy_run(const T* dy, Index count, T* to) {
    if (count == 0) return;
    if (p_.y.space[kWidth] == 1) {
      kernels_.copy({dy, p_.y.channel, outputs_, count, to, ld()});
      return;
    }
    for (Index o = 0; o < outputs_; ++o) {
      kernels_.take_every(dy + o * p_.y.channel, p_.y.space[kWidth], count, to + o * ld());
    }
  }

  void multiply(Index height) {
    const Panels rows(outputs_, kernels_.dot_rows), columns(plan_.columns, kernels_.dot_columns);
    DotTile<T> tile{};
    tile.lda = ld();
    tile.b = input_;
    tile.step_offset = step_offset_;
    tile.masked_offset = step_offset_ + masked_step();
    tile.steps = height * plan_.full;
    tile.masked_steps = plan_.tail > 0 ? height : 0;
    tile.lanes = plan_.tail;
    tile.ld = plan_.columns;
    for (Index i = 0; i < rows.count; ++i) {
      tile.a = gradient_ + rows.start(i) * ld();
      tile.masked_a = tile.a + masked_step() * plan_.lanes;
      for (Index j = 0; j < columns.count; ++j) {
        tile.column_offset = column_offset_ + columns.start(j);
        tile.sums = sums_ + (rows.start(i) * plan_.columns + columns.start(j)) * plan_.lanes;
        kernels_.dot[rows.size(i) - 1][columns.size(j) - 1](tile);
      }
    }
  }

  const Problem& p_;
  const RawGradPlan& plan_;
  const Kernels<T>& kernels_;
  RawStage stage_;
  Index group_, first_, outputs_;
  const T* x_;
  const T* dy_;
  Workspace workspace_;
  T* sums_;
  T* gradient_;
  T* input_;
  Index* column_offset_;
  Index* step_offset_;
};

}  // namespace

// The two algorithms' efficiencies: lanes in use, then the arithmetic beside what is spent on copying (raw) or
// transposing (general) each element of dY, and on adding up the lanes of a finished sum (raw), in units of 2 * lanes
// products a cycle.
template <class T>
bool grad_weight_raw_wins(const Problem& p) {
  const Kernels<T>& k = kernels().of<T>();
  const Index width = p.width().out;
  const double columns = static_cast<double>(p.channels * p.taps());
  if (columns * k.lanes * static_cast<double>(sizeof(T)) > static_cast<double>(kSumsBytes)) return false;
  if (width > kSteps * k.lanes || RawStage(p, plan_raw<T>(p).height, width).elements() > kStageElements) return false;
  const double rate = 2.0 * k.lanes;
  const double m = std::min<double>(k.dot_rows, static_cast<double>(p.outputs));
  const double n = std::min<double>(k.dot_columns, columns);
  const double steps = static_cast<double>(kSteps);
  const double pixels = static_cast<double>(p.batch) * static_cast<double>(p.pixels());
  const double raw = lane_use(width, k.lanes) * std::min({1.0, m * n / (m + 2 * n), m * n / 8}) *
                     share(steps * m * n / 2, 60) * share(columns, rate * 0.25) *
                     share(static_cast<double>(p.outputs * p.taps()), rate * 0.25) *
                     share(pixels / static_cast<double>(plan_raw<T>(p).parts), rate * 6);
  const double uses = p.taps() == 1 ? std::max(columns, static_cast<double>(p.outputs)) : columns;
  const double general = lane_use(p.outputs, k.lanes) * std::min(1.0, columns / k.tile_rows) * share(uses, rate * 0.8);
  return raw > general;
}

template <class T>
void conv_grad_weight_raw(const Problem& p, const T* x, const T* grad_output, T* grad_weight, int threads) {
  const RawGradPlan plan = plan_raw<T>(p);
  const Index elements = p.groups * p.outputs * plan.columns;
  const RecycledBlock partial(plan.parts > 1 ? static_cast<std::size_t>(plan.parts * elements) * sizeof(T) : 0);
  const Index blocks = plan.all_blocks(p);
  const Panels parts(blocks, ceil_div(blocks, plan.parts));
  const Index tasks = parts.count * p.groups * plan.output_tasks;
  parallel_for(useful_threads(p.flops(), tasks, threads), tasks, [&](Index i) {
    const Index first = i % plan.output_tasks * plan.outputs, group = i / plan.output_tasks % p.groups;
    const Index part = i / plan.output_tasks / p.groups;
    T* to = plan.parts > 1 ? partial.as<T>() + part * elements : grad_weight;
    RawGradTask<T>(p, plan, group, first, x, grad_output).run(parts.start(part), parts.size(part), to);
  });
  if (plan.parts == 1) return;
  std::copy_n(partial.as<T>(), elements, grad_weight);
  for (Index part = 1; part < parts.count; ++part) {
    kernels().of<T>().add_rows(partial.as<T>() + part * elements, elements, grad_weight);
  }
}

template bool grad_weight_raw_wins<float>(const Problem&);
template bool grad_weight_raw_wins<double>(const Problem&);
template void conv_grad_weight_raw(const Problem&, const float*, const float*, float*, int);
template void conv_grad_weight_raw(const Problem&, const double*, const double*, double*, int);

}  // namespace fastconv
