// Pools of a single window that is all of a plane, of planes without gaps: as many planes as a vector has lanes are
// transposed, and folded in the one order that there is.
#include "../conv/plan.hpp"
#include "../parallel.hpp"
#include "backward.hpp"

namespace fastconv {
namespace {

constexpr Index kComfortable = 256 << 10;  // bytes of workspace that stay in L2
constexpr Index kTaskElements = 1 << 14;

}  // namespace

template <class T>
bool whole_planes_apply(const PoolProblem& p) {
  const auto whole = [](const Axis& a) { return a.out == 1 && a.dilation == 1 && span_of(a, 0).count == a.in; };
  const Index lanes = kernels().of<T>().lanes;
  return p.batch == 1 && std::all_of(p.axis.begin(), p.axis.end(), whole) && p.y.channel == 1 &&
         dense_planes(p.x, p.depth().in, p.height().in, p.width().in) && 2 * p.channels > lanes &&
         p.plane_size() <= kComfortable / (lanes * static_cast<Index>(sizeof(T)));
}

template <class T>
void pool_whole_planes(const PoolProblem& p, const PoolArrays<T>& a, int threads) {
  const Kernels<T>& k = kernels().of<T>();
  const Index lanes = k.lanes, groups = ceil_div(p.channels, lanes), size = p.plane_size();
  const Index task_groups = std::clamp<Index>(kTaskElements / (size * lanes), 1, ceil_div(groups, threads));
  if (a.kind != kFoldSum && size >= lanes) {
    parallel_for(threads, ceil_div(groups, task_groups), [&](Index task) {
      const Index first = task * task_groups * lanes;
      WholePlanes<T> t{};
      t.x = a.x + first * p.x.channel, t.x_plane = p.x.channel;
      t.planes = std::min(task_groups * lanes, p.channels - first), t.size = size;
      t.y = a.y + first;
      t.indices = a.indices == nullptr ? nullptr : a.indices + first;
      k.whole_plane_maxima(t);
    });
    return;
  }
  T factor = 1;
  if (a.kind == kFoldSum) RowFactors<T>(p, {0, 1}, &factor).of(0, 0);
  parallel_for(threads, ceil_div(groups, task_groups), [&](Index task) {
    Workspace workspace(Workspace::piece_bytes<T>(size * lanes));
    T* const pixels = workspace.take<T>(size * lanes);
    Fold<T> f{};
    f.src = pixels;
    f.src_end = pixels + size * lanes;
    f.planes = f.rows = 1;
    f.dst_end = a.y + p.channels;
    f.scale = a.kind == kFoldSum ? &factor : nullptr;
    Index step = 1;
    for (std::size_t s = kSpatial; s-- > 0; step *= p.axis[s].in) {
      f.taps[s] = p.axis[s].in;
      f.tap_step[s] = step * lanes;
      f.place_step[s] = step;
    }
    for (Index group = task * task_groups; group < std::min(groups, (task + 1) * task_groups); ++group) {
      const Index first = group * lanes;
      f.n = std::min(lanes, p.channels - first);
      k.interleave({a.x + first * p.x.channel, p.x.channel, f.n, size, pixels});
      f.dst = a.y + first;
      f.indices = a.indices == nullptr ? nullptr : a.indices + first;
      k.fold[a.kind](f);
    }
  });
}

template <class T>
bool whole_planes_gradient(const PoolProblem& p, const GradientArrays<T>& a, int available) {
  const Kernels<T>& k = kernels().of<T>();
  const Index size = p.plane_size(), lanes = k.lanes;
  if (a.indices != nullptr || !whole_planes_apply<T>(p) || size < lanes) return false;
  if (!dense_planes(p.gradient, p.depth().in, p.height().in, p.width().in)) return false;
  const double work = 64 * static_cast<double>(p.channels) * static_cast<double>(size);
  const int threads = useful_threads(work, p.channels / lanes, available);
  const Panels groups(ceil_div(p.channels, lanes), std::max<Index>(1, kTaskElements / (size * lanes)));
  parallel_for(threads, groups.count, [&](Index task) {
    const Index first = groups.start(task) * lanes;
    WholePlanes<T> t{};
    t.x = a.x + first * p.x.channel, t.x_plane = p.x.channel;
    t.planes = std::min(groups.size(task) * lanes, p.channels - first), t.size = size;
    t.dy = a.dy + first * p.y.channel, t.dy_step = p.y.channel;
    t.dx = a.dx + first * p.gradient.channel, t.dx_plane = p.gradient.channel;
    k.whole_plane_gradient(t);
  });
  return true;
}

template bool whole_planes_gradient(const PoolProblem&, const GradientArrays<float>&, int);
template bool whole_planes_gradient(const PoolProblem&, const GradientArrays<double>&, int);
template bool whole_planes_apply<float>(const PoolProblem&);
template bool whole_planes_apply<double>(const PoolProblem&);
template void pool_whole_planes(const PoolProblem&, const PoolArrays<float>&, int);
template void pool_whole_planes(const PoolProblem&, const PoolArrays<double>&, int);

}  // namespace fastconv
