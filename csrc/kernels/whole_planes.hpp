// Pools whose window is all of a plane of `size` contiguous elements, at least a vector's.
//
// A plane is folded lane by lane; then as many planes as a vector has lanes are transposed in registers, so that one
// more fold gives all their results at once. The last vector of a plane overlaps the one before it. Sums, whose order
// is promised, are transposed as a whole instead.
#pragma once

#include "interleave.hpp"
#include "pool_lanes.hpp"
#include "table.hpp"

namespace {

using fastconv::FillPlanes;
using fastconv::PlaceOf;
using fastconv::WholePlanes;
using fastconv::WholePlaneSums;

// Where the last vector of a plane starts, and the last one that does not overlap it.
template <class T>
FASTCONV_INLINE std::ptrdiff_t last_vector(std::ptrdiff_t size) {
  return size - kLanes<T>;
}
template <class T>
FASTCONV_INLINE std::ptrdiff_t vector_before(std::ptrdiff_t size) {
  return (size - 1) / kLanes<T> * kLanes<T> - kLanes<T>;
}

// Lane i: the fold of the lanes of v[i].
template <class T, class F>
FASTCONV_INLINE Vector<T> fold_lanes_of(Vector<T> (&v)[kLanes<T>], F&& f) {
  transpose<T>(v);
#pragma GCC unroll 4
  for (int half = kLanes<T> / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < half; ++i) v[i] = f(v[i], v[i + half]);
  }
  return v[0];
}

// Of n parts, in order.
template <class T, class F>
FASTCONV_INLINE Vector<T> sum_of(std::ptrdiff_t n, F&& part) {
  Vector<T> sum = part();
  for (std::ptrdiff_t i = 1; i < n; ++i) sum += part();
  return sum;
}

// Careful: NaN if one of them is.
template <bool Careful, class T>
FASTCONV_INLINE Vector<T> larger(Vector<T> a, Vector<T> b) {
  const Vector<T> most = opaque<Vector<T>>(b > a ? b : a);
  if constexpr (!Careful) return most;
  return b == b ? most : b;
}

// The maxima of `planes` planes, at most VL. Unless Careful, NaN may be missed, but not by `total`, which then has one.
template <bool Careful, class T>
FASTCONV_INLINE Vector<T> maxima(const WholePlanes<T>& t, const T* x, int planes, Vector<T>& total) {
  constexpr int VL = kLanes<T>;
  Vector<T> v[VL];
  for (int p = 0; p < VL; ++p) {
    const T* const plane = x + (p < planes ? p : 0) * t.x_plane;
    Vector<T> most = load(plane + last_vector<T>(t.size));
    if constexpr (!Careful) total += most;
    for (std::ptrdiff_t i = vector_before<T>(t.size); i >= 0; i -= VL) {
      const Vector<T> next = load(plane + i);
      most = larger<Careful, T>(most, next);
      if constexpr (!Careful) total += next;
    }
    v[p] = most;
  }
  return fold_lanes_of<T>(v, [](Vector<T> a, Vector<T> b) { return larger<Careful, T>(a, b); });
}

// The first elements that equal `most`; or if Careful, are NaN if it is.
template <bool Careful, class T>
FASTCONV_INLINE Vector<PlaceOf<T>> first_places(const WholePlanes<T>& t, const T* x, const T* most, int planes) {
  using P = PlaceOf<T>;
  constexpr int VL = kLanes<T>;
  Vector<P> place[VL];
  for (int p = 0; p < VL; ++p) {
    Vector<P> first = broadcast(static_cast<P>(t.size));
    const T* const plane = x + (p < planes ? p : 0) * t.x_plane;
    const Vector<T> best = broadcast(most[p]);
    const auto look = [&](std::ptrdiff_t i) {
      const Vector<T> v = load(plane + i);
      const auto found = Careful ? (v == best) | (v != v) : v == best;
      first = found ? lane_places<P>(i, 1) : first;
    };
    look(last_vector<T>(t.size));
    for (std::ptrdiff_t i = vector_before<T>(t.size); i >= 0; i -= VL) look(i);
    place[p] = first;
  }
  return fold_lanes_of<P>(place, [](Vector<P> a, Vector<P> b) { return a < b ? a : b; });
}

// Both, of planes with NaN, or several zeros.
template <class T>
__attribute__((noinline)) void careful_maxima(const WholePlanes<T>& t, const T* x, int planes, T* most,
                                              PlaceOf<T>* place) {
  Vector<T> unused{};
  store(most, maxima<true>(t, x, planes, unused));
  store(place, first_places<true>(t, x, most, planes));
}

template <class T>
void whole_plane_maxima(const WholePlanes<T>& given) {
  using P = PlaceOf<T>;
  constexpr int VL = kLanes<T>;
  const WholePlanes<T> t = given;  // which no store can change
  for (std::ptrdiff_t first = 0; first < t.planes; first += VL) {
    const int planes = t.planes - first < VL ? static_cast<int>(t.planes - first) : VL;
    const T* const x = t.x + first * t.x_plane;
    alignas(kVectorBytes) T most[VL];
    alignas(kVectorBytes) P place[VL];
    Vector<T> total{};
    const Vector<T> m = maxima<false>(t, x, planes, total);
    store(most, m);
    const bool unsure = any_lane<P>((total != total) | (m == Vector<T>{}));
    if (unsure) {
      careful_maxima(t, x, planes, most, place);
    } else if (t.indices != nullptr) {
      store(place, first_places<false>(t, x, most, planes));
    }
    // Of several zeros, or NaNs, the first one is the result.
    for (int p = 0; p < planes && unsure; ++p) most[p] = x[p * t.x_plane + place[p]];
    for (int p = 0; p < planes; ++p) t.y[first + p] = most[p];
    for (int p = 0; p < planes && t.indices != nullptr; ++p) t.indices[first + p] = place[p];
  }
}

