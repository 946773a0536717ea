#include "../cpu.hpp"
#include "../workspace.hpp"
#include "depthwise.hpp"
#include "depthwise_task.hpp"
#include "direct_plan.hpp"
#include "lane_stage.hpp"

namespace fastconv {
namespace {

constexpr Index kNarrow = 16;          // channels of a group, in and out
constexpr Index kMostProducts = 1024;  // of one output: a single chain of additions has to stay accurate
constexpr Index kSmallImage = 1024;    // a single plane below it is a small call: the direct road has less to set up
constexpr double kTaskFlops = 4e5;     // a few microseconds
constexpr double kSlowness = 8;        // of these products beside those of a dense layer: what limits them is memory
constexpr Index kFewOutputs = 2;       // for which a product has no rows to share what it loads
constexpr Index kManyTaps = 9;         // to which a staged element brings as many products

// Many channels to one or two outputs: above all the gradient of the input of a network's first layer.
bool gathers(const Problem& p) {
  return p.groups == 1 && p.channels > 1 && p.outputs <= kFewOutputs && p.taps() >= kManyTaps &&
         p.x.space[kWidth] == 1 && p.y.space[kWidth] == 1 && p.width().stride == 1;
}

template <class T>
bool narrow(const Problem& p) {
  if (gathers(p) || fills_vectors<T>(p, kNarrow)) return true;
  if (p.groups == 1) return p.channels == 1 && p.outputs == 1 && p.pixels() >= kSmallImage;
  if (p.channels > kNarrow || p.outputs > kNarrow) return false;
  return p.channels == 1 || p.taps() > 1;  // pointwise groups are matrix products
}

bool has_row_kernel(const Problem& p) {
  const Axis &h = p.height(), &w = p.width();
  return p.channels == 1 && p.depth().kernel == 1 && h.dilation == 1 && w.dilation == 1 && h.stride == w.stride &&
         h.stride <= kDepthwiseStrides && h.kernel == w.kernel &&
         (h.kernel == 3 || h.kernel == 5 || (h.kernel == 7 && h.stride == 1));
}

// Where registers are enough for rows that roll by, there is no other kernel for them.
template <class T>
bool reads_rows() {
  return kernels().of<T>().depthwise_rows[0][0] != nullptr;
}

bool can_fill_lanes(const Problem& p, Index lanes) {
  return p.depth().kernel == 1 && p.depth().in == 1 && p.depth().out == 1 && p.depth().pad == 0 && 2 * p.groups > lanes;
}

// The largest blocks that fit, of rows first; false where none does.
template <class Fits>
bool choose_block(const Problem& p, Index lanes, const Fits& fits, DepthwisePlan& plan) {
  Index height = p.height().out, width = std::min<Index>(p.width().out, 1024);
  while (!fits(height, width) && height > 4) height = ceil_div(height, 2);
  while (!fits(height, width) && width > 4 * lanes) width = ceil_div(width, 2);
  plan.group_blocks = p.groups;
  plan.blocks_h = ceil_div(p.height().out, height);
  plan.blocks_w = ceil_div(p.width().out, width);
  plan.block_height = ceil_div(p.height().out, plan.blocks_h);
  plan.block_width = ceil_div(p.width().out, plan.blocks_w);
  return fits(height, width);
}

// A few rows at a time pass through L1, so that blocks only have to be enough for the threads, and their copies, should
// the rows not be read in place, fit L2.
template <class T>
bool choose_row_block(const Problem& p, Index lanes, DepthwisePlan& plan) {
  const Index bytes = p.batch * p.groups > 1 ? caches().l2 / 8 : caches().l1 / 2;
  const Index most = bytes / static_cast<Index>(sizeof(T));
  const auto fits = [&](Index limit) {
    return [&p, limit](Index h, Index w) { return PlaneRows<T>::elements(p, h, w) <= limit; };
  };
  return choose_block(p, lanes, fits(most), plan) || choose_block(p, lanes, fits(16 * most), plan);
}

// Blocks whose stage leaves half of L1 to the output.
template <class T>
bool choose_run_block(const Problem& p, Index lanes, DepthwisePlan& plan) {
  const Index planes = p.channels * p.depth().kernel;
  const Index most = (gathers(p) ? caches().l2 / 4 : caches().l1 / 2) / static_cast<Index>(sizeof(T));
  const auto fits = [&](Index limit) {
    return [&, limit](Index h, Index w) { return PlaneStage(p, h, w, lanes).fits(planes, limit); };
  };
  return choose_block(p, lanes, fits(most), plan) || choose_block(p, lanes, fits(16 * most), plan);
}

// Channels-last arrays lie so. Planes are transposed there and back, at some ten cycles for each vector of outputs and
// inputs, which pays where rows would leave much of a vector empty, and where they would load their weights again and
// again. Without a kernel for rows, a stride would also take the row apart.
bool wants_lanes(const Problem& p, Index lanes, Index resident_taps, bool forward) {
  if (!can_fill_lanes(p, lanes)) return false;
  if (!columns_join(p.x)) return true;
  if (p.channels > 1) return false;
  const Index width = p.width().out, stride = p.width().stride;
  if (!has_row_kernel(p)) return stride > 1 || width <= (p.taps() < 25 ? 2 * lanes : std::max<Index>(2 * lanes, 32));
  if (p.taps() > resident_taps) return width <= std::max<Index>(2 * lanes, 32);
  if (stride == 1) return width <= lanes || (!forward && lane_use(width, lanes) < 0.7);
  return width <= std::max<Index>(lanes / 2, 8) || (width < 2 * lanes && lane_use(width, lanes) < 0.75);
}

// Groups that fill lanes as they lie are faster so.
bool rolls(const Problem& p, Index lanes) {
  return has_row_kernel(p) && (columns_join(p.x) || !can_fill_lanes(p, lanes));
}

bool choose_lane_block(const Problem& p, Index lanes, Index most, DepthwisePlan& plan) {
  constexpr Index kSide = 4096;  // beyond it no block fits, and sizes might not fit 64 bits
  if (p.width().in > kSide || p.width().span() > kSide || p.height().span() > kSide || p.height().stride > kSide)
    return false;
  const auto fits = [&](Index height) { return LaneStage(p, height, lanes).elements(p) <= most; };
  Index height = std::min(p.height().out, kSide);
  while (!fits(height) && height > 1) height = ceil_div(height, 2);
  if (!fits(height)) return false;
  plan.group_blocks = ceil_div(p.groups, lanes);
  plan.blocks_w = 1;
  plan.block_width = p.width().out;
  plan.blocks_h = ceil_div(p.height().out, height);
  plan.block_height = ceil_div(p.height().out, plan.blocks_h);
  return true;
}

template <class T>
std::size_t workspace_of(const Problem& p, const DepthwisePlan& plan) {
  switch (plan.kernel) {
    case DepthwiseKernel::kRollingRows:
      return rolling_rows_workspace<T>(p, plan);
    case DepthwiseKernel::kLanes:
      return lane_workspace<T>(p, plan);
    case DepthwiseKernel::kChannels:
      return narrow_workspace<T>(p, plan);
    case DepthwiseKernel::kRows:
    case DepthwiseKernel::kRuns:
      break;
  }
  return DepthwiseTask<T>::bytes(p, plan);
}

}  // namespace

template <class T>
bool fills_lanes(const Problem& p) {
  return narrow<T>(p) && !fills_vectors<T>(p, kNarrow) && can_fill_lanes(p, kernels().of<T>().lanes) &&
         (p.x.space[kWidth] != 1 || p.channels * p.outputs == 1);
}

template <class T>
bool plan_depthwise(const Problem& p, int threads, DepthwisePlan& plan, bool forward) {
  if (!narrow<T>(p) || p.flops() == 0 || p.channels * p.taps() > kMostProducts) return false;
  const Index lanes = kernels().of<T>().lanes, size = static_cast<Index>(sizeof(T));
  if (forward && fills_vectors<T>(p, kNarrow) && choose_narrow_block<T>(p, caches().l2 / 8 / size, plan)) {
    plan.kernel = DepthwiseKernel::kChannels;
  } else if (forward && rolls(p, lanes) && choose_rolling_block<T>(p, threads, plan)) {
    plan.kernel = DepthwiseKernel::kRollingRows;
  } else if (wants_lanes(p, lanes, kernels().of<T>().resident_taps, forward) &&
             choose_lane_block(p, lanes, caches().l2 / 8 / size, plan)) {
    plan.kernel = DepthwiseKernel::kLanes;
  } else if (has_row_kernel(p) && (!forward || reads_rows<T>()) && choose_row_block<T>(p, lanes, plan)) {
    plan.kernel = DepthwiseKernel::kRows;
  } else if (choose_run_block<T>(p, lanes, plan)) {
    plan.kernel = DepthwiseKernel::kRuns;
  } else {
    return false;
  }
  const Index blocks = plan.blocks(p);
  const double each = p.flops() / static_cast<double>(blocks);
  plan.threads = useful_threads(kSlowness * p.flops(), blocks, threads);
  const Index most = std::clamp<Index>(static_cast<Index>(kTaskFlops / each), 1, ceil_div(blocks, plan.threads));
  const bool tables = plan.kernel == DepthwiseKernel::kChannels || plan.kernel == DepthwiseKernel::kRollingRows;
  plan.tasks = tables ? thread_shares(blocks, plan.threads)  // weights serve all of a task's blocks
                      : thread_shares(blocks, plan.threads, ceil_div(ceil_div(blocks, most), plan.threads));
  plan.workspace = workspace_of<T>(p, plan);
  return true;
}

std::vector<std::pair<std::string, std::string>> explain(const Problem& p, const DepthwisePlan& plan) {
  if (plan.kernel == DepthwiseKernel::kLanes) {
    return {{"lanes", "groups"}, {"pixels of a block", std::to_string(plan.block_height * plan.block_width)}};
  }
  if (plan.kernel == DepthwiseKernel::kChannels) {
    return {{"lanes", "channels of a group"},
            {"pixels of a block", std::to_string(plan.block_height * plan.block_width)}};
  }
  if (plan.kernel == DepthwiseKernel::kRollingRows) {
    return {{"lanes", "output pixels"},
            {"kernel", "rows of taps, moved between lanes in registers"},
            {"pixels of a block", std::to_string(plan.block_height * plan.block_width) + ", of " +
                                      std::to_string(plan.block_groups) + " groups, " +
                                      (columns_join(p.x) ? "read in place" : "read from a copy")}};
  }
  return {{"lanes", "output pixels"},
          {"kernel", plan.kernel == DepthwiseKernel::kRows
                         ? std::to_string(p.height().kernel) + " rows of taps, 4 rows of outputs at a time"
                         : "shifted loads, up to " + std::to_string(kMaxRunOutputs) + " outputs each"},
          {"pixels of a block", std::to_string(plan.block_height * plan.block_width) + ", read from a padded copy"}};
}

template bool fills_lanes<float>(const Problem&);
template bool fills_lanes<double>(const Problem&);
template bool plan_depthwise<float>(const Problem&, int, DepthwisePlan&, bool);
template bool plan_depthwise<double>(const Problem&, int, DepthwisePlan&, bool);

}  // namespace fastconv
