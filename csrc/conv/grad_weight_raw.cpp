// The gradient of the weights with pixels in the lanes, for few taps and channels: first layers above all.
//
//   dW[o, (c, tap)] = sum over pixels of dY[o, pixel] x[c, pixel + tap]
//
// Both factors come as vectors of neighbouring pixels: dY where it lies if its rows hold a vector, else from a copy
// whose rows are filled up with zeros, x from the padded copy of raw_stage.hpp, where each tap is a shifted load; or,
// without taps, where it lies, if dY does.
// Nothing is transposed; a sum stays spread over the lanes of its vector until all pixels have passed. (The general
// algorithm transposes dY, which few taps do not pay for.)
//
// A task is a part of the pixels by a range of output channels. Parts follow from the problem alone, and their
// results are added in order, so the bits do not depend on the threads. Start reading at conv_grad_weight_raw.
#include "grad_weight_raw.hpp"

#include <algorithm>
#include <cstdint>

#include "../cpu.hpp"
#include "../memory.hpp"
#include "../parallel.hpp"
#include "../workspace.hpp"
#include "direct_plan.hpp"
#include "grad_parts.hpp"
#include "grad_weight.hpp"
#include "raw_stage.hpp"

namespace fastconv {
namespace {

constexpr Index kSumsBytes = Index{256} << 10;      // of a task, in L2
constexpr Index kPartialBytes = Index{4} << 20;     // of all parts together
constexpr Index kStageElements = Index{128} << 10;  // of a block's input
constexpr Index kPasses = 8;                        // over x where it lies; more are worth a copy in L1
constexpr Index kStreamed = 100;                    // steps of a tile that reads both factors where they lie,
constexpr Index kFewestBlocks = 32;                 // if that leaves so many blocks
constexpr Index kSteps = 64;                        // of a tile: long enough to pay for its start, short enough for L1

struct RawGradPlan {
  Index lanes;
  Index columns;          // (channel, tap) pairs
  Index width, blocks_w;  // pixels of a block's rows
  Index height, blocks_h;
  Index outputs, output_tasks;
  Index parts;
  bool joined;  // rows of pixels, of both factors: see raw_stage.hpp

