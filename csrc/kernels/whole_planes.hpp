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

// Lane i: the fold of the lanes of v[i], in any order. Each step leaves half as many vectors, each of which has half as
// much of twice as many.
template <class T, int H = kLanes<T> / 2, class F>
FASTCONV_INLINE Vector<T> fold_lanes_of(Vector<T> (&v)[kLanes<T>], F&& f) {
  using Order = typename MakeIndices<kLanes<T>>::type;
#pragma GCC unroll 8
  for (int i = 0; i < H; ++i) {
    v[i] = f(exchange_low<H>(v[i], v[i + H], Order{}), exchange_high<H>(v[i], v[i + H], Order{}));
  }
  if constexpr (H > 1) {
    return fold_lanes_of<T, H / 2>(v, f);
  } else {
    return v[0];
  }
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

// A plane's maxima, lane by lane. All elements are added to `total` unless that is null.
template <bool Careful, class T>
FASTCONV_INLINE Vector<T> lane_maxima(const T* plane, std::ptrdiff_t size, Vector<T>* total) {
  constexpr std::ptrdiff_t VL = kLanes<T>, N = 4;
  Vector<T> most = load(plane + last_vector<T>(size)), sum = most;
  const auto take = [](Vector<T> next, Vector<T> & m, Vector<T> & s) __attribute__((always_inline)) {
    m = larger<Careful, T>(m, next);
    s += next;
  };
  std::ptrdiff_t i = vector_before<T>(size);
  if (i >= N * VL) {  // long enough for chains that do not wait for each other
    Vector<T> mosts[N] = {most, most, most, most}, sums[N] = {sum};
    for (; i >= (N - 1) * VL; i -= N * VL) {
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) take(load(plane + i - n * VL), mosts[n], sums[n]);
    }
    most = larger<Careful, T>(larger<Careful, T>(mosts[0], mosts[1]), larger<Careful, T>(mosts[2], mosts[3]));
    sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  }
  for (; i >= 0; i -= VL) take(load(plane + i), most, sum);
  if (total != nullptr) *total += sum;
  return most;
}

