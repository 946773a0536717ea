// Maxima of large windows that overlap, with as many planes or channels in the lanes as a vector has: gradients, and
// maxima with their places. window_rows.hpp finds the winners, or where windows slide by one pixel sliding_rows.hpp;
// each window then gives dy to its own, in row-major order, or tells where it is.
#include <atomic>
#include <functional>
#include <limits>

#include "../parallel.hpp"
#include "backward.hpp"
#include "sliding_columns.hpp"
#include "sliding_rows.hpp"
#include "window_rows.hpp"

namespace fastconv {
namespace {

constexpr std::size_t kComfortable = 512 << 10;  // bytes of workspace that stay in L2

// Bytes that a vector of planes or channels needs, where the windows are such and there are lanes enough to fill
// vectors and threads; else 0.
template <class T>
[[gnu::noinline]] std::size_t bytes_if_applies(const PoolProblem& p, int threads) {
  const Axis &h = p.height(), &w = p.width();
  const Index lanes = kernels().of<T>().lanes;
  const bool overlap = h.kernel > h.stride || w.kernel > w.stride;
  const bool filled = 2 * p.channels > lanes && p.batch * ceil_div(p.channels, lanes) >= threads;
  if (!overlap || !filled || !WindowRows<T>::applies(p)) return 0;
  const std::size_t bytes =
      WindowRows<T>::workspace_bytes(p) + (SlidingRows<T>::applies(p) ? SlidingRows<T>::workspace_bytes(p) : 0);
  return bytes <= kComfortable && p.plane_size() <= std::numeric_limits<std::int32_t>::max() ? bytes : 0;
}

// f(rows of windows, their winners, and if they are known their maxima) for all of them in order, of some lanes from x
// on. It may begin once more, with the first row.
template <class T, class F>
void for_winners(const PoolProblem& p, const T* x, Index lanes, const PlaceSteps& place, bool with_values,
                 Workspace& workspace, F&& f) {
  const Index out = p.height().out;
  if (SlidingRows<T>::applies(p)) {
    SlidingRows<T> sliding(p, x, lanes, place, workspace);
    bool found = true;
    for (Index oh = 0, at_once = SlidingRows<T>::rows_at_once(p); oh < out && found; oh += at_once) {
      const Range rows{oh, std::min(out, oh + at_once)};
      const auto winners = sliding.rows(rows, with_values);
      found = winners.has_value();
      if (found) f(rows, winners->winners, with_values ? winners->values : nullptr);
    }
    if (found) return;
  }
  WindowRows<T> rows(p, x, lanes, place, workspace);
  for (Index oh = 0; oh < out; ++oh) f(Range{oh, oh + 1}, rows.row(oh), nullptr);
}

// f(image, first lane, lanes, workspace) for each vector of them.
using GroupTask = std::function<void(Index, Index, Index, Workspace&)>;
void for_each_group(const PoolProblem& p, Index most, std::size_t bytes, int threads, const GroupTask& f) {
  const Index in_image = ceil_div(p.channels, most);
  parallel_for(threads, p.batch * in_image, [&](Index task) {
    const Index first = task % in_image * most;
    Workspace workspace(bytes);
    f(task / in_image, first, std::min(most, p.channels - first), workspace);
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
#pragma GCC unroll 16
    for (int lane = 0; lane < N; ++lane, dy += g.dy_lane) g.dx[winner[lane]] += *dy;
  }
}
template <class T>
void give(const Giving<T>& g) {
  Index first = 0;
  for (; first + 16 <= g.lanes; first += 16) give_abreast<16>(g, first);
  for (; first + 8 <= g.lanes; first += 8) give_abreast<8>(g, first);
  for (; first < g.lanes; ++first) give_abreast<1>(g, first);
}

}  // namespace

template <class T>
bool large_window_gradient(const PoolProblem& p, const GradientArrays<T>& a, int threads) {
  const bool worth = a.indices == nullptr && (taps_of(p) > kFewTaps || short_rows<T>(p));
  const std::size_t needed = worth ? bytes_if_applies<T>(p, threads) : 0;
  if (needed == 0) return false;
  const Kernels<T>& k = kernels().of<T>();
  const ImageStrides& s = p.gradient;
  // Pixels of many channels lie far apart: what their windows add to is better kept together.
  const Index width = p.width().in * k.lanes, kept = s.channel == 1 ? p.plane_size() * k.lanes : 0;
  const PlaceSteps place =
      kept > 0 ? PlaceSteps{width, k.lanes, 1} : PlaceSteps{s.space[kHeight], s.space[kWidth], s.channel};
  const std::size_t bytes = Workspace::piece_bytes<T>(kept);
  const std::size_t columns = SlidingColumns<T>::applies(p) ? SlidingColumns<T>::workspace_bytes(p) : 0;
  const PlaceSteps in_dx{s.space[kHeight], s.space[kWidth], s.channel};
  const auto counts = [&](const PlaceSteps& steps) {
    return p.height().in * steps.row + k.lanes * steps.lane <= std::numeric_limits<std::int32_t>::max();
  };
  // Until there are many ties: the bits are the same.
  std::atomic<bool> by_columns = taps_of(p) > kFewTaps && columns > 0 && columns <= kComfortable && counts(in_dx);
  if (!counts(place) || bytes > kMaxWorkspace / 2) return false;
  const std::size_t most = std::max(needed + bytes, by_columns ? columns : 0);
  // All channels of a row at once: a vector's alone are a line here and a line there.
  const bool zeroed = by_columns && s.channel == 1 && s.space[kWidth] == p.channels;
  if (zeroed) {
    parallel_for(threads, p.batch * p.height().in, [&](Index row) {
      T* const dx = a.dx + row / p.height().in * s.batch + row % p.height().in * s.space[kHeight];
      std::fill_n(dx, p.width().in * p.channels, T(0));
    });
  }
  for_each_group(p, k.lanes, most, threads, [&](Index batch, Index first, Index lanes, Workspace& workspace) {
    const T* const dy = a.dy + batch * p.y.batch + first * p.y.channel;
    T* const dx = a.dx + batch * s.batch + first * s.channel;
    if (by_columns.load(std::memory_order_relaxed)) {
      Workspace of_columns(columns);  // the same memory
      if (!zeroed) zero_gradient(p, dx, lanes);
      const T* const x = a.x + batch * p.x.batch + first * p.x.channel;
      SlidingColumns<T> sliding(p, x, dy, lanes, in_dx, of_columns);
      const bool done = sliding.add_to(dx);
      if (sliding.many_ties()) by_columns.store(false, std::memory_order_relaxed);
      if (done) return;
    }
    T* const to = kept > 0 ? workspace.take<T>(kept) : dx;
    const auto zero = [&] { kept > 0 ? void(std::fill_n(to, kept, T(0))) : zero_gradient(p, to, lanes); };
    const auto give_rows = [&](Range rows, const PlaceOf<T>* winners) {
      if (rows.first == 0) zero();
      for (Index oh = rows.first; oh < rows.last; ++oh) {
        give<T>({winners + (oh - rows.first) * p.width().out * k.lanes, p.width().out, lanes, k.lanes,
                 dy + oh * p.y.space[kHeight], p.y.space[kWidth], p.y.channel, to});
      }
    };
    for_winners(p, a.x + batch * p.x.batch + first * p.x.channel, lanes, place, false, workspace,
                [&](Range rows, const PlaceOf<T>* winners, const T*) { give_rows(rows, winners); });
    if (kept > 0) {
      k.from_cells(lane_pixels<T>(s, p.width().in, lanes, p.height().in), to, dx);
    }
  });
  return true;
}

// Planes only: pixels of many channels lie so far apart that a few of them at a time miss the cache.
template <class T>
bool pool_large_windows(const PoolProblem& p, const PoolArrays<T>& a, int threads) {
  using P = PlaceOf<T>;
  const Axis &h = p.height(), &w = p.width();
  const bool worth = a.kind == kFoldMaxPlaces && taps_of(p) > kFewTaps;
  const std::size_t needed = worth ? bytes_if_applies<T>(p, threads) : 0;
  if (needed == 0) return false;
  if (!dense_planes(p.x, 1, h.in, w.in)) return false;
  if (!dense_planes(p.y, 1, h.out, w.out) || !dense_planes(p.indices, 1, h.out, w.out)) return false;
  const Kernels<T>& k = kernels().of<T>();
  const std::size_t bytes = Workspace::piece_bytes<P>(SlidingRows<T>::rows_at_once(p) * w.out * k.lanes);
  if (bytes > kMaxWorkspace / 2) return false;
  for_each_group(p, k.lanes, needed + bytes, threads, [&](Index batch, Index first, Index lanes, Workspace& workspace) {
    const auto at = [&](const ImageStrides& s) { return batch * s.batch + first * s.channel; };
    P* const planes = workspace.take<P>(SlidingRows<T>::rows_at_once(p) * w.out * k.lanes);
    for_winners(
        p, a.x + at(p.x), lanes, {w.in, 1, 0}, true, workspace, [&](Range rows, const P* winners, const T* values) {
          const Index pixels = rows.size() * w.out, done = rows.first * w.out;
          T* const y = a.y + at(p.y) + done;
          // Their bits are moved as if they were elements.
          k.transpose({reinterpret_cast<const T*>(winners), k.lanes, pixels, lanes, reinterpret_cast<T*>(planes),
                       pixels, nullptr, false});
          if (values != nullptr) k.transpose({values, k.lanes, pixels, lanes, y, p.y.channel, nullptr, false});
          k.tell_winners({planes, values != nullptr ? nullptr : a.x + at(p.x), y, a.indices + at(p.indices) + done,
                          lanes, pixels, pixels, p.x.channel, p.y.channel, p.indices.channel});
        });
  });
  return true;
}

template bool large_window_gradient(const PoolProblem&, const GradientArrays<float>&, int);
template bool pool_large_windows(const PoolProblem&, const PoolArrays<float>&, int);

}  // namespace fastconv
