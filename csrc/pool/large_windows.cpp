// Maxima of large windows that overlap, with as many planes or channels in the lanes as a vector has: gradients, and
// maxima with their places. window_rows.hpp finds the winners; each window then gives dy to its own, in row-major
// order, or tells where it is.
#include <limits>

#include "../parallel.hpp"
#include "backward.hpp"
#include "window_rows.hpp"

namespace fastconv {
namespace {

constexpr std::size_t kComfortable = 512 << 10;  // bytes of workspace that stay in L2

template <class T>
Index count_groups(const PoolProblem& p) {
  return p.batch * ceil_div(p.channels, kernels().of<T>().lanes);
}

// Whether the windows are such, and there are planes or channels enough for the lanes and the threads.
template <class T>
bool applies(const PoolProblem& p, int threads) {
  const Axis &h = p.height(), &w = p.width();
  const bool overlap = h.kernel > h.stride || w.kernel > w.stride;
  return taps_of(p) > kFewTaps && overlap && 2 * p.channels > kernels().of<T>().lanes &&
         count_groups<T>(p) >= threads && WindowRows<T>::applies(p) &&
         WindowRows<T>::workspace_bytes(p) <= kComfortable &&
         p.plane_size() <= std::numeric_limits<std::int32_t>::max();
}

// f(image, first lane, lanes, workspace) for every vector of lanes; the workspace has room for `more` bytes.
template <class T, class F>
void for_each_group(const PoolProblem& p, int threads, std::size_t more, F&& f) {
  const Index lanes = kernels().of<T>().lanes, in_image = ceil_div(p.channels, lanes);
  parallel_for(threads, count_groups<T>(p), [&](Index task) {
    const Index first = task % in_image * lanes;
    Workspace workspace(WindowRows<T>::workspace_bytes(p) + more);
    f(task / in_image, first, std::min(lanes, p.channels - first), workspace);
  });
}

// A row of windows of some lanes: each gives to the element that its winner is.
template <class T>
struct Giving {
  const PlaceOf<T>* winner;
  Index windows, lanes, vector;  // of which so many lanes exist
  const T* dy;
  Index dy_window, dy_lane;
  T* dx;
};
// N lanes side by side: an addition waits for the one before if their windows share a winner, as neighbours often do.
template <int N, class T>
void give_abreast(const Giving<T>& g, Index first) {
  const PlaceOf<T>* winner = g.winner + first;
  const T* window = g.dy + first * g.dy_lane;
  for (Index i = 0; i < g.windows; ++i, winner += g.vector, window += g.dy_window) {
    const T* dy = window;
#pragma GCC unroll 8
    for (int lane = 0; lane < N; ++lane, dy += g.dy_lane) g.dx[winner[lane]] += *dy;
  }
}
template <class T>
void give(const Giving<T>& g) {
  Index first = 0;
  for (; first + 8 <= g.lanes; first += 8) give_abreast<8>(g, first);
  for (; first < g.lanes; ++first) give_abreast<1>(g, first);
}

}  // namespace

template <class T>
bool large_window_gradient(const PoolProblem& p, const GradientArrays<T>& a, int threads) {
  if (!applies<T>(p, threads) || a.indices != nullptr) return false;
  const Kernels<T>& k = kernels().of<T>();
  const ImageStrides& s = p.gradient;
  // Pixels of many channels lie far apart: what their windows add to is better kept together.
  const Index width = p.width().in * k.lanes, kept = s.channel == 1 ? p.plane_size() * k.lanes : 0;
  const PlaceSteps place =
      kept > 0 ? PlaceSteps{width, k.lanes, 1} : PlaceSteps{s.space[kHeight], s.space[kWidth], s.channel};
  const std::size_t bytes = Workspace::piece_bytes<T>(kept);
  if (p.height().in * place.row + k.lanes * place.lane > std::numeric_limits<std::int32_t>::max()) return false;
  if (bytes > kMaxWorkspace / 2) return false;
  for_each_group<T>(p, threads, bytes, [&](Index batch, Index first, Index lanes, Workspace& workspace) {
    WindowRows<T> rows(p, a.x + batch * p.x.batch + first * p.x.channel, lanes, place, workspace);
    const T* const dy = a.dy + batch * p.y.batch + first * p.y.channel;
    T* const dx = a.dx + batch * s.batch + first * s.channel;
    T* const to = kept > 0 ? workspace.take<T>(kept) : dx;
    if (kept > 0) {
      std::fill_n(to, kept, T(0));
    } else {
      zero_gradient(p, to, lanes);
    }
    for (Index oh = 0; oh < p.height().out; ++oh) {
      give<T>({rows.row(oh), p.width().out, lanes, k.lanes, dy + oh * p.y.space[kHeight], p.y.space[kWidth],
               p.y.channel, to});
    }
    if (kept > 0) k.from_cells(rows.pixels_of(s, p.height().in), to, dx);
  });
  return true;
}

// Planes only: pixels of many channels lie so far apart that a few of them at a time miss the cache.
template <class T>
bool pool_large_windows(const PoolProblem& p, const PoolArrays<T>& a, int threads) {
  using P = PlaceOf<T>;
  const Axis &h = p.height(), &w = p.width();
  const Index pixels = h.out * w.out;
  if (a.kind != kFoldMaxPlaces || !applies<T>(p, threads)) return false;
  if (!dense_planes(p.x, 1, h.in, w.in)) return false;
  if (!dense_planes(p.y, 1, h.out, w.out) || !dense_planes(p.indices, 1, h.out, w.out)) return false;
  const Kernels<T>& k = kernels().of<T>();
  const std::size_t bytes = 2 * Workspace::piece_bytes<P>(pixels * k.lanes);
  if (bytes > kMaxWorkspace / 2) return false;
  for_each_group<T>(p, threads, bytes, [&](Index batch, Index first, Index lanes, Workspace& workspace) {
    const auto at = [&](const ImageStrides& s) { return batch * s.batch + first * s.channel; };
    WindowRows<T> rows(p, a.x + at(p.x), lanes, {w.in, 1, 0}, workspace);
    P *const winners = workspace.take<P>(pixels * k.lanes), *const planes = workspace.take<P>(pixels * k.lanes);
    const Index row = w.out * k.lanes;
    for (Index oh = 0; oh < h.out; ++oh) std::copy_n(rows.row(oh), row, winners + oh * row);
    // Their bits are moved as if they were elements.
    k.transpose({reinterpret_cast<const T*>(winners), k.lanes, pixels, lanes, reinterpret_cast<T*>(planes), pixels,
                 nullptr, false});
    k.tell_winners({planes, a.x + at(p.x), a.y + at(p.y), a.indices + at(p.indices), lanes, pixels, pixels, p.x.channel,
                    p.y.channel, p.indices.channel});
  });
  return true;
}

template bool large_window_gradient(const PoolProblem&, const GradientArrays<float>&, int);
template bool large_window_gradient(const PoolProblem&, const GradientArrays<double>&, int);
template bool pool_large_windows(const PoolProblem&, const PoolArrays<float>&, int);
template bool pool_large_windows(const PoolProblem&, const PoolArrays<double>&, int);

}  // namespace fastconv
