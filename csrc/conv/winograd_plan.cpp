#include "winograd_plan.hpp"

#include <algorithm>
#include <cmath>

#include "../cpu.hpp"
#include "../workspace.hpp"
#include "direct_cost.hpp"
#include "winograd.hpp"

namespace fastconv {
namespace {

constexpr Index kFewestChannels = 8;
constexpr Index kBlockChannels = 512;          // bounds V where there are thousands of channels
constexpr Index kPassBytes = Index{10} << 20;  // of weights that are transformed at a time
constexpr Index kFleetingTiles = 160;
constexpr Index kRowTiles = 64;               // of all grids that are copied together
constexpr Index kFewestTiles = 24;            // in a block; fewer would wait for the weights' way from L3
constexpr Index kWorkspace = Index{4} << 20;  // bytes
// Those of a line have few points, hence little V and M.
Index most_tiles_of_block(const WinogradForm& f) { return f.line() ? 120 : 60; }

// For which V is read once. With a stride M has few points; of many channels V comes from L3, unless passes over the
// weights divide the outputs anyway.
Index outputs_of_block(const Problem& p, const WinogradForm& f, bool prepacked) {
  if (f.strided()) return 256;
  return prepacked && winograd_channels(p) >= kBlockChannels ? 128 : 64;
}

Index tiles_of(const Problem& p, const WinogradForm& f) {
  WinogradPlan plan;
  plan.form = f;
  lay_tiles(p, plan);
  return plan.tiles;
}

// Weights that are not packed beforehand and serve few tiles, or of which not even one panel fits a pass.
template <class T>
bool fleeting_weights(const Problem& p, const WinogradForm& f, bool prepacked) {
  const Kernels<T>& k = kernels().of<T>();
  const double panel =
      static_cast<double>(f.weights() * k.tile_vectors * k.lanes) * static_cast<double>(winograd_channels(p));
  return !prepacked && (tiles_of(p, f) <= kFleetingTiles || panel * sizeof(T) > static_cast<double>(kPassBytes));
}

// ---- cost ---------------------------------------------------------------------------------------
//
// Cycles on one core, in vectors of output channels (`out`) and input channels (`in`): an FMA pair does two products of
// a vector in a cycle. The other constants were measured on Zen 5.

constexpr double kTileStart = 10;      // for each 6 tiles at each point: registers filled, stored,
constexpr double kVectorStart = 8;     // for each vector of outputs
constexpr double kInputTransform = 8;  // for each point of a tile and vector of channels, staging included
constexpr double kOutputTransform = 8;
constexpr double kSmallTransforms = 0.65;  // of those for tiles of 2 x 2 outputs
constexpr double kWeightTransform = 2.5;   // for each point, channel and vector of outputs
constexpr double kGatherWeight = 6;        // for each tap, channel and vector of outputs,
constexpr double kGatherTap = 40;          // or, where taps lie apart, as those of a stride's phase do
constexpr double kPackWeight = 8;          // for each weight vector of the direct convolution
constexpr double kL3Bytes = 10;            // that a cycle brings, or takes back
constexpr double kMemoryBytes = 4;         // the same of more than L3 keeps,
constexpr double kKept = 24 << 20;         // bytes
constexpr double kDoubt = 1.02;            // a stride saves little where 7x7 outputs leave tiles half empty

struct Vectors {
  double in, out, bytes;
};

template <class T>
Vectors vectors_of(const Problem& p) {
  const Index lanes = kernels().of<T>().lanes;
  return {static_cast<double>(ceil_div(winograd_channels(p), lanes)), static_cast<double>(ceil_div(p.outputs, lanes)),
          static_cast<double>(lanes) * sizeof(T)};
}

// The part of the FMA peak that tiles reach: fewer vectors of outputs leave units waiting.
double fma_use(double out) { return out <= 1 ? 0.5 : out <= 2 ? 0.7 : 0.9; }
double product_use(double out) { return out <= 1 ? 0.75 : out <= 2 ? 0.8 : 0.9; }

// Transforms move vectors more than they compute, so that narrow ones take less: the part that those of `bytes` take.
double narrow(double bytes) { return 0.35 + 0.65 * bytes / 64; }

// To move bytes between a core and where so many lie.
double move_cycles(double bytes) { return bytes / (bytes > kKept ? kMemoryBytes : kL3Bytes); }

// To read vectors `times`, from L3 where all of them exceed L2. Half of that hides behind the products.
double read_cycles(double vectors, double bytes, double times) {
  return vectors * bytes > 0.6 * static_cast<double>(caches().l2) ? move_cycles(vectors * bytes) * times / 2 : 0;
}

template <class T>
double winograd_cycles(const Problem& p, const WinogradForm& f, bool prepacked) {
  const Vectors v = vectors_of<T>(p);
  const double points = static_cast<double>(f.points()), tiles = static_cast<double>(tiles_of(p, f));
  const double each = static_cast<double>(winograd_channels(p)) * v.out;
  const double weights = static_cast<double>(f.weights()) * each;
  const double blocks = std::ceil(tiles / static_cast<double>(most_tiles_of_block(f)));
  const bool fleeting = fleeting_weights<T>(p, f, prepacked);
  const double starts = std::ceil(tiles / 6) * points * (kTileStart + kVectorStart * v.out);
  const double products = tiles * points * each / 2 / product_use(v.out) + starts;
  // V of a block is read again for each further block of outputs, where it exceeds L2.
  const double block = points * std::min(tiles, static_cast<double>(most_tiles_of_block(f))) * v.in;
  const double passes = static_cast<double>(ceil_div(p.outputs, outputs_of_block(p, f, prepacked))) - 1;
  const double read =
      (fleeting ? 0 : read_cycles(weights, v.bytes, blocks)) + read_cycles(block, v.bytes, blocks * passes);
  const double transforms =
      tiles * columns_apart(p) *
      (points * kInputTransform * v.in + static_cast<double>(f.sums()) * kOutputTransform * v.out) *
      (f.height.tile == 2 && f.width.tile == 2 ? kSmallTransforms : 1) * narrow(v.bytes);
  double packing = 0;
  if (!prepacked) {
    const double taps = static_cast<double>(p.channels * p.taps()) * v.out;
    packing = taps * (p.w.out == 1 ? kGatherTap : kGatherWeight) + weights * kWeightTransform * narrow(v.bytes) +
              read_cycles(taps, v.bytes, 1);
    if (!fleeting) packing += move_cycles(weights * v.bytes);
    if (fleeting) packing *= blocks;
  }
  return static_cast<double>(p.groups) * (products + read + transforms + packing);
}

// Weights of the direct convolution that are too large to be packed for all blocks at once are for each.
template <class T>
double times_packed(const Problem& p) {
  if (weight_bytes(p, sizeof(T)) <= static_cast<double>(kSharedWeights)) return 1;
  const double plane = static_cast<double>(p.height().out * p.width().out);
  const bool channels = fastest_orientation(p, kernels().of<T>().lanes, sizeof(T), false) == Orientation::kChannelLanes;
  const double block = channels ? pixels_of_block(p, sizeof(T)) : std::min(plane, 512.0);
  return std::ceil(static_cast<double>(p.batch) * static_cast<double>(p.pixels()) / block);
}

template <class T>
double direct_cycles(const Problem& p, bool prepacked) {
  const Vectors v = vectors_of<T>(p);
  const double pixels = static_cast<double>(p.batch) * static_cast<double>(p.pixels());
  const double taps = static_cast<double>(p.channels * p.taps()), weights = taps * v.out;
  const auto lanes = static_cast<double>(kernels().of<T>().lanes);
  // Where a vector holds all channels, pixels are in the lanes.
  const bool few = static_cast<double>(std::max(p.channels, p.outputs)) <= lanes;
  const double out = few ? static_cast<double>(p.outputs) / lanes : v.out;
  const double products = pixels * taps * out / 2 / fma_use(v.out);
  const double times = prepacked ? 1 : times_packed<T>(p);
  const double read = read_cycles(weights, v.bytes, std::max(times, std::ceil(pixels / 512)));
  return static_cast<double>(p.groups) * (products + read + (prepacked ? 0 : weights * kPackWeight * times));
}

template <class T>
WinogradForm cheapest(const Problem& p, bool prepacked) {
  const WinogradForm large = winograd_form(p), small = winograd_form(p, true);
  if (large.kernels == small.kernels) return large;
  return winograd_cycles<T>(p, large, prepacked) <= winograd_cycles<T>(p, small, prepacked) ? large : small;
}

// ---- blocks -------------------------------------------------------------------------------------

// Channels whose products are summed at once, in units of kWinogradUnit, and how many of them a task keeps. Follows
// from the problem alone: the bits depend on it.
template <class T>
void choose_depth(const Problem& p, Index width, WinogradPlan& plan) {
  const Kernels<T>& k = kernels().of<T>();
  Index most = reduction_depth(k.tile_vectors, sizeof(T) * static_cast<std::size_t>(k.lanes));
  if (plan.fleeting_weights) {  // in half of L2
    most = std::min(most, caches().l2 / 2 / (plan.form.weights() * width * static_cast<Index>(sizeof(T))));
  }
  most = std::max(kWinogradUnit, most / kWinogradUnit * kWinogradUnit);
  const Index channels = winograd_channels(p);
  plan.depth = std::min(channels, round_up(ceil_div(channels, ceil_div(channels, most)), kWinogradUnit));
  plan.depths = ceil_div(channels, plan.depth);
  plan.depths_per_block = std::clamp<Index>(kBlockChannels / plan.depth, 1, plan.depths);
}

// How many tiles a task takes at once. Where all weights fit L2 beside V and M, all three stay there; larger weights
// come from L3 for each block, so that blocks are as large as the workspace allows.
template <class T>
Index most_tiles(const Problem& p, const WinogradPlan& plan, Index width) {
  const Index lanes = kernels().of<T>().lanes, l2 = caches().l2;
  const Index item = static_cast<Index>(sizeof(T));
  const Index tile = item * (plan.points * round_up(plan.block_channels(), lanes) / plan.images +
                             plan.form.sums() * plan.panels_per_block * width);
  const double weights = static_cast<double>(plan.form.weights() * item * width) *
                         static_cast<double>(winograd_channels(p) * plan.panels.count);
  const bool small = weights < static_cast<double>(l2) * 0.6;
  return std::clamp((small ? l2 / 2 : kWorkspace) / tile, kFewestTiles, most_tiles_of_block(plan.form)) / plan.images;
}

// Whole rows of tiles where there are many blocks, for the sake of long runs. Where there are few, as even as possible
// for the threads; or parts of the outputs where tiles are few. Blocks read all weights, parts transform all inputs.
void choose_tasks(WinogradPlan& plan, Index most, Index groups, Index threads) {
  Index blocks = ceil_div(plan.tiles, most);
  if (plan.fleeting_weights) {
    if (blocks * groups % threads != 0) plan.output_tasks = std::min(plan.panels.count, threads);
    if (blocks * groups * plan.output_tasks % threads != 0) blocks = round_up(blocks, threads);
  } else if (blocks * groups >= 8 * threads || threads == 1) {
    const Index row = plan.tile_columns * plan.grids_across;
    plan.tiles_per_unit = most >= row ? row : most >= plan.tile_columns ? plan.tile_columns : 1;
  } else if (blocks * groups % threads != 0) {
    const Index even = round_up(blocks, threads);
    if (plan.tiles / even >= kFewestTiles || plan.panels.count < 2) {
      blocks = even;
    } else {
      plan.output_tasks = std::min(plan.panels.count, threads);
    }
  }
  const Index units = plan.tiles / plan.tiles_per_unit;
  plan.tile_blocks = Panels(units, std::max<Index>(1, std::min(most / plan.tiles_per_unit, ceil_div(units, blocks))));
}

// As many vectors of outputs in each part, in panels that may be narrower for it. (Weights that are packed already
// serve inputs of every size, on any number of threads.)
void even_parts(WinogradPlan& plan) {
  const Index count = round_up(plan.panels.count, plan.output_tasks);
  if (count == plan.panels.count || count > plan.panels.total) return;
  plan.panels = Panels::spread_evenly(plan.panels.total, count);
}

// Whether the channels of two images are a vector of neighbouring planes.
bool pairs_images(const Problem& p, Index lanes) {
  return 2 * p.channels == lanes && p.groups == 1 && p.depth().kernel == 1 && p.batch % 2 == 0 &&
         p.x.batch == p.channels * p.x.channel;
}

template <class T>
void choose_passes(const Problem& p, bool prepacked, Index width, WinogradPlan& plan) {
  plan.groups_per_pass = p.groups;
  plan.panels_per_pass = plan.panels.count;
  if (prepacked || plan.fleeting_weights) return;
  const double panel =
      static_cast<double>(plan.form.weights()) * sizeof(T) *
      (static_cast<double>(width) * static_cast<double>(winograd_channels(p)) + WinogradWeightLayout<T>::kGap);
  const double fit = std::max(1.0, static_cast<double>(kPassBytes) / panel);  // panels
  const double groups = fit / static_cast<double>(plan.panels.count);
  if (groups >= 1) {
    plan.groups_per_pass = static_cast<Index>(std::min(groups, static_cast<double>(p.groups)));
  } else {
    plan.groups_per_pass = 1;
    plan.panels_per_pass = static_cast<Index>(fit);
  }
  plan.shared = static_cast<std::size_t>(panel) * static_cast<std::size_t>(plan.groups_per_pass * plan.panels_per_pass);
}

}  // namespace

bool winograd_applies(const std::array<Axis, kSpatial>& axes) {
  const Axis &h = axes[kHeight], &w = axes[kWidth];
  const Index taps = std::max(h.kernel, w.kernel);
  const bool square = h.kernel == w.kernel, line = std::min(h.kernel, w.kernel) == 1;
  return (taps == 2 || taps == 3 || taps == 5 || (line && taps == 7)) && (square || line) && h.stride == 1 &&
         w.stride == 1;
}

bool strided_winograd_applies(const std::array<Axis, kSpatial>& axes) {
  const auto fits = [](const Axis& a) { return a.kernel == 3 && a.stride == 2 && a.dilation == 1; };
  return fits(axes[kHeight]) && fits(axes[kWidth]);
}

WinogradForm winograd_form(const Problem& p, bool small) {
  const Axis &h = p.height(), &w = p.width();
  const Index taps = std::max(h.kernel, w.kernel);
  if (h.kernel == w.kernel) {
    if (h.stride == 2) return {kF2x3s2, {2, 3, 2}, {2, 3, 2}};
    if (taps == 3 && small) return {kF2x3, {2, 3}, {2, 3}};
    const WinogradAxis axis{taps == 5 ? 2 : 4, taps};
    return {taps == 2 ? kF4x2 : taps == 3 ? kF4x3 : kF2x5, axis, axis};
  }
  const WinogradTile kernels = taps == 2 ? kLine4x2 : taps == 3 ? kLine4x3 : taps == 5 ? kLine4x5 : kLine2x7;
  const WinogradAxis line{taps == 7 ? 2 : 4, taps};
  return h.kernel > 1 ? WinogradForm{kernels, line, {}} : WinogradForm{kernels, {}, line};
}

void lay_tiles(const Problem& p, WinogradPlan& plan) {
  const Axis &h = p.height(), &w = p.width();
  plan.tile_rows = ceil_div(grid_size(h), plan.form.height.tile);
  plan.tile_columns = ceil_div(grid_size(w), plan.form.width.tile);
  plan.tiles = p.batch * p.depth().out * winograd_grids(h) * winograd_grids(w) * plan.tile_rows * plan.tile_columns;
  const bool together = w.dilation <= w.out && w.dilation * plan.tile_columns <= kRowTiles;
  plan.grids_across = together ? w.dilation : 1;
}

bool winograd_applies(Index channels, Index outputs, Index depth_taps) {
  return std::min(channels, outputs) >= kFewestChannels && (depth_taps == 1 || channels % kWinogradUnit == 0);
}

template <class T>
bool winograd_wins(const Problem& p, bool prepacked) {
  if (!winograd_applies(p.axis) && !strided_winograd_applies(p.axis)) return false;
  if (!winograd_applies(p.channels, p.outputs, p.depth().kernel)) return false;
  const WinogradForm form = cheapest<T>(p, prepacked);
  const double weights = static_cast<double>(form.weights() * p.outputs) * static_cast<double>(winograd_channels(p));
  // Those of 2x2 kernels grow to six times their size: too much to bring from L3 and back (512 channels 0.87 to 0.94).
  if (form.kernels == kF4x2 && !prepacked && weights * sizeof(T) > static_cast<double>(kPassBytes)) return false;
  if (form.strided() && p.channels <= kWinogradUnit) return false;  // sums too short for so many products
  return winograd_cycles<T>(p, form, prepacked) * (form.strided() ? kDoubt : 1) < direct_cycles<T>(p, prepacked);
}

template <class T>
WinogradPlan plan_winograd(const Problem& p, bool prepacked, int threads) {
  return plan_winograd<T>(p, cheapest<T>(p, prepacked), prepacked, threads);
}

template <class T>
WinogradPlan plan_winograd(const Problem& p, const WinogradForm& form, bool prepacked, int threads) {
  const Kernels<T>& k = kernels().of<T>();
  WinogradPlan plan;
  plan.form = form;
  plan.points = form.points();
  if (p.flops() == 0) return plan;
  lay_tiles(p, plan);
  if (pairs_images(p, k.lanes)) plan.images = 2, plan.tiles /= 2;
  plan.panels = Panels(ceil_div(p.outputs, k.lanes), k.tile_vectors);
  const Index width = WinogradPlan::most(plan.panels) * k.lanes;
  plan.fleeting_weights = fleeting_weights<T>(p, form, prepacked);
  choose_depth<T>(p, width, plan);
  plan.panels_per_block = std::clamp<Index>(outputs_of_block(p, form, prepacked) / width, 1, plan.panels.count);
  choose_passes<T>(p, prepacked, width, plan);

  plan.threads = useful_threads(p.flops() / 3, plan.tiles * p.groups * plan.panels.count, threads);
  choose_tasks(plan, most_tiles<T>(p, plan, width), plan.groups_per_pass, plan.threads);
  if (!prepacked) {
    even_parts(plan);
    choose_passes<T>(p, prepacked, width, plan);
  }
  plan.workspace = WinogradRooms<T>(plan).bytes();
  return plan;
}

template bool winograd_wins<float>(const Problem&, bool);
template bool winograd_wins<double>(const Problem&, bool);
template WinogradPlan plan_winograd<float>(const Problem&, bool, int);
template WinogradPlan plan_winograd<double>(const Problem&, bool, int);
template WinogradPlan plan_winograd<float>(const Problem&, const WinogradForm&, bool, int);
template WinogradPlan plan_winograd<double>(const Problem&, const WinogradForm&, bool, int);

}  // namespace fastconv
