#include "backward.hpp"

#include <atomic>
#include <type_traits>

#include "../conv/plan.hpp"
#include "../memory.hpp"
#include "../parallel.hpp"
#include "sliding.hpp"

namespace fastconv {
namespace {

constexpr double kComfortable = 96e3;     // bytes of workspace that stay close to the core
constexpr Index kTaskElements = 1 << 14;  // of dx
constexpr Index kLaneBlock = 64;
constexpr Index kPlaneElements = 1 << 12;  // of dx, of the planes of a block

// The longest run of windows that hold one element.
double most_holders(const Axis& a) { return static_cast<double>(std::min(ceil_div(a.kernel, a.stride), a.out)); }

bool worth_gathering(const PoolProblem& p) {
  return std::none_of(p.axis.begin(), p.axis.end(),
                      [](const Axis& a) { return a.dilation != 1 || a.kernel > 2 * a.in + a.pad; });
}

template <class T>
Road gradient_road(const PoolProblem& p, const GradientArrays<T>& a) {
  const auto unit = [](Index extent, Index stride) { return extent == 1 || stride == 1; };
  const bool found = a.kind == kFoldMaxPlaces && a.indices == nullptr, saved = a.indices != nullptr;
  const Axis& w = p.width();
  if (unit(p.channels, p.y.channel) && unit(p.channels, p.gradient.channel) &&
      (!found || unit(p.channels, p.x.channel)) && (!saved || unit(p.channels, p.indices.channel)) && p.channels > 1) {
    return Road::kChannelLanes;
  }
  const bool rows = unit(w.out, p.y.space[kWidth]) && unit(w.in, p.gradient.space[kWidth]) &&
                    (!found || unit(w.in, p.x.space[kWidth])) && (!saved || unit(w.out, p.indices.space[kWidth]));
  const bool lanes = w.stride == 1 || (w.stride == 2 && w.dilation == 1 && w.kernel > 1);
  return rows && lanes ? Road::kWidthLanes : Road::kElements;
}

// Bytes for a block.
double gradient_workspace(const PoolProblem& p, const GradientPlan& plan, std::size_t element, Index lanes,
                          Index rows) {
  const GradientPiece piece = gradient_piece(p, {0, rows});
  const double vector = plan.road == Road::kWidthLanes ? 1 : static_cast<double>(lanes);
  const double all = most_holders(p.depth()) * static_cast<double>(piece.rows.size() + 1) * vector;
  const double item = static_cast<double>(element),
               planes = plan.road == Road::kWidthLanes ? static_cast<double>(lanes) : 1;
  return (planes + 1) * all * static_cast<double>(piece.columns.size()) * item + 16 * static_cast<double>(kCacheLine);
}

}  // namespace

template <class T>
GradientPlan plan_gradient(const PoolProblem& p, const GradientArrays<T>& a, int threads) {
  GradientPlan plan;
  const double moved = static_cast<double>(p.planes()) * static_cast<double>(p.plane_size() + 3 * p.pixels());
  plan.threads = useful_threads(24 * moved, threads, threads);
  plan.road = gradient_road(p, a);
  plan.gather = a.kind == kFoldSum && worth_gathering(p) && plan.road != Road::kElements;
  const bool planes = plan.gather && plan.road == Road::kWidthLanes && p.depth().out == 1 && p.depth().in == 1;
  Index most = plan.road == Road::kChannelLanes ? kLaneBlock : a.indices != nullptr ? kAbreast : 1;
  if (planes) most = std::clamp<Index>(p.planes() / (4 * plan.threads), 1, kPlaneElements / p.plane_size() + 1);
  while (planes && most > 1 && gradient_workspace(p, plan, sizeof(T), most, p.height().in) > kComfortable) most /= 2;
  plan.lanes = Panels(ceil_div(p.channels, most) == 1 ? p.channels : round_up(p.channels, most), most);
  const Index lanes = plan.lanes.base;
  Index rows = p.height().in;
  if (plan.gather) {
    const auto bytes = [&] { return gradient_workspace(p, plan, sizeof(T), lanes, rows); };
    while (rows > 1 && bytes() > kComfortable) rows = (rows + 1) / 2;
    plan.gather = bytes() < static_cast<double>(kMaxWorkspace);
    plan.workspace = static_cast<std::size_t>(bytes());
  }
  plan.rows = Panels(p.height().in, rows);
  const Index others = p.batch * plan.lanes.count * p.depth().in, wanted = 4 * plan.threads;
  if (plan.threads > 1 && plan.gather && (!planes || most == 1) && others * plan.rows.count < wanted) {
    plan.rows = Panels(p.height().in, std::max<Index>(1, p.height().in * others / wanted));
  }
  const Index blocks = others * plan.rows.count;
  const Index block = std::max<Index>(1, static_cast<Index>(moved / static_cast<double>(blocks)));
  plan.group = std::clamp<Index>(kTaskElements / block, 1, std::max<Index>(1, blocks / wanted));
  return plan;
}

namespace {

template <class T>
void gather_all(const PoolProblem& p, const GradientPlan& plan, GradientArrays<T> a) {
  std::deque<PlaneFactors<T>> factors;
  for (Index od = 0; od < p.depth().out; ++od) factors.emplace_back(p, od);
  a.factors = &factors;
  const bool dense =
      p.batch == 1 && p.y.channel == p.pixels() && dense_planes(p.y, p.depth().out, p.height().out, p.width().out);
  if (dense) a.dy_end = a.dy + p.planes() * p.pixels();
  const Index blocks = p.batch * plan.lanes.count * p.depth().in * plan.rows.count;
  parallel_for(plan.threads, ceil_div(blocks, plan.group), [&](Index task) {
    for (Index i = task * plan.group; i < std::min(blocks, (task + 1) * plan.group); ++i) {
      Index rest = i;
      const Index row = rest % plan.rows.count;
      rest /= plan.rows.count;
      const Index id = rest % p.depth().in;
      rest /= p.depth().in;
      const Index lane = rest % plan.lanes.count, first = plan.lanes.start(lane), top = plan.rows.start(row);
      const GradientBlock block{rest / plan.lanes.count,
                                {first, std::min(p.channels, first + plan.lanes.size(lane))},
                                id,
                                {top, top + plan.rows.size(row)}};
      gather_gradient(p, plan, a, block);
    }
  });
}

// The same with as many planes in the lanes as a vector has, on their way there and back: for strides that no vector
// along the rows takes. False if rows have gaps, or planes are too few or too large.
template <class T>
bool gather_planes(const PoolProblem& p, const GradientArrays<T>& a, int threads) {
  const Kernels<T>& k = kernels().of<T>();
  const Index lanes = k.lanes, in = p.plane_size(), out = p.pixels();
  const auto dense = [&](const ImageStrides& s, bool of_dx) {
    const auto extent = [&](std::size_t i) { return of_dx ? p.axis[i].in : p.axis[i].out; };
    return dense_planes(s, extent(kDepth), extent(kHeight), extent(kWidth));
  };
  const auto in_lanes = [&](Index height, Index width) {
    ImageStrides s{};
    s.channel = 1;
    s.space = {height * width * lanes, width * lanes, lanes};
    return s;
  };
  if (!worth_gathering(p) || !dense(p.y, false) || !dense(p.gradient, true) || 2 * p.channels <= lanes) return false;
  PoolProblem q = p;
  q.batch = 1, q.channels = lanes;
  q.y = in_lanes(p.height().out, p.width().out), q.gradient = in_lanes(p.height().in, p.width().in);
  const GradientPlan plan = plan_gradient<T>(q, {kFoldSum, nullptr, nullptr, nullptr, nullptr}, 1);
  if (!plan.gather || static_cast<std::size_t>((in + out) * lanes) * sizeof(T) > kMaxWorkspace / 2) return false;
  const Index groups = ceil_div(p.channels, lanes);
  parallel_for(threads, p.batch * groups, [&](Index task) {
    const Index batch = task / groups, first = task % groups * lanes, planes = std::min(lanes, p.channels - first);
    // Not of the workspace, which the gather needs.
    const RecycledBlock block(static_cast<std::size_t>((in + out) * lanes) * sizeof(T));
    T *const dx = block.template as<T>(), *const dy = dx + in * lanes;
    k.interleave({a.dy + batch * p.y.batch + first * p.y.channel, p.y.channel, planes, out, dy});
    gather_all<T>(q, plan, {kFoldSum, nullptr, nullptr, dy, dx});
    k.transpose({dx, lanes, in, planes, a.dx + batch * p.gradient.batch + first * p.gradient.channel,
                 p.gradient.channel, nullptr, false});
  });
  return true;
}

template <class T>
bool scatter_all(const PoolProblem& p, const GradientPlan& plan, const GradientArrays<T>& a) {
  std::atomic<bool> valid{true};
  parallel_for(plan.threads, p.batch * plan.lanes.count, [&](Index i) {
    const Index lane = i % plan.lanes.count, first = plan.lanes.start(lane);
    const Range lanes{first, std::min(p.channels, first + plan.lanes.size(lane))};
    if (!scatter_gradient(p, a, i / plan.lanes.count, lanes)) valid.store(false, std::memory_order_relaxed);
  });
  return valid.load();
}

// Planes of a single window: what a fold of one element would do, one plane after the other.
template <class T>
bool spread_window(const PoolProblem& p, const GradientArrays<T>& a, int threads) {
  std::atomic<bool> valid{true};
  T factor = 1;
  if (a.kind == kFoldSum) RowFactors<T>(p, {0, 1}, &factor).of(0, 0);
  const Span d = span_of(p.depth(), 0), h = span_of(p.height(), 0), w = span_of(p.width(), 0);
  const bool full = a.kind == kFoldSum && d.count * h.count * w.count == p.plane_size();
  const double moved = static_cast<double>(p.planes()) * static_cast<double>(p.plane_size());
  const Index group = std::max<Index>(1, kTaskElements / p.plane_size());
  parallel_for(useful_threads(24 * moved, threads, threads), ceil_div(p.planes(), group), [&](Index task) {
    const Index begin = task * group, end = std::min(p.planes(), begin + group);
    const Index run = p.batch == 1 ? end - begin : 1;
    for (Index plane = begin; plane < end; plane += run) {
      kernels().of<T>().fill_planes({a.dx + plane_offset(p, p.gradient, plane), p.gradient.channel, run, p.plane_size(),
                                     full ? a.dy + plane_offset(p, p.y, plane) : nullptr, p.y.channel, factor});
    }
    for (Index plane = begin; plane < end && !full; ++plane) {
      T* const dx = a.dx + plane_offset(p, p.gradient, plane);
      const T share = a.dy[plane_offset(p, p.y, plane)] * factor + T(0);
      if (a.kind == kFoldSum) {
        for (Index row = 0; row < d.count * h.count; ++row) {
          const Index id = d.at + row / h.count, ih = h.at + row % h.count;
          std::fill_n(dx + (id * p.height().in + ih) * p.width().in + w.at, w.count, share);
        }
        continue;
      }
      const Index at = a.indices[plane_offset(p, p.indices, plane)];
      if (at < -1 || at >= p.plane_size()) {
        valid.store(false, std::memory_order_relaxed);
      } else if (at >= 0) {
        dx[at] = share;
      }
    }
  });
  return valid.load();
}

// One window, planes without gaps: of NCHW, or of a single channel.
bool single_windows(const PoolProblem& p) {
  return p.pixels() == 1 && dense_planes(p.gradient, p.depth().in, p.height().in, p.width().in);
}

// Whether maxima are found again in cells. Few taps with channels in the lanes need none, nor do rows that windows
// tile; and rows of strides beyond 2 come to cells pixel by pixel.
bool worth_routing(const PoolProblem& p) {
  if (p.pixels() == 1) return false;
  const bool in_lanes = p.channels > 1 && p.gradient.channel == 1;
  const bool apart =
      std::all_of(p.axis.begin(), p.axis.end(), [](const Axis& a) { return a.dilation == 1 && a.kernel <= a.stride; });
  if (taps_of(p) > (apart ? kMostUnpoolTaps : kFewTaps)) return true;
  return !in_lanes && p.width().stride <= 2 && (!apart || p.width().padded());
}

// A single output takes no step: whatever the stride, then, no two windows hold an element.
PoolProblem without_steps(PoolProblem p) {
  if (p.pixels() != 1) return p;
  for (Axis& a : p.axis) {
    if (a.kernel <= 2 * a.in + a.pad) a.stride = std::max(a.stride, a.in + a.pad + a.kernel);
  }
  return p;
}

}  // namespace

template <class T>
bool max_pool_backward(const PoolProblem& given, const T* x, const Index* indices, const T* dy, T* dx, int threads) {
  if (given.planes() == 0) return true;
  const PoolProblem p = simplified(without_steps(given));
  const GradientArrays<T> arrays{kFoldMaxPlaces, x, indices, dy, dx};
  const GradientPlan plan = plan_gradient(p, arrays, threads);
  // Saved indices may be anybody's: one outside its window needs a scatter.
  if (whole_planes_gradient(p, arrays, threads) || whole_images_gradient(p, arrays, threads)) return true;
  if constexpr (std::is_same_v<T, float>) {
    if (large_window_gradient(p, arrays, plan.threads)) return true;
  }
  if (indices != nullptr && (short_outputs<T>(p) || short_rows<T>(p))) return scatter_all(p, plan, arrays);
  if (roll_gradient(p, arrays, plan.threads)) return true;
  if (lane_strips_gradient(p, arrays, plan.threads) || lane_gradient(p, arrays, plan.threads)) return true;
  if (indices == nullptr && worth_routing(p) && route_gradient(p, arrays, plan.threads)) return true;
  if (unpool_gradient(p, arrays, plan.threads).value_or(false)) return true;
  if (!single_windows(p)) return scatter_all(p, plan, arrays);
  if (indices != nullptr) return spread_window(p, arrays, threads);
  // Found all at once, in vectors.
  const RecycledBlock values(static_cast<std::size_t>(p.planes()) * sizeof(T)),
      found(static_cast<std::size_t>(p.planes()) * sizeof(Index));
  PoolProblem q = p;
  q.indices = ImageStrides{};
  q.indices.batch = p.channels;
  q.indices.channel = 1;
  q.y = q.indices;
  max_pool(q, x, values.template as<T>(), found.template as<Index>(), threads);
  q.y = p.y;
  return spread_window(q, GradientArrays<T>{kFoldMaxPlaces, x, found.template as<Index>(), dy, dx}, threads);
}

template <class T>
void avg_pool_backward(const PoolProblem& given, const T* dy, T* dx, int threads) {
  if (given.planes() == 0) return;
  const PoolProblem p = simplified(without_steps(given));
  const GradientArrays<T> arrays{kFoldSum, nullptr, nullptr, dy, dx};
  const GradientPlan plan = plan_gradient(p, arrays, threads);
  if (single_windows(p)) {
    spread_window(p, arrays, threads);
  } else if (whole_images_gradient(p, arrays, threads) || sliding_gradient(p, arrays, plan.threads) ||
             rolling_average_gradient(p, arrays, plan.threads) || unpool_gradient(p, arrays, plan.threads)) {
    return;
  } else if (plan.gather) {
    gather_all(p, plan, arrays);
  } else if (!gather_planes(p, arrays, plan.threads)) {
    parallel_for(plan.threads, p.planes(), [&](Index plane) { gather_elements(p, arrays, plane); });
  }
}

template bool max_pool_backward(const PoolProblem&, const float*, const Index*, const float*, float*, int);
template bool max_pool_backward(const PoolProblem&, const double*, const Index*, const double*, double*, int);
template void avg_pool_backward(const PoolProblem&, const float*, float*, int);
template void avg_pool_backward(const PoolProblem&, const double*, double*, int);

}  // namespace fastconv
