#include "forward.hpp"

#include <optional>
#include <type_traits>

#include "../memory.hpp"
#include "../parallel.hpp"
#include "sliding.hpp"

namespace fastconv {

// Where several images lie as evenly as the channels of one, they are channels too: planes are planes.
PoolProblem simplified(PoolProblem p) {
  const auto even = [&](const ImageStrides& s) { return s.batch == p.channels * s.channel; };
  if (p.batch > 1 && p.channels > 1 && even(p.x) && even(p.y) && even(p.indices) && even(p.gradient)) {
    p.channels *= p.batch;
    p.batch = 1;
  } else if (p.channels == 1) {
    for (ImageStrides* s : {&p.x, &p.y, &p.indices, &p.gradient}) s->channel = s->batch;
    p.channels = p.batch;
    p.batch = 1;
  }
  return p;
}

namespace {

// Walks through blocks without a division for each.
class Blocks {
 public:
  Blocks(const PoolProblem& p, const PoolPlan& plan, Index i) : p_(p), plan_(plan) {
    column_ = take(i, plan.columns.count);
    row_ = take(i, plan.rows.count);
    depth_ = take(i, p.depth().out);
    lane_ = take(i, plan.lanes.count);
    batch_ = i;
  }

  PoolBlock block() const {
    PoolBlock b{batch_, range(plan_.lanes, lane_), depth_, range(plan_.rows, row_), range(plan_.columns, column_)};
    b.lanes.last = std::min(b.lanes.last, p_.channels);
    return b;
  }

  void next() {
    if (++column_ < plan_.columns.count) return;
    column_ = 0;
    if (++row_ < plan_.rows.count) return;
    row_ = 0;
    if (++depth_ < p_.depth().out) return;
    depth_ = 0;
    if (++lane_ < plan_.lanes.count) return;
    lane_ = 0;
    ++batch_;
  }

 private:
  static Index take(Index& i, Index count) {
    if (count == 1) return 0;
    const Index digit = i % count;
    i /= count;
    return digit;
  }
  static Range range(const Panels& panels, Index i) { return {panels.start(i), panels.start(i) + panels.size(i)}; }

  const PoolProblem& p_;
  const PoolPlan& plan_;
  Index column_, row_, depth_, lane_, batch_;
};

// The end of x in memory, unless some step leads backwards.
template <class T>
const T* end_of(const PoolProblem& p, const T* x) {
  Index last = (p.batch - 1) * p.x.batch + (p.channels - 1) * p.x.channel;
  bool upwards = (p.batch == 1 || p.x.batch >= 0) && (p.channels == 1 || p.x.channel >= 0);
  for (std::size_t s = 0; s < kSpatial; ++s) {
    last += p.axis[s].in > 1 ? (p.axis[s].in - 1) * p.x.space[s] : 0;
    upwards = upwards && (p.axis[s].in == 1 || p.x.space[s] >= 0);
  }
  return upwards ? x + last + 1 : nullptr;
}

template <class T>
void pool(const PoolProblem& given, PoolArrays<T> a, int threads) {
  if (given.planes() == 0) return;
  a.x_end = end_of(given, a.x);
  const PoolProblem p = simplified(given);
  const PoolPlan plan = plan_pool<T>(p, a.kind, threads);
  if (plan.road == Road::kPlaneLanes && whole_planes_apply<T>(p)) return pool_whole_planes(p, a, plan.threads);
  if (pool_sliding(p, a, plan.threads)) return;
  if constexpr (std::is_same_v<T, float>) {
    if (pool_large_windows(p, a, plan.threads)) return;
  }
  std::optional<PlaneFactors<T>> plane_factors;
  if (a.kind == kFoldSum && plan.road == Road::kRolling) a.rows = plane_factors.emplace(p).rows();
  std::optional<RecycledBlock> factors;
  if (a.kind == kFoldSum && plan.road != Road::kRolling && plan.road != Road::kElements && plan.blocks(p) > 1) {
    factors.emplace(static_cast<std::size_t>(p.width().out) * sizeof(T));
    a.whole = RowFactors<T>(p, {0, p.width().out}, factors->template as<T>()).whole_rows();
  }
  if (plan.road == Road::kElements) {
    parallel_for(plan.threads, p.planes(), [&](Index plane) { pool_elements(p, a, plane); });
    return;
  }
  const auto road = plan.road == Road::kRolling        ? pool_rolling<T>
                    : plan.road == Road::kWidthLanes   ? pool_width_lanes<T>
                    : plan.road == Road::kChannelLanes ? pool_channel_lanes<T>
                                                       : pool_plane_lanes<T>;
  const Index count = plan.blocks(p);
  parallel_for(plan.threads, ceil_div(count, plan.group), [&](Index task) {
    const Index first = task * plan.group, last = std::min(count, first + plan.group);
    Blocks blocks(p, plan, first);
    for (Index i = first; i < last; ++i, blocks.next()) {
      Workspace workspace(plan.workspace);
      road(p, plan, a, blocks.block(), workspace);
    }
  });
}

}  // namespace

template <class T>
void max_pool(const PoolProblem& p, const T* x, T* y, Index* indices, int threads) {
  pool<T>(p, {indices == nullptr ? kFoldMax : kFoldMaxPlaces, x, y, indices}, threads);
}

template <class T>
void avg_pool(const PoolProblem& p, const T* x, T* y, int threads) {
  pool<T>(p, {kFoldSum, x, y, nullptr}, threads);
}

template void max_pool(const PoolProblem&, const float*, float*, Index*, int);
template void max_pool(const PoolProblem&, const double*, double*, Index*, int);
template void avg_pool(const PoolProblem&, const float*, float*, int);
template void avg_pool(const PoolProblem&, const double*, double*, int);

}  // namespace fastconv