// The maxima of `planes` planes, at most VL. Unless Careful, NaN may be missed, but not by `total`, which then has one.
template <bool Careful, class T>
FASTCONV_INLINE Vector<T> maxima(const WholePlanes<T>& t, const T* x, int planes, Vector<T>* total) {
  constexpr int VL = kLanes<T>;
  Vector<T> v[VL];
  for (int p = 0; p < VL; ++p) v[p] = lane_maxima<Careful, T>(x + (p < planes ? p : 0) * t.x_plane, t.size, total);
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
  store(most, maxima<true, T>(t, x, planes, nullptr));
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
    const Vector<T> m = maxima<false, T>(t, x, planes, &total);
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

// Where VL planes are: every fourth one, since two steps lead from there to the next three. A pointer for each plane
// would be loaded for each use.
template <class T>
struct PlanePointers {
  static constexpr int kCount = (kLanes<T> + 3) / 4;
  const T* fourth[kCount];
  std::ptrdiff_t step;

  FASTCONV_INLINE PlanePointers(const T* x, std::ptrdiff_t x_plane) : step(x_plane) {
    for (int i = 0; i < kCount; ++i) fourth[i] = opaque(x + 4 * i * x_plane);
  }
  FASTCONV_INLINE void advance(std::ptrdiff_t columns) {
    for (const T*& p : fourth) p = opaque(p + columns);
  }
  FASTCONV_INLINE const T* plane(int i) const { return fourth[i / 4] + i % 4 * step; }
};

// Of VL planes: rows are transposed some columns at a time and added up at once, without a way through memory. What
// that reads behind a row is the next one, or up to half a vector behind the last plane.
template <class T>
FASTCONV_INLINE Vector<T> row_sums(const WholePlaneSums<T>& t, const T* x, std::ptrdiff_t x_plane) {
  constexpr int VL = kLanes<T>, W = kPieceColumns<T>;
  PlanePointers<T> planes(x, x_plane);
  const T* ahead = x + VL * x_plane;  // the next planes come to L1 meanwhile, a vector's bytes for each that is added
  const auto row = [&] {
    Vector<T> sum{};
    for (std::ptrdiff_t column = 0; column < t.taps[2]; column += W) {
      Vector<T> v[W];
      load_columns<T, W>([&](int i) __attribute__((always_inline)) { return planes.plane(i) + column; }, v);
      sum = column == 0 ? v[0] : sum + v[0];
#pragma GCC unroll 8
      for (int i = 1; i < W; ++i) {
        __builtin_prefetch(ahead);
        ahead += VL;
        if (column + i < t.taps[2]) sum += v[i];
      }
    }
    planes.advance(t.taps[2]);
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
    if (t.x_plane != size || left < VL || size < VL || x + VL * size + VL > t.x_end) {
      for (std::ptrdiff_t p = 0; p < planes; ++p) {
        __builtin_memcpy(t.pixels + p * size, x + p * t.x_plane, static_cast<std::size_t>(size) * sizeof(T));
      }
      x = t.pixels;
    }
    store_first(t.y + first, row_sums(t, x, size) * t.scale, t.y + t.planes, planes);
  }
}

// Of planes that follow each other without gaps: what is not less than its plane's maximum gets the plane's dy, the
// others 0. Each line of dx is written once: one vector of each plane has lanes of the next plane, too. Returns how
// many are less.
template <class T>
FASTCONV_INLINE std::ptrdiff_t give_to_largest(const WholePlanes<T>& t, const T* x, const T* most, const T* dy,
                                               int planes, T* dx) {
  using P = PlaceOf<T>;
  constexpr std::ptrdiff_t VL = kLanes<T>;
  const Vector<P> lanes = lane_places<P>(0, 1);
  Vector<P> less{};  // minus the number
  const auto give = [&](std::ptrdiff_t i, Vector<T> best, Vector<T> share) __attribute__((always_inline)) {
    const auto here = load(x + i) < best;
    store(dx + i, here ? Vector<T>{} : share);
    return here;
  };
  std::ptrdiff_t i = 0, end = 0;
  Vector<T> best{}, share{};
  for (int p = 0; p < planes; ++p, end += t.size) {
    const Vector<T> next_best = broadcast(most[p]), next_share = broadcast(dy[p * t.dy_step] + T(0));
    if (i < end) {
      const auto before = lanes < broadcast(static_cast<P>(end - i));
      less += give(i, before ? best : next_best, before ? share : next_share);
      i += VL;
    }
    best = next_best, share = next_share;
    for (; i + VL <= end + t.size; i += VL) less += give(i, best, share);
  }
  if (i < end) less += give(end - VL, best, share) & (lanes >= broadcast(static_cast<P>(i - (end - VL))));
  alignas(kVectorBytes) P lane[VL];
  store(lane, less);
  std::ptrdiff_t number = 0;
  for (const P l : lane) number -= l;
  return number;
}

// The first maximum of each plane gets its dy, the others 0. All that equal the maximum do, and NaN, until it turns out
// that there were too many.
template <class T>
void whole_plane_gradient(const WholePlanes<T>& given) {
  using P = PlaceOf<T>;
  constexpr int VL = kLanes<T>;
  const WholePlanes<T> t = given;  // which no store can change
  for (std::ptrdiff_t first = 0; first < t.planes; first += VL) {
    const int planes = t.planes - first < VL ? static_cast<int>(t.planes - first) : VL;
    const T *const x = t.x + first * t.size, *const dy = t.dy + first * t.dy_step;
    T* const dx = t.dx + first * t.size;
    alignas(kVectorBytes) T most[VL];
    alignas(kVectorBytes) P place[VL];
    store(most, maxima<false, T>(t, x, planes, nullptr));
    if (give_to_largest(t, x, most, dy, planes, dx) == planes * (t.size - 1)) continue;
    careful_maxima(t, x, planes, most, place);
    for (int p = 0; p < planes; ++p) {
      T* const to = dx + p * t.size;
      for (std::ptrdiff_t i = 0; i + VL <= t.size; i += VL) store(to + i, Vector<T>{});
      store(to + last_vector<T>(t.size), Vector<T>{});
      to[place[p]] = dy[p * t.dy_step] + T(0);
    }
  }
}

template <class T>
void fill_planes(const FillPlanes<T>& given) {
  constexpr std::ptrdiff_t VL = kLanes<T>;
  FillPlanes<T> t = given;  // which no store can change
  if (t.value == nullptr && t.dx_plane == t.size) t.size *= t.planes, t.planes = 1;
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