// Of VL planes: rows are transposed some columns at a time and added up at once, without a way through memory. What
// that reads behind a row is the next one, or up to half a vector behind the last plane.
template <class T>
FASTCONV_INLINE Vector<T> row_sums(const WholePlaneSums<T>& t, const T* x, std::ptrdiff_t x_plane) {
  constexpr int VL = kLanes<T>, W = kPieceColumns<T>;
  const T* plane[VL];
  for (int i = 0; i < VL; ++i) plane[i] = x + i * x_plane;
  const T* ahead = x + VL * x_plane;  // the next planes come to L1 meanwhile, a vector's bytes for each that is added
  std::ptrdiff_t start = 0;
  const auto row = [&] {
    Vector<T> sum{};
    for (std::ptrdiff_t column = 0; column < t.taps[2]; column += W) {
      Vector<T> v[W];
#pragma GCC unroll 8
      for (int i = 0; i < W; ++i) v[i] = join<T, W, VL>(plane + i, start + column);
      transpose_pieces<T, W, W / 2>(v);
      sum = column == 0 ? v[0] : sum + v[0];
#pragma GCC unroll 8
      for (int i = 1; i < W; ++i) {
        __builtin_prefetch(ahead);
        ahead += VL;
        if (column + i < t.taps[2]) sum += v[i];
      }
    }
    start += t.taps[2];
    return sum;
  };
  return sum_of<T>(t.taps[0], [&] { return sum_of<T>(t.taps[1], row); });
}

// The last planes are copied, so that nothing behind them is read; and so are planes with gaps between.
template <class T>
void whole_plane_sums(const WholePlaneSums<T>& given) {
  constexpr int VL = kLanes<T>;
  const WholePlaneSums<T> t = given;  // which no store can change
  const std::ptrdiff_t size = t.taps[0] * t.taps[1] * t.taps[2];
  for (std::ptrdiff_t first = 0; first < t.planes; first += VL) {
    const std::ptrdiff_t left = t.planes - first, planes = left < VL ? left : VL;
    const T* x = t.x + first * t.x_plane;
    if (t.x_plane != size || left <= VL || size < VL) {
      for (std::ptrdiff_t p = 0; p < planes; ++p) {
        __builtin_memcpy(t.pixels + p * size, x + p * t.x_plane, static_cast<std::size_t>(size) * sizeof(T));
      }
      x = t.pixels;
    }
    store_first(t.y + first, row_sums(t, x, size) * t.scale, t.y + t.planes, planes);
  }
}

// The first maximum of each plane gets its dy, the others 0. All that equal the maximum do, until it turns out that
// there were too many.
template <class T>
void whole_plane_gradient(const WholePlanes<T>& given) {
  using P = PlaceOf<T>;
  constexpr int VL = kLanes<T>;
  const WholePlanes<T> t = given;  // which no store can change
  const std::ptrdiff_t last = last_vector<T>(t.size), before = vector_before<T>(t.size);
  const Vector<P> unseen = lane_places<P>(last, 1) >= broadcast(static_cast<P>(before + VL));
  for (std::ptrdiff_t first = 0; first < t.planes; first += VL) {
    const int planes = t.planes - first < VL ? static_cast<int>(t.planes - first) : VL;
    const T *const x = t.x + first * t.x_plane, *const dy = t.dy + first * t.dy_step;
    T* const dx = t.dx + first * t.dx_plane;
    alignas(kVectorBytes) T most[VL];
    alignas(kVectorBytes) P place[VL];
    Vector<T> total{};
    store(most, maxima<false>(t, x, planes, total));
    Vector<P> found{};  // minus the number
    for (int p = 0; p < planes; ++p) {
      const Vector<T> best = broadcast(most[p]), share = broadcast(dy[p * t.dy_step] + T(0));
      const T* const from = x + p * t.x_plane;
      T* const to = dx + p * t.dx_plane;
      const auto give = [&](std::ptrdiff_t i) {
        const auto here = load(from + i) == best;
        store(to + i, here ? share : Vector<T>{});
        return here;
      };
      found += give(last) & unseen;
      for (std::ptrdiff_t i = before; i >= 0; i -= VL) found += give(i);
    }
    store(place, found - ((total != total) & (1 << 20)));
    std::ptrdiff_t extra = -planes;
    for (const P lane : place) extra -= lane;
    if (extra == 0) continue;
    careful_maxima(t, x, planes, most, place);
    for (int p = 0; p < planes; ++p) {
      T* const to = dx + p * t.dx_plane;
      for (std::ptrdiff_t i = 0; i < last; i += VL) store(to + i, Vector<T>{});
      store(to + last, Vector<T>{});
      to[place[p]] = dy[p * t.dy_step] + T(0);
    }
  }
}

template <class T>
void fill_planes(const FillPlanes<T>& given) {
  constexpr std::ptrdiff_t VL = kLanes<T>;
  const FillPlanes<T> t = given;  // which no store can change
  T* dx = t.dx;
  for (std::ptrdiff_t p = 0; p < t.planes; ++p, dx += t.dx_plane) {
    const Vector<T> v = broadcast(t.value == nullptr ? T(0) : t.value[p * t.value_step] * t.scale + T(0));
    for (std::ptrdiff_t i = 0; i + VL <= t.size; i += VL) store(dx + i, v);
    if (t.size >= VL) {
      store(dx + t.size - VL, v);
    } else {
      store_end(dx, v, t.size);
    }
  }
}

}  // namespace