  Index vectors() const { return ceil_div(width, lanes); }
  Index steps() const { return joined ? ceil_div(height * width, lanes) : height * vectors(); }
  Index all_blocks(const Problem& p) const { return p.batch * p.depth().out * blocks_h * blocks_w; }
};

template <class T>
bool reads_in_place(const Problem& p) {
  return p.pointwise() && p.x.space[kWidth] == 1 && p.y.space[kWidth] == 1 &&
         p.outputs <= kPasses * kernels().of<T>().dot_rows;
}

// Of images of a single row, several tiles read what the first one read: all phases of the input beside the gradient.
template <class T>
Index most_steps(const Problem& p) {
  if (p.height().out > 1) return kSteps;
  const Kernels<T>& k = kernels().of<T>();
  if (reads_in_place<T>(p)) {
    return std::clamp<Index>(p.batch * p.pixels() / (kFewestBlocks * k.lanes), kSteps / 2, kStreamed);
  }
  const Index rows = p.channels * std::min(p.width().stride, p.width().span()) + k.dot_rows;
  return std::clamp<Index>(caches().l1 * 3 / 4 / (rows * k.lanes * static_cast<Index>(sizeof(T))), kSteps / 2, kSteps);
}

template <class T>
RawGradPlan plan_raw(const Problem& p) {
  const Kernels<T>& k = kernels().of<T>();
  RawGradPlan plan{};
  plan.lanes = k.lanes;
  plan.columns = p.channels * p.taps();
  const Index steps = most_steps<T>(p);
  plan.blocks_w = ceil_div(p.width().out, steps * plan.lanes);
  plan.width = plan.blocks_w == 1 ? p.width().out : round_up(ceil_div(p.width().out, plan.blocks_w), plan.lanes);
  plan.joined = plan.blocks_w == 1 && worth_joining(p, plan.lanes);
  const Index rows = plan.joined ? kSteps * plan.lanes / plan.width : kSteps / plan.vectors();
  plan.height = std::clamp<Index>(rows, 1, p.height().out);
  plan.blocks_h = ceil_div(p.height().out, plan.height);
  plan.height = ceil_div(p.height().out, plan.blocks_h);
  const Index sums = plan.columns * plan.lanes * static_cast<Index>(sizeof(T));
  plan.outputs = std::clamp<Index>(kSumsBytes / sums, 1, p.outputs);
  plan.output_tasks = ceil_div(p.outputs, plan.outputs);
  plan.outputs = round_up(ceil_div(p.outputs, plan.output_tasks), k.dot_rows);
  plan.output_tasks = ceil_div(p.outputs, plan.outputs);
  // Enough parts for many threads, each with some blocks.
  const Index gradient = p.groups * p.outputs * plan.columns * static_cast<Index>(sizeof(T));
  plan.parts = std::clamp<Index>(std::min(even_parts(plan.all_blocks(p) / 4), kPartialBytes / gradient), 1, 16);
  return plan;
}

template <class T>
class RawGradTask {
 public:
  RawGradTask(const Problem& p, const RawGradPlan& plan, Index group, Index first, const T* x, const T* dy,
              bool weights, bool bias)
      : p_(p),
        plan_(plan),
        kernels_(kernels().of<T>()),
        stage_(p, plan.height, plan.width, plan.joined),
        group_(group),
        first_(first),
        outputs_(std::min(plan.outputs, p.outputs - first)),
        x_(x),
        dy_(dy),
        weights_(weights),
        workspace_(bytes()) {
    sums_ = workspace_.take<T>(outputs_ * plan.columns * plan.lanes);
    gradient_ = workspace_.take<T>(outputs_ * ld());
    input_ = workspace_.take<T>(stage_.elements() + 2 * plan.lanes);
    column_offset_ = workspace_.take<Index>(plan.columns);
    gradient_offset_ = workspace_.take<Index>(plan.steps());
    input_offset_ = workspace_.take<Index>(plan.steps());
    if (bias) bias_ = workspace_.take<double>(outputs_);
    if (!p.pointwise()) stage_.tap_offsets(p, column_offset_);
  }

  void run(const Range& blocks, T* to, T* bias) {
    if (bias_ != nullptr) std::fill_n(bias_, outputs_, 0.0);
    for (Index i = blocks.first; i < blocks.last; ++i) add_block(i, std::min(i + 1, blocks.last - 1));
    if (!started_) std::fill_n(sums_, outputs_ * plan_.columns * plan_.lanes, T(0));
    for (Index o = 0; o < outputs_; ++o) {  // columns lie side by side: see takes_raw
      const T* sums = sums_ + o * plan_.columns * plan_.lanes;
      if (weights_) kernels_.sum_lanes(sums, plan_.columns, to + group_ * p_.w.group + (first_ + o) * p_.w.out);
      if (bias_ != nullptr) bias[group_ * p_.outputs + first_ + o] = static_cast<T>(bias_[o]);
    }
  }

 private:
  // A row of the copied gradient: vectors, the last of each row of pixels filled up with zeros.
  Index ld() const { return plan_.steps() * plan_.lanes; }

  // In rows, or as a single one. The last blocks may be smaller than the others. The vector with a row's tail ends with
  // it, and begins with pixels that another step has; or, in a copy of rows apart, begins with the tail.
  void set_size(Index width, Index height) {
    if (width == width_ && height == height_) return;
    width_ = width, height_ = height;
    if (p_.pointwise()) find_channels();
    const Index full = width / plan_.lanes, row = whole() ? p_.y.space[kHeight] : vectors() * plan_.lanes;
    for (Index i = 0; i < height; ++i) {
      for (Index j = 0; j < vectors(); ++j) {
        const Index step = j < full ? i * full + j : height * full + i;
        const Index at = j < full || !whole() ? j * plan_.lanes : width - plan_.lanes;
        gradient_offset_[step] = i * row + at;
        input_offset_[step] = (reads_x() ? i * p_.x.space[kHeight] : stage_.row_offset(p_, i)) + at;
      }
    }
    if (tail() > 0 && !whole()) std::fill_n(gradient_, outputs_ * ld(), T(0));
  }
  Index vectors() const { return ceil_div(width_, plan_.lanes); }
  Index tail() const { return width_ % plan_.lanes; }
  void find_channels() {
    if (!reads_x()) return stage_.tap_offsets(p_, column_offset_);
    for (Index c = 0; c < p_.channels; ++c) column_offset_[c] = c * p_.x.channel;
  }

