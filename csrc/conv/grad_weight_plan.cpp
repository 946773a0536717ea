#include "grad_weight_plan.hpp"

#include <algorithm>

#include "../cpu.hpp"
#include "direct_plan.hpp"
#include "grad_parts.hpp"
#include "grad_weight.hpp"
#include "gradient_panel.hpp"
#include "stage.hpp"

namespace fastconv {
namespace {

constexpr Index kSumsElements = Index{128} << 10;  // of a task: half a megabyte of float32, in L2
constexpr Index kFewestPairRows = 8;               // of a task, so that tiles have four and more
constexpr Index kPiece = 128;                      // pixels, of which several pay for a part of their own
constexpr Index kFewestPixels = 64;                // of several images, that pay for the way over all sums

// A block's windows, for one channel, must fit the workspace. Enormous windows do not; then
// grad_parameters.cpp goes tap by tap, and a block of one pixel always fits.
constexpr Index kStageElements = Index{512} << 10;
constexpr Index kGrownElements = Index{16} << 10;  // of a block that has grown, with all channels

Index channel_stage(const Problem& p, Index height, Index width) {
  return Stage::elements(p, height, width) / p.channels;
}

void choose_pixel_block(const Problem& p, Index depth, GradWeightPlan& plan) {
  const Index oh = p.height().out, ow = p.width().out;
  const Index most = depth / (oh * ow), fewer = depth * 3 / 4 / (oh * ow);  // x wants some room in L1, too
  plan.images = std::clamp<Index>(fewer * oh * ow >= kFewestPixels ? fewer : most, 1, p.batch);
  plan.blocks_w = ceil_div(ow, depth);
  plan.width = ceil_div(ow, plan.blocks_w);
  if (plan.blocks_w > 1) plan.width = std::min(round_up(plan.width, plan.lanes), depth);  // transposed in whole vectors
  plan.height = std::clamp<Index>(depth / plan.width, 1, oh);
  while (channel_stage(p, plan.height, plan.width) > kStageElements && plan.height > 1) {
    plan.height = ceil_div(plan.height, 2);
  }
  while (channel_stage(p, plan.height, plan.width) > kStageElements && plan.width > 1) {
    plan.width = ceil_div(plan.width, 2);
  }
  plan.blocks_w = ceil_div(ow, plan.width);
  plan.blocks_h = ceil_div(oh, plan.height);
  plan.height = ceil_div(oh, plan.blocks_h);
  plan.blocks_n = ceil_div(p.batch, plan.images);
  plan.packed_height = plan.height;
}

// Rows of x that two blocks meet are copied for both. Of few channels a larger block fits, whose dY is packed bit by
// bit.
void grow_pixel_block(const Problem& p, GradWeightPlan& plan) {
  if (!plan.staged || plan.images > 1 || plan.packed_height == p.height().out) return;
  const Index most = kGrownElements / p.channels;
  while (plan.height < p.height().out && channel_stage(p, plan.height + plan.packed_height, plan.width) <= most) {
    plan.height += plan.packed_height;
  }
  plan.blocks_h = ceil_div(p.height().out, plan.height);
  plan.height = round_up(ceil_div(p.height().out, plan.blocks_h), plan.packed_height);
}

// dW^T of pointwise layers has no gaps either.
bool takes_parts(const Problem& p) {
  return dense_gradient(p) || (p.taps() == 1 && p.w.out == 1 && p.w.in == p.outputs);
}

// As many ranges of channels and of outputs as the threads finish soonest with. A task of many vectors of outputs reads
// x once for them all, one of many channels packs dY once for them all.
void split_among(int threads, const Problem& p, GradWeightPlan& plan) {
  constexpr double kReadX = 1.5;    // in products of a row with a vector; where x is copied first, for each channel
  constexpr double kPackDy = 20;    // in products of a vector with a row
  constexpr double kWorthIt = .97;  // of the time with fewer tasks
  const Index others = p.groups * plan.parts * plan.tap_tasks;
  const auto time = [&](Index channel_tasks, Index output_tasks) {
    const double channels = static_cast<double>(ceil_div(p.channels, channel_tasks));
    const double rows = channels * static_cast<double>(plan.taps_per_task);
    const double vectors =
        static_cast<double>(ceil_div(plan.outputs.count, output_tasks)) * static_cast<double>(plan.outputs.base);
    const double read = plan.staged ? 2 * kReadX * channels : kReadX * rows;
    const Index rounds = ceil_div(others * channel_tasks * output_tasks, threads);
    return static_cast<double>(rounds) * (rows * vectors + read + kPackDy * vectors);
  };
  const Index first_channels = plan.channel_tasks.count, first_outputs = plan.output_tasks.count;
  const Index enough = plan.together > 1 ? p.channels / kFewestPairRows : p.channels;
  const Index most_channels = std::min(enough, first_channels + 2 * threads);
  const Index most_outputs = std::min(plan.outputs.count, first_outputs + 2 * threads);
  Index best_channels = first_channels, best_outputs = first_outputs;
  double best = time(first_channels, first_outputs);
  for (Index o = first_outputs; o <= most_outputs; ++o) {
    for (Index c = first_channels; c <= most_channels; ++c) {
      const double t = time(c, o);
      if (t >= kWorthIt * best) continue;
      best = t, best_channels = c, best_outputs = o;
    }
  }
  plan.channel_tasks = Panels(p.channels, ceil_div(p.channels, best_channels));
  plan.output_tasks = Panels(plan.outputs.count, ceil_div(plan.outputs.count, best_outputs));
}

}  // namespace

template <class T>
GradWeightPlan plan_grad_weight(const Problem& p, int threads) {
  const Kernels<T>& k = kernels().of<T>();
  GradWeightPlan plan{};
  plan.lanes = k.lanes;
  // Without taps the reduction runs along the pixels of a tile's channels, as they lie.
  plan.staged = (p.taps() > 1 || p.padded()) && Stage::wanted(p);
  plan.together = pixels_together<T>(p);
  plan.outputs = Panels(ceil_div(plan.together * p.outputs, plan.lanes), k.tile_vectors);
  // A narrow panel of dY may be longer; three vectors leave x some room in L1.
  const int widest = plan.outputs.total <= 2 ? static_cast<int>(plan.outputs.total) : k.tile_vectors;
  const Index steps = reduction_depth(widest, sizeof(T) * static_cast<std::size_t>(k.lanes));
  choose_pixel_block(p, plan.together * steps, plan);
  grow_pixel_block(p, plan);

  // Where packing is dear, a task has few panels, hence many rows, so that few tasks pack the same.
  const Index panels = std::min<Index>(plan.outputs.count, strided_gradient(p) ? 2 : 4);
  const Index width = panels * k.tile_vectors * plan.lanes;
  plan.tap_tasks = ceil_div(p.taps(), std::max<Index>(1, 4 * kSumsElements / width));
  plan.taps_per_task = ceil_div(p.taps(), plan.tap_tasks);
  const Index stage = channel_stage(p, plan.height, plan.width) * plan.images;
  const Index per_channel = std::max(plan.taps_per_task * width, 2 * stage);
  const Index channels = plan.tap_tasks > 1 ? 1 : std::clamp<Index>(kSumsElements / per_channel, 1, p.channels);

  // A whole block of dY would fill L1. Where x and dY come from beyond the caches, half of it at a time is worth
  // another round over the sums.
  const double bytes =
      p.flops() * (1.0 / static_cast<double>(p.channels) + 1.0 / static_cast<double>(p.outputs)) / 2 * sizeof(T);
  const bool far =
      p.taps() == 1 && bytes > 6 * static_cast<double>(caches().l2) && channels * width <= kSumsElements / 2;
  plan.pixels_together = far ? ceil_div(plan.most_packed(), 2) : plan.most_packed();

  // Parts of the reduction by shape only; then tasks for the threads, which leave the bits alone.
  const Index pieces = std::max(plan.pixel_blocks(p), p.batch * p.pixels() / kPiece);
  plan.parts = takes_parts(p) ? std::min(parts_of_gradient<T>(p, pieces, 1), plan.pixel_blocks(p)) : 1;
  plan.output_tasks = Panels(plan.outputs.count, panels);
  plan.channel_tasks = Panels(p.channels, channels);
  if (threads > 1) split_among(threads, p, plan);
  return plan;
}

// Two, where all pixels are one axis, and one at a time would leave many lanes empty or a tile a single vector wide.
template <class T>
Index pixels_together(const Problem& p) {
  const Kernels<T>& k = kernels().of<T>();
  const Index pixels = p.width().out, lanes = k.lanes;
  if (k.channel_pairs[k.tile_rows - 1][k.tile_vectors - 1] == nullptr) return 1;
  const bool rows = p.x.space[kWidth] == 1 && p.y.space[kWidth] == 1 && p.y.channel % 2 == 0;
  if (!p.pointwise() || !rows || p.pixels() != pixels || pixels % 2 != 0 || p.channels < kFewestPairRows) return 1;
  const double use = lane_use(2 * p.outputs, lanes);  // few outputs have another way, pixels in the lanes
  const bool fill = p.outputs <= lanes ? use > 0.9 : use > 0.8 && use > lane_use(p.outputs, lanes);
  return fill && 2 * p.outputs > lanes ? 2 : 1;  // a single vector would wait for its own sums
}

bool one_stage_holds_windows(const Problem& p) {
  return p.taps() == 1 || !Stage::wanted(p) || channel_stage(p, 1, 1) <= kStageElements;
}

template GradWeightPlan plan_grad_weight<float>(const Problem&, int);
template GradWeightPlan plan_grad_weight<double>(const Problem&, int);
template Index pixels_together<float>(const Problem&);
template Index pixels_together<double>(const Problem&);

}  // namespace fastconv
