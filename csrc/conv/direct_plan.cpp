#include "direct_plan.hpp"

#include "../cpu.hpp"
#include "../workspace.hpp"
#include "direct_cost.hpp"
#include "raw_stage.hpp"
#include "stage.hpp"
#include "weights.hpp"

namespace fastconv {
namespace {

constexpr double kFlopsPerThread = 1e6;  // about ten microseconds

// Whether the output leaves the caches before the tiles come (back) to it. Those with raw pixels walk along planes,
// which the hardware foresees while it keeps up; those with pixels in the lanes may jump from plane to plane, and
// weights that pass by push sums out.
bool far(const Problem& p, const DirectPlan& plan, std::size_t element) {
  if (!plan.in_place && plan.lanes != Orientation::kChannelLanes) return false;
  const double bytes = static_cast<double>(p.batch * p.groups * p.outputs) * static_cast<double>(p.pixels()) *
                       static_cast<double>(element);
  const double l2 = static_cast<double>(caches().l2);
  if (plan.lanes == Orientation::kRawPixels) return bytes > 8 * l2;
  if (plan.lanes == Orientation::kChannelLanes && plan.in_place) return true;
  return bytes > 2 * l2 || (plan.reduction.count() > 1 && !plan.weights_stay);
}

// Where windows of outputs are pooled in the store, none is cut.
void keep_windows_whole(const Problem& p, DirectPlan& plan) {
  if (p.pool == OutputPool::kNone) return;
  plan.block_height = round_up(plan.block_height, 2);
  plan.block_width = round_up(plan.block_width, 2);
  plan.blocks_h = ceil_div(p.height().out, plan.block_height);
  plan.blocks_w = ceil_div(p.width().out, plan.block_width);
}

// The largest rectangle of output pixels whose input, with all channels, stays in half of L2 if it is copied there.
// Whole images are put together where they are small, so that weights are fetched once for many pixels.
template <class T>
void choose_rectangle(const Problem& p, DirectPlan& plan) {
  const Index budget = caches().l2 / 2 / static_cast<Index>(sizeof(T));
  const Index most = plan.reduction_outer && p.outputs * 512 > budget ? 256 : 512;
  Index height = p.height().out, width = p.width().out;
  const auto fits = [&] {
    return height * width <= most && (!plan.staged || Stage::elements(p, height, width) <= budget);
  };
  while (!fits() && height > 1) height = ceil_div(height, 2);
  while (!fits() && width > 8) width = ceil_div(width, 2);
  while (height < p.height().out) {  // halving was coarse: grow again by rows
    ++height;
    if (fits()) continue;
    --height;
    break;
  }
  plan.blocks_h = ceil_div(p.height().out, height);
  plan.blocks_w = ceil_div(p.width().out, width);
  plan.block_height = ceil_div(p.height().out, plan.blocks_h);
  plan.block_width = ceil_div(p.width().out, plan.blocks_w);
  keep_windows_whole(p, plan);
  plan.in_place = plan.in_place && (plan.blocks_w == 1 || plan.block_height == 1);

  const Index plane = p.height().out * p.width().out;
  const bool whole = plan.blocks_h * plan.blocks_w * p.depth().out == 1;
  if (!whole || (plan.in_place && p.y.batch != plane * p.y.space[kWidth])) return;
  const Index stage = plan.staged ? Stage::elements(p, plan.block_height, plan.block_width) : 0;
  plan.block_images = std::clamp<Index>(256 / plane, 1, std::max<Index>(1, p.batch));
  while (plan.block_images > 1 && plan.block_images * stage > budget) --plan.block_images;
  plan.block_images = ceil_div(p.batch, ceil_div(p.batch, plan.block_images));
}

// What the busiest of the threads has to do, over what each would have of an even share: of `total` units in parts.
double unevenness(Index total, Index part, Index threads) {
  return static_cast<double>(ceil_div(ceil_div(total, part), threads) * threads * part) / static_cast<double>(total);
}

// Panels that give every thread as many vectors of outputs, or nearly. Each then packs weights for itself alone; of few
// pixels that is worth more than an even share, since cores may be slow to fetch from each other.
bool share_outputs(Index tasks, Index threads, DirectPlan& plan) {
  constexpr Index kFewPixels = 256;  // of a block
  constexpr double kNearly = 1.2;
  Index parts = 1;
  while (tasks * parts % threads != 0) ++parts;
  const Index vectors = plan.panels.total;
  const bool few = plan.block_images * plan.block_height * plan.block_width < kFewPixels;
  if (!few || vectors < parts || unevenness(vectors, ceil_div(vectors, parts), parts) > kNearly) return false;
  plan.panels = Panels::spread_evenly(vectors, round_up(plan.panels.count, parts));
  return true;
}

// Where the panels of a few blocks cannot be shared out evenly, smaller blocks of pixels are, if that is more even.
void even_out(const Problem& p, bool prepacked, Index threads, DirectPlan& plan) {
  // In a block, for which a panel of weights is brought from L3 and, if it is packed now, from the other threads.
  const Index fewest_pixels = prepacked ? 24 : 48;
  const Index images = ceil_div(p.batch, plan.block_images);
  const Index tasks = images * p.groups * p.depth().out * plan.blocks_h * plan.blocks_w;
  if (tasks == 0 || tasks >= 4 * threads || p.pool != OutputPool::kNone) return;
  const double now = unevenness(tasks * plan.panels.count, 1, threads);
  if (!prepacked && now > 1.05 && share_outputs(tasks, threads, plan)) return;
  // Parts of `total` instead of `blocks` of them, each unit of so many pixels; or `size` as it was.
  const auto part = [&](Index total, Index blocks, Index size, Index pixels) {
    const Index even = ceil_div(total, std::min(total, round_up(blocks, threads)));
    return even * pixels >= fewest_pixels && unevenness(total, even, threads) < now - 0.05 ? even : size;
  };
  if (plan.block_images > 1) {
    plan.block_images = part(p.batch, images, plan.block_images, p.height().out * p.width().out);
  } else if (plan.block_height > 1) {
    plan.block_height = part(p.height().out, plan.blocks_h, plan.block_height, plan.block_width);
    plan.blocks_h = ceil_div(p.height().out, plan.block_height);
  } else {
    plan.block_width = part(p.width().out, plan.blocks_w, plan.block_width, 1);
    plan.blocks_w = ceil_div(p.width().out, plan.block_width);
  }
}

// Rows of the output, few enough that their input stays near, in a tenth of L2, where it is small, in half of L2 where
// it is not. (In L1 it would be faster to read, but fewer rows share what their windows meet beyond them: 0.9 to 1.)
template <class T>
void choose_rows(const Problem& p, DirectPlan& plan) {
  const Index size = static_cast<Index>(sizeof(T));
  const Index near = std::max(caches().l1 * 3 / 4, caches().l2 / 10) / size, l2 = caches().l2 / 2 / size;
  Index height = std::min<Index>(p.height().out, 64), width = p.width().out;
  const Index sums = plan.in_place                 ? 0
                     : p.pool == OutputPool::kNone ? p.outputs
                                                   : std::min<Index>(p.outputs, plan.panels.base + 1);
  const bool dense = !plan.in_place || p.y.space[kHeight] == width;
  plan.joined = dense && worth_joining(p, kernels().of<T>().lanes);
  const auto stage = [&] { return RawStage(p, height, width, plan.joined).elements() + sums * height * width; };
  while (height > 4 && stage() > near) height = ceil_div(height, 2);
  if (stage() > near) height = std::min<Index>(p.height().out, 16);
  while (height > 1 && stage() > l2) height = ceil_div(height, 2);
  while (width > 64 && stage() > l2) width = ceil_div(width, 2);
  plan.blocks_h = ceil_div(p.height().out, height);
  plan.blocks_w = ceil_div(p.width().out, width);
  const Index others = p.batch * p.groups * p.depth().out * plan.blocks_w;
  if (others * plan.blocks_h % plan.threads != 0 && others * plan.blocks_h < 8 * plan.threads) {  // the same for each
    plan.blocks_h = std::min(p.height().out, round_up(plan.blocks_h, plan.threads));
  }
  plan.joined = plan.joined && plan.blocks_w == 1;
  plan.block_height = ceil_div(p.height().out, plan.blocks_h);
  plan.block_width = ceil_div(p.width().out, plan.blocks_w);
  keep_windows_whole(p, plan);
}

// A run of pixels of the flattened plane: whole vectors, and so many that the weights are fetched once for many of
// them, while a block of the reduction, packed, stays in half of L2; and as many runs as give every thread the same, if
// each of them fills a panel.
template <class T>
void choose_run(const Problem& p, Index lanes, Index panel, DirectPlan& plan) {
  const bool buffered = !plan.in_place;
  const Index fits = caches().l2 / 2 / (plan.reduction.depth() * static_cast<Index>(sizeof(T)));
  const Index plane = p.height().out * p.width().out, others = p.batch * p.groups * p.depth().out;
  const Index runs =
      ceil_div(plane, buffered ? 2 * panel : std::max(round_up(std::min<Index>(768, fits), panel), panel));
  Index even = runs;
  while (others * even % plan.threads != 0 && (even + 1) * panel <= plane) ++even;
  plan.block_height = 1;
  plan.blocks_h = 1;
  plan.blocks_w = others * even % plan.threads == 0 && others * runs < 32 * plan.threads ? even : runs;
  plan.block_width = std::min(plane, round_up(ceil_div(plane, plan.blocks_w), buffered ? 1 : lanes));
  plan.blocks_w = ceil_div(plane, plan.block_width);
}

// A short last run leaves a thread waiting; halves of enough outputs, for each of which the pixels are packed anew,
// fill the gap.
bool uneven_runs(const Problem& p, const DirectPlan& plan) {
  constexpr Index kFewestPanels = 40;
  const Index runs = p.batch * p.groups * p.depth().out * plan.blocks_w;
  const Index last = p.height().out * p.width().out - (plan.blocks_w - 1) * plan.block_width;
  return plan.threads > 1 && plan.blocks_w > 1 && runs < 4 * plan.threads && plan.panels.count >= kFewestPanels &&
         static_cast<double>(last) < 0.9 * static_cast<double>(plan.block_width);
}

// Output channels are split over tasks only as far as the threads need it.
void choose_output_tasks(const Problem& p, Index most_panels, int threads, DirectPlan& plan) {
  plan.output_tasks = std::max<Index>(1, ceil_div(plan.panels.count, most_panels));
  const Index pixel_tasks =
      ceil_div(p.batch, plan.block_images) * p.groups * p.depth().out * plan.blocks_h * plan.blocks_w;
  // As many as give every thread the same: each of them copies its task's pixels anew.
  Index wanted = 1;
  while (pixel_tasks > 0 && pixel_tasks * wanted % threads != 0 && pixel_tasks * wanted < 4 * threads) ++wanted;
  plan.output_tasks = std::min(plan.panels.count, std::max(plan.output_tasks, wanted));
  plan.panels_per_task = plan.output_tasks > 0 ? ceil_div(plan.panels.count, plan.output_tasks) : 0;
  plan.output_tasks = plan.panels_per_task > 0 ? ceil_div(plan.panels.count, plan.panels_per_task) : 0;
}

template <class T>
std::size_t channel_lanes_workspace(const Problem& p, const DirectPlan& plan, Index lanes, Index width) {
  const Index pixels = plan.block_images * plan.block_height * plan.block_width;
  const Index depth = plan.reduction.depth();
  std::size_t bytes = Workspace::piece_bytes<Index>(depth) + Workspace::piece_bytes<Index>(pixels);
  bytes += Workspace::piece_bytes<T>(depth * width) + Workspace::piece_bytes<T>(pixels * width);  // weights, half sums
  if (!plan.in_place) bytes += Workspace::piece_bytes<T>(pixels * plan.sums_width(lanes));
  if (plan.staged) {
    bytes += Workspace::piece_bytes<T>(plan.block_images * Stage::elements(p, plan.block_height, plan.block_width));
  }
  return bytes;
}

template <class T>
std::size_t raw_pixels_workspace(const Problem& p, const DirectPlan& plan, Index lanes, Index rows) {
  return Workspace::piece_bytes<Index>(p.channels * p.taps()) +
         Workspace::piece_bytes<Slot<T>>(ceil_div(plan.block_width, lanes) * plan.block_height) +
         Workspace::piece_bytes<T>(plan.reduction.depth() * rows) +
         Workspace::piece_bytes<T>(RawStage(p, plan.block_height, plan.block_width, plan.joined).elements() + lanes) +
         Workspace::piece_bytes<T>(
             plan.in_place ? 0 : raw_sums_panels(p, plan) * rows * plan.block_height * plan.block_width) +
         (p.pool == OutputPool::kAverage
              ? Workspace::piece_bytes<T>(plan.block_width) + Workspace::piece_bytes<const T*>(plan.block_height)
              : 0);
}

template <class T>
std::size_t pixel_lanes_workspace(const Problem& p, const DirectPlan& plan, Index width, Index rows) {
  const Index depth = plan.reduction.depth();
  const Index outputs = plan.panels_per_task * rows;
  std::size_t bytes = Workspace::piece_bytes<T>(depth * plan.packed_pixels(kernels().of<T>().lanes, width));
  bytes += Workspace::piece_bytes<T>((plan.weights_stay ? p.channels * p.taps() : depth) * outputs);
  if (!plan.in_place) bytes += Workspace::piece_bytes<T>(outputs * 2 * width);
  return bytes;
}

}  // namespace

// L1 for the panel that every tile of a sweep reads again.
Index reduction_depth(int tile_vectors, std::size_t vector_bytes) {
  const Index panel_row = static_cast<Index>(vector_bytes) * tile_vectors;
  return std::clamp<Index>(caches().l1 / panel_row, 64, 256);
}

int useful_threads(double flops, Index tasks, int available) {
  const double by_work = std::max(1.0, flops / kFlopsPerThread);
  return static_cast<int>(
      std::min({static_cast<double>(available), by_work, static_cast<double>(std::max<Index>(1, tasks))}));
}

template <class T>
DirectPlan plan_direct(const Problem& p, bool prepacked, int threads) {
  const Kernels<T>& k = kernels().of<T>();
  const Index lanes = k.lanes;
  DirectPlan plan;
  if (p.flops() == 0) return plan;
  plan.threads = useful_threads(p.flops(), threads, threads);
  plan.reduction =
      Reduction(p.channels, p.taps(), reduction_depth(k.tile_vectors, sizeof(T) * static_cast<std::size_t>(lanes)));

  plan.staged = Stage::wanted(p);
  plan.lanes = fastest_orientation(p, lanes, sizeof(T), prepacked);
  plan.in_place = p.pool == OutputPool::kNone && tiles_write_output(p, plan.lanes);

  const Index width = lanes * k.tile_vectors;
  if (plan.lanes == Orientation::kChannelLanes) {
    plan.panels = Panels(ceil_div(p.outputs, lanes), k.tile_vectors);
    plan.reduction_outer = !plan.staged && plan.reduction.count() > 1;
    choose_rectangle<T>(p, plan);
    if (plan.threads > 1) even_out(p, prepacked, plan.threads, plan);
    // Sums of all a task's panels stay in half of L2.
    const Index sums = plan.block_images * plan.block_height * plan.block_width * width * static_cast<Index>(sizeof(T));
    const Index most = plan.reduction_outer ? std::max<Index>(1, caches().l2 / 2 / sums) : plan.panels.count;
    choose_output_tasks(p, most, plan.threads, plan);
    plan.workspace = channel_lanes_workspace<T>(p, plan, lanes, width);
  } else if (plan.lanes == Orientation::kRawPixels) {
    plan.staged = true;
    plan.panels = Panels(p.outputs, k.tile_rows);
    choose_rows<T>(p, plan);
    choose_output_tasks(p, plan.panels.count, plan.threads, plan);
    plan.workspace = raw_pixels_workspace<T>(p, plan, lanes, k.tile_rows);
  } else {
    plan.staged = false;
    plan.panels = Panels(p.outputs, k.tile_rows);
    choose_run<T>(p, lanes, width, plan);
    const Index most = uneven_runs(p, plan) ? ceil_div(plan.panels.count, 2) : plan.panels.count;
    choose_output_tasks(p, std::min(most, ceil_div(512, k.tile_rows)), plan.threads, plan);
    const double weights = static_cast<double>(plan.panels_per_task * k.tile_rows * p.channels) *
                           static_cast<double>(p.taps()) * sizeof(T);
    plan.weights_stay = weights <= static_cast<double>(caches().l2) / 2;
    plan.workspace = pixel_lanes_workspace<T>(p, plan, width, k.tile_rows);
  }

  plan.far = far(p, plan, sizeof(T));
  const Index padded = plan.lanes == Orientation::kChannelLanes ? plan.panels.total * lanes : p.outputs;
  const double bytes = static_cast<double>(p.groups * padded) * static_cast<double>(p.channels * p.taps()) * sizeof(T);
  const bool reused = ceil_div(p.batch, plan.block_images) * p.depth().out * plan.blocks_h * plan.blocks_w > 1;
  // Few pixels: copying the weights would cost as much as using them.
  plan.raw_weights = !prepacked && reduction_contiguous(p) &&
                     (plan.lanes == Orientation::kRawPixels ||
                      (plan.lanes == Orientation::kPixelLanes && !reused && plan.block_width <= 2 * width));
  plan.shared_weights = !prepacked && reused && !plan.raw_weights && bytes <= static_cast<double>(kSharedWeights);
  if (plan.shared_weights) plan.shared = static_cast<std::size_t>(bytes);
  return plan;
}

template DirectPlan plan_direct<float>(const Problem&, bool, int);
template DirectPlan plan_direct<double>(const Problem&, bool, int);

}  // namespace fastconv