  std::size_t bytes() const {
    return Workspace::piece_bytes<T>(outputs_ * plan_.columns * plan_.lanes) +
           Workspace::piece_bytes<T>(outputs_ * ld()) + Workspace::piece_bytes<T>(stage_.elements() + 2 * plan_.lanes) +
           Workspace::piece_bytes<Index>(plan_.columns) + 2 * Workspace::piece_bytes<Index>(plan_.steps()) +
           Workspace::piece_bytes<double>(outputs_);
  }

  RawBlock block_at(Index i) const {
    RawBlock b{};
    b.g = group_;
    b.ow = i % plan_.blocks_w * plan_.width;
    i /= plan_.blocks_w;
    b.oh = i % plan_.blocks_h * plan_.height;
    i /= plan_.blocks_h;
    b.od = i % p_.depth().out;
    b.n = i / p_.depth().out;
    return b;
  }

  void add_block(Index block, Index next) {
    const RawBlock b = block_at(block);
    const Index rows = std::min(plan_.height, p_.height().out - b.oh);
    const Index columns = std::min(plan_.width, p_.width().out - b.ow);
    if (rows <= 0) return;
    const Index height = plan_.joined ? 1 : rows;
    set_size(plan_.joined ? rows * columns : columns, height);
    if (weights_ && !reads_x()) stage_.fill(p_, x_, b, input_);
    const T* dy = gradient(b);
    if (in_place()) {
      const RawBlock then = block_at(next);
      multiply(dy, p_.y.channel, reads_x() ? pixels(b) : input_, height, {gradient(then), pixels(then)});
    } else {
      copy_gradient(dy, rows, columns);
      multiply(gradient_, ld(), input_, height, {});
    }
    if (bias_ != nullptr) add_to_bias(dy, height);
  }

  const T* gradient(const RawBlock& b) const {
    return dy_ + b.n * p_.y.batch + b.g * p_.y.group + first_ * p_.y.channel + b.od * p_.y.space[kDepth] +
           b.oh * p_.y.space[kHeight] + b.ow * p_.y.space[kWidth];
  }

  const T* pixels(const RawBlock& b) const {
    return x_ + b.n * p_.x.batch + b.g * p_.x.group + b.od * p_.x.space[kDepth] + b.oh * p_.x.space[kHeight] + b.ow;
  }

  // Whether rows of pixels hold a vector, of which the one with a row's tail then ends with it.
  bool whole() const { return width_ >= plan_.lanes && (plan_.joined || p_.y.space[kWidth] == 1); }
  // Whether a block's gradient comes in vectors as it lies, and with it the pixels of x.
  bool in_place() const {
    return whole() && p_.y.space[kWidth] == 1 && (!plan_.joined || p_.y.space[kHeight] == p_.width().out);
  }
  bool reads_x() const {
    const bool rows_join = p_.height().out == 1 || p_.x.space[kHeight] == p_.width().out;
    return in_place() && reads_in_place<T>(p_) && (!plan_.joined || rows_join);
  }
  bool dense_pixels() const { return p_.pointwise() && p_.x.space[kWidth] == 1; }

  void copy_gradient(const T* dy, Index rows, Index columns) {
    const Index step = p_.y.space[kWidth], row = plan_.joined ? columns : vectors() * plan_.lanes;
    for (Index i = 0; i < rows; ++i, dy += p_.y.space[kHeight]) {
      T* const to = gradient_ + i * row;
      if (step == 1) {
        kernels_.copy({dy, p_.y.channel, outputs_, columns, to, ld()});
        continue;
      }
      for (Index o = 0; o < outputs_; ++o) kernels_.take_every(dy + o * p_.y.channel, step, columns, to + o * ld());
    }
  }

