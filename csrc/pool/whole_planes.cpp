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
  const Index lanes = kernels().of<T>().lanes;
  return p.batch == 1 && whole_windows(p) && p.y.channel == 1 &&
         dense_planes(p.x, p.depth().in, p.height().in, p.width().in) && 2 * p.channels > lanes &&
         p.plane_size() <= kComfortable / (lanes * static_cast<Index>(sizeof(T)));
}

namespace {

template <class T>
void whole_plane_maxima(const PoolProblem& p, const PoolArrays<T>& a, const Range& planes) {
  WholePlanes<T> t{};
  t.x = a.x + planes.first * p.x.channel, t.x_plane = p.x.channel;
  t.planes = planes.size(), t.size = p.plane_size();
  t.y = a.y + planes.first;
  t.indices = a.indices == nullptr ? nullptr : a.indices + planes.first;
  kernels().of<T>().whole_plane_maxima(t);
}

template <class T>
void whole_plane_sums(const PoolProblem& p, const PoolArrays<T>& a, const Range& planes, T* pixels) {
  T factor = 1;
  RowFactors<T>(p, {0, 1}, &factor).of(0, 0);
  kernels().of<T>().whole_plane_sums({a.x + planes.first * p.x.channel,
                                      a.x + (p.channels - 1) * p.x.channel + p.plane_size(),
                                      p.x.channel,
                                      planes.size(),
                                      {p.depth().in, p.height().in, p.width().in},
                                      factor,
                                      a.y + planes.first,
                                      pixels});
}

// Planes that are smaller than a vector.
template <class T>
void small_plane_maxima(const PoolProblem& p, const PoolArrays<T>& a, const Range& planes, T* pixels) {
  const Kernels<T>& k = kernels().of<T>();
  const Index size = p.plane_size();
  Fold<T> f{};
  f.src = pixels;
  f.src_end = pixels + size * k.lanes;
  f.planes = f.rows = 1;
  f.dst_end = a.y + p.channels;
  for (Index& taps : f.taps) taps = 1;
  f.taps[kWidth] = size;
  f.tap_step[kWidth] = k.lanes;
  f.place_step[kWidth] = 1;
  for (Index first = planes.first; first < planes.last; first += k.lanes) {
    f.n = std::min<Index>(k.lanes, planes.last - first);
    k.interleave({a.x + first * p.x.channel, p.x.channel, f.n, size, pixels});
    f.dst = a.y + first;
    f.indices = a.indices == nullptr ? nullptr : a.indices + first;
    k.fold[a.kind](f);
  }
}

}  // namespace

template <class T>
void pool_whole_planes(const PoolProblem& p, const PoolArrays<T>& a, int threads) {
  const Index lanes = kernels().of<T>().lanes, groups = ceil_div(p.channels, lanes), size = p.plane_size();
  const Index task_planes = lanes * std::clamp<Index>(kTaskElements / (size * lanes), 1, ceil_div(groups, threads));
  const bool large_maxima = a.kind != kFoldSum && size >= lanes;
  parallel_for(threads, ceil_div(p.channels, task_planes), [&](Index task) {
    const Range planes{task * task_planes, std::min(p.channels, (task + 1) * task_planes)};
    if (large_maxima) return whole_plane_maxima(p, a, planes);
    Workspace workspace(Workspace::piece_bytes<T>(size * lanes));
    T* const pixels = workspace.take<T>(size * lanes);
    a.kind == kFoldSum ? whole_plane_sums(p, a, planes, pixels) : small_plane_maxima(p, a, planes, pixels);
  });
}

template <class T>
bool whole_planes_gradient(const PoolProblem& p, const GradientArrays<T>& a, int available) {
  const Kernels<T>& k = kernels().of<T>();
  const Index size = p.plane_size(), lanes = k.lanes;
  if (a.indices != nullptr || !whole_planes_apply<T>(p) || size < lanes) return false;
  if (!dense_planes(p.gradient, p.depth().in, p.height().in, p.width().in)) return false;
  if (p.x.channel != size || p.gradient.channel != size) return false;
  const double work = 64 * static_cast<double>(p.channels) * static_cast<double>(size);
  const int threads = useful_threads(work, p.channels / lanes, available);
  const Panels groups(ceil_div(p.channels, lanes), std::max<Index>(1, kTaskElements / (size * lanes)));
  parallel_for(threads, groups.count, [&](Index task) {
    const Index first = groups.start(task) * lanes;
    WholePlanes<T> t{};
    t.x = a.x + first * p.x.channel, t.x_plane = p.x.channel;
    t.planes = std::min(groups.size(task) * lanes, p.channels - first), t.size = size;
    t.dy = a.dy + first * p.y.channel, t.dy_step = p.y.channel;
    t.dx = a.dx + first * size;
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
