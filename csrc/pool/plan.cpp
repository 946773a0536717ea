#include <cmath>
#include <limits>

#include "../conv/plan.hpp"
#include "forward.hpp"

namespace fastconv {
namespace {

constexpr double kComfortable = 96e3;  // bytes of workspace that stay close to the core
constexpr Index kTaskElements = 1 << 14;
constexpr Index kPlaneElements = 1 << 12;  // of the planes of a block, with the width in the lanes
constexpr Index kLaneBlock = 64;           // channels of a block that keeps folded rows

double reach(const Axis& a, Index outputs) {
  const double span = static_cast<double>(outputs - 1) * static_cast<double>(a.stride) + static_cast<double>(a.span());
  return std::min(span, static_cast<double>(a.in));
}

bool unit(Index extent, Index stride) { return extent == 1 || stride == 1; }

// Windows overlap so much that folding every row once along the width saves more than it costs.
bool worth_separating(const PoolProblem& p) {
  const auto kernel = [&](std::size_t s) { return static_cast<double>(std::min(p.axis[s].kernel, p.axis[s].in)); };
  const Axis& h = p.height();
  const double rows = kernel(kDepth) * std::min(kernel(kHeight), reach(h, h.out) / static_cast<double>(h.out));
  return rows * kernel(kWidth) + kernel(kDepth) * kernel(kHeight) + 2 <
         kernel(kDepth) * kernel(kHeight) * kernel(kWidth);
}

// A single window with many channels: its taps of one vector of them would be lines far apart, but rows of pixels are
// met as they lie, if they are folded one after the other. The folded rows stay in L2.
bool lone_window(const PoolProblem& p, const PoolPlan& plan) {
  constexpr Index kMostRows = 1024;
  const Index height = p.height().kernel, depth = p.depth().kernel;
  return plan.road == Road::kChannelLanes && p.pixels() == 1 && height > 1 && height <= kMostRows &&
         depth <= kMostRows / height && p.width().dilation == 1;
}

// Vectors along a row: neighbours must be neighbours, or every second element.
bool width_lanes_apply(const PoolProblem& p) {
  const Axis& w = p.width();
  return w.stride == 1 || (w.stride == 2 && w.dilation == 1 && w.kernel > 1);
}

Road road_of(const PoolProblem& p, FoldKind kind, Index lanes, std::size_t element) {
  if (kind == kFoldMaxPlaces && element < sizeof(Index) && p.plane_size() > std::numeric_limits<std::int32_t>::max()) {
    return Road::kElements;
  }
  const bool rows = unit(p.width().in, p.x.space[kWidth]) && unit(p.width().out, p.y.space[kWidth]);
  const bool channels = unit(p.channels, p.x.channel) && unit(p.channels, p.y.channel);
  if (channels && !(rows && p.channels < lanes)) return Road::kChannelLanes;
  if (!rows) return Road::kElements;
  // Windows that share nothing are folded row by row, where rows are long.
  const bool apart = p.width().kernel == p.width().stride && !p.width().padded() && p.width().out > 4 * lanes;
  if (roll_window(p) && !apart) return Road::kRolling;
  return width_lanes_apply(p) && (2 * p.width().out > lanes || p.planes() == 1) ? Road::kWidthLanes : Road::kPlaneLanes;
}

// The bytes that a block needs, of so many lanes, output rows and output columns.
double workspace_of(const PoolProblem& p, const PoolPlan& plan, FoldKind kind, std::size_t element, Index lanes,
                    Index rows, Index columns) {
  const Axis& h = p.height();
  const double with_margins =
      static_cast<double>(rows - 1) * static_cast<double>(h.stride) + static_cast<double>(h.span());
  const double in_rows = reach(p.depth(), 1) * (plan.road == Road::kWidthLanes ? with_margins : reach(h, rows));
  const double place = kind == kFoldMaxPlaces ? static_cast<double>(element) : 0;
  if (plan.road == Road::kRolling) {  // nothing, but rows of x and y should fit the first cache
    return 4 * static_cast<double>(element) * static_cast<double>(lanes) * with_margins *
           static_cast<double>(p.width().in);
  }
  const double item = static_cast<double>(element), width = static_cast<double>(columns);
  const Axis& w = p.width();
  double bytes = 8 * 2 * static_cast<double>(kCacheLine) + item * width;
  if (plan.staged) {  // folded in place
    const double pitch = width * static_cast<double>(w.stride) + static_cast<double>(w.span());
    const double most = static_cast<double>(lanes) * in_rows + static_cast<double>(h.span());
    bytes += (most * pitch + static_cast<double>(w.span())) * (item + place) + 8 * static_cast<double>(kCacheLine);
  } else if (plan.separable) {
    bytes += in_rows * width * static_cast<double>(lanes) * (item + place);
  }
  if (plan.road == Road::kPlaneLanes) {
    bytes += (in_rows * reach(w, columns) + static_cast<double>(lanes)) * static_cast<double>(lanes) * item;
    bytes += static_cast<double>(rows) * width * static_cast<double>(lanes) * (item + (place > 0 ? 8 : 0));
  }
  return bytes;
}

// The largest block that is comfortable; but one that overlaps its neighbours much may grow beyond.
bool choose_block(const PoolProblem& p, PoolPlan& plan, FoldKind kind, std::size_t element, Index vector) {
  const Index lanes = plan.road == Road::kPlaneLanes ? vector : plan.lanes.base + (plan.lanes.extra > 0 ? 1 : 0);
  Index rows = p.height().out, columns = p.width().out;
  const auto bytes = [&] { return workspace_of(p, plan, kind, element, lanes, rows, columns); };
  const Index overlap = std::min(p.height().span(), p.height().in) / p.height().stride;
  while (rows > 1 && bytes() > (rows > 2 * overlap ? kComfortable : 10 * kComfortable)) rows = (rows + 1) / 2;
  while (columns > 1 && plan.road != Road::kRolling && bytes() > 10 * kComfortable) columns = (columns + 1) / 2;
  if (bytes() > static_cast<double>(kMaxWorkspace) && plan.road != Road::kRolling) return false;
  plan.rows = Panels(p.height().out, rows);
  plan.columns = Panels(p.width().out, columns);
  plan.workspace = plan.road == Road::kRolling ? 0 : static_cast<std::size_t>(bytes());
  return true;
}

bool by_planes(const PoolPlan& plan) { return plan.road == Road::kWidthLanes || plan.road == Road::kRolling; }

// Planes of a block with the width in the lanes: several, if none is so large that its rows have to be cut.
Index planes_of_block(const PoolProblem& p, const PoolPlan& plan, FoldKind kind, std::size_t element) {
  if (p.depth().out > 1) return 1;
  Index planes = std::clamp<Index>(p.planes() / (4 * plan.threads), 1, kPlaneElements / p.plane_size() + 1);
  const auto bytes = [&] { return workspace_of(p, plan, kind, element, planes, p.height().out, p.width().out); };
  while (planes > 1 && bytes() > kComfortable) planes /= 2;
  return planes;
}

// Channels of a block that keeps the folded rows of a single window.
Index lone_lanes(const PoolProblem& p, const PoolPlan& plan, FoldKind kind, std::size_t element) {
  const double pixel = workspace_of(p, plan, kind, element, kLaneBlock, 1, 1);
  const Index fit = std::max<Index>(1, static_cast<Index>(kComfortable / pixel));
  return kLaneBlock * std::min(fit, ceil_div(p.batch * p.channels, plan.threads * kLaneBlock));
}

void choose_lanes(const PoolProblem& p, PoolPlan& plan, FoldKind kind, std::size_t element, Index lanes) {
  const Index most = by_planes(plan)                  ? planes_of_block(p, plan, kind, element)
                     : plan.road == Road::kPlaneLanes ? lanes
                     : lone_window(p, plan)           ? lone_lanes(p, plan, kind, element)
                     : plan.separable                 ? std::max(kLaneBlock, 2 * lanes)
                                                      : p.channels;
  plan.lanes = Panels(ceil_div(p.channels, most) == 1 ? p.channels : ceil_div(p.channels, most) * most, most);
  plan.lanes.total = p.channels;
}

// Rows are copied between margins where windows reach beyond them, and folded along the width in the copy.
bool staged(const PoolProblem& p, const PoolPlan& plan) {
  return plan.road == Road::kWidthLanes && (p.width().padded() || plan.separable);
}

// Enough blocks for the threads: rows first, then channels.
void spread(const PoolProblem& p, PoolPlan& plan) {
  const Index wanted = 4 * plan.threads;
  if (plan.threads == 1 || (by_planes(plan) && plan.lanes.base > 1)) return;
  const Index others = plan.blocks(p) / plan.rows.count;
  if (plan.blocks(p) < wanted) plan.rows = Panels(p.height().out, std::max<Index>(1, p.height().out * others / wanted));
}

}  // namespace

template <class T>
PoolPlan plan_pool(const PoolProblem& p, FoldKind kind, int threads) {
  const Index lanes = kernels().of<T>().lanes;
  PoolPlan plan;
  const double moved = static_cast<double>(p.planes()) * static_cast<double>(p.plane_size() + p.pixels());
  plan.threads = useful_threads(24 * moved, threads, threads);
  plan.road = road_of(p, kind, lanes, sizeof(T));
  plan.separable =
      (lone_window(p, plan) && kind != kFoldMaxPlaces) || (plan.road != Road::kRolling && worth_separating(p) &&
                                                           (plan.road == Road::kWidthLanes || p.width().dilation == 1));
  plan.staged = staged(p, plan);
  choose_lanes(p, plan, kind, sizeof(T), lanes);
  if (plan.road != Road::kElements && !choose_block(p, plan, kind, sizeof(T), lanes)) {
    if (plan.road == Road::kWidthLanes) {
      plan.road = Road::kPlaneLanes;
      plan.staged = false;
      choose_lanes(p, plan, kind, sizeof(T), lanes);
    }
    if (!choose_block(p, plan, kind, sizeof(T), lanes)) plan.road = Road::kElements;
  }
  if (plan.road == Road::kElements) {
    plan.workspace = 0;
    return plan;
  }
  spread(p, plan);
  const Index block = std::max<Index>(1, static_cast<Index>(moved / static_cast<double>(plan.blocks(p))));
  plan.group = std::clamp<Index>(kTaskElements / block, 1, std::max<Index>(1, plan.blocks(p) / (4 * plan.threads)));
  return plan;
}

template PoolPlan plan_pool<float>(const PoolProblem&, FoldKind, int);
template PoolPlan plan_pool<double>(const PoolProblem&, FoldKind, int);

}  // namespace fastconv