  // The block that follows, or null: its first rows.
  struct Next {
    const T *dy = nullptr, *x = nullptr;
  };

  void multiply(const T* dy, Index ld_dy, const T* x, Index height, const Next& next) {
    if (!weights_) return;
    const Panels rows(outputs_, kernels_.dot_rows), columns(plan_.columns, kernels_.dot_columns);
    DotTile<T> tile{};
    tile.lda = ld_dy;
    tile.a_offset = gradient_offset_;
    tile.b = x;
    tile.b_offset = input_offset_;
    tile.steps = height * (width_ / plan_.lanes);
    tile.masked_steps = tail() > 0 ? height : 0;
    tile.first_lane = whole() ? plan_.lanes - tail() : 0;
    tile.last_lane = whole() ? plan_.lanes : tail();
    tile.ld = plan_.columns;
    tile.accumulate = started_;
    started_ = true;
    Index channel = dense_pixels() && next.x != nullptr ? 0 : p_.channels;  // of x that is asked for next
    for (Index i = 0; i < rows.count; ++i) {
      tile.a = dy + rows.start(i) * ld_dy;
      const T* const then = next.dy == nullptr || i + 1 == rows.count ? next.dy : dy + rows.start(i + 1) * ld_dy;
      for (Index j = 0; j < columns.count; ++j) {
        const auto row_ahead = [&](Index row) {
          if (then != nullptr && row < rows.base) return then + row * ld_dy;
          return channel < p_.channels ? next.x + channel++ * p_.x.channel : nullptr;
        };
        ask_ahead(row_ahead(j), row_ahead(j + columns.count), tile);
        tile.column_offset = column_offset_ + columns.start(j);
        tile.sums = sums_ + (rows.start(i) * plan_.columns + columns.start(j)) * plan_.lanes;
        kernels_.dot[rows.size(i) - 1][columns.size(j) - 1](tile);
      }
    }
  }

  // For one or two rows, of dY or of x.
  static void ask_ahead(const T* row, const T* other, DotTile<T>& tile) {
    const auto address = [](const T* p) { return reinterpret_cast<std::intptr_t>(p); };
    tile.ahead = row;
    tile.ahead_step = row == nullptr || other == nullptr ? 0 : address(other) - address(row);
  }

  // While the block is in the cache: rows that join, or one after the other.
  void add_to_bias(const T* dy, Index height) {
    const Index copied = whole() ? width_ : height_ * vectors() * plan_.lanes;
    if (!in_place()) return add_row_sums(gradient_, ld(), outputs_, copied, bias_);
    const Index row = p_.y.space[kHeight];
    if (row == width_) return add_row_sums(dy, p_.y.channel, outputs_, height * width_, bias_);
    for (Index i = 0; i < height; ++i) add_row_sums(dy + i * row, p_.y.channel, outputs_, width_, bias_);
  }

  const Problem& p_;
  const RawGradPlan& plan_;
  const Kernels<T>& kernels_;
  RawStage stage_;
  Index group_, first_, outputs_;
  Index width_ = 0, height_ = 0;  // of the block; joined, a single row
  bool started_ = false;          // sums_ hold products
  const T* x_;
  const T* dy_;
  bool weights_;  // or only the bias
  Workspace workspace_;
  T* sums_;
  T* gradient_;
  T* input_;
  Index* column_offset_;
  Index* gradient_offset_;  // of each step: whole vectors, then those with tails
  Index* input_offset_;
  double* bias_ = nullptr;  // sums of dY, if they are wanted
};

}  // namespace

// The two algorithms' efficiencies: lanes in use, then the arithmetic beside what is spent on copying (raw) or
// transposing (general) each element of dY, and on adding up the lanes of a finished sum (raw), in units of 2 * lanes
// products a cycle. Windows that overlap are loaded across lines, above all with a stride, whose columns lie apart.
template <class T>
bool grad_weight_raw_wins(const Problem& p) {
  const Kernels<T>& k = kernels().of<T>();
  const Index width = p.width().out;
  const double columns = static_cast<double>(p.channels * p.taps());
  if (columns * k.lanes * static_cast<double>(sizeof(T)) > static_cast<double>(kSumsBytes)) return false;
  const RawGradPlan plan = plan_raw<T>(p);
  if (RawStage(p, plan.height, plan.width, plan.joined).elements() > kStageElements) return false;
  const double rate = 2.0 * k.lanes;
  const double m = std::min<double>(k.dot_rows, static_cast<double>(p.outputs));
  const double n = std::min<double>(k.dot_columns, columns);
  const double steps = static_cast<double>(kSteps);
  const bool strided = p.height().stride * p.width().stride > 1;
  const double copies =
      static_cast<double>((plan.joined ? p.width().kernel : 1) * p.height().stride * p.width().stride);
  const double pixels = static_cast<double>(p.batch) * static_cast<double>(p.pixels());
  const double tiles = (plan.joined ? 1 : lane_use(width, k.lanes)) * std::min({1.0, m * n / (m + 2 * n), m * n / 8}) *
                       share(steps * m * n / 2, 60) *
                       share(static_cast<double>(p.outputs * p.taps()), rate * 0.25 * copies);
  if (p.taps() > 1) {
    const double general = lane_use(p.outputs, k.lanes) * std::min(1.0, columns / k.tile_rows) *
                           share(columns, rate * 0.53) * (p.outputs <= k.lanes ? 0.65 : 1.0);
    return tiles * share(columns, rate * 0.1) * (strided ? 0.71 : 0.82) > general;
  }
  const double raw = tiles * share(columns, rate * 0.25) * share(pixels / static_cast<double>(plan.parts), rate * 6);
  // Without taps either factor may be transposed. Tiles of a single vector wait for their own sums.
  const Index packed = std::min(p.channels, p.outputs), rows = std::max(p.channels, p.outputs);
  const Index together = pixels_together<T>(p.outputs == packed ? p : swapped(p));
  return raw > lane_use(together * packed, k.lanes) * share(static_cast<double>(rows), rate * 0.8) *
                   (together * packed <= k.lanes ? 0.6 : 1.15);
}

template <class T>
void conv_grad_weight_raw(const Problem& p, const T* x, const T* grad_output, T* grad_weight, T* grad_bias,
                          int threads) {
  const RawGradPlan plan = plan_raw<T>(p);
  const Index elements = p.groups * p.outputs * plan.columns;
  const RecycledBlock partial(
      plan.parts > 1 && grad_weight != nullptr ? static_cast<std::size_t>(plan.parts * elements) * sizeof(T) : 0);
  const Index channels = p.groups * p.outputs;
  const RecycledBlock biases(
      plan.parts > 1 && grad_bias != nullptr ? static_cast<std::size_t>(plan.parts * channels) * sizeof(T) : 0);
  const Index blocks = plan.all_blocks(p);
  const Index tasks = plan.parts * p.groups * plan.output_tasks;
  parallel_for(useful_threads(p.flops(), tasks, threads), tasks, [&](Index i) {
    const Index first = i % plan.output_tasks * plan.outputs, group = i / plan.output_tasks % p.groups;
    const Index part = i / plan.output_tasks / p.groups;
    T* to = plan.parts > 1 && grad_weight != nullptr ? partial.as<T>() + part * elements : grad_weight;
    T* bias = plan.parts > 1 && grad_bias != nullptr ? biases.as<T>() + part * channels : grad_bias;
    RawGradTask<T>(p, plan, group, first, x, grad_output, grad_weight != nullptr, grad_bias != nullptr)
        .run(blocks_of_part(blocks, plan.parts, part), to, bias);
  });
  if (plan.parts == 1) return;
  if (grad_weight != nullptr) add_parts(partial.as<const T>(), plan.parts, elements, grad_weight);
  if (grad_bias != nullptr) add_parts(biases.as<const T>(), plan.parts, channels, grad_bias);
}

template bool grad_weight_raw_wins<float>(const Problem&);
template bool grad_weight_raw_wins<double>(const Problem&);
template void conv_grad_weight_raw(const Problem&, const float*, const float*, float*, float*, int);
template void conv_grad_weight_raw(const Problem&, const double*, const double*, double*, double*, int);

}  // namespace fastconv
