// Gradients of maxima over small square windows of stride 2, of planes whose rows are contiguous: see StripGradient in
// cell_table.hpp.
//
// A vector of windows walks down its plane, as in pool_roll.hpp. Each row of windows
//
//     finds in which row and column its maximum is
//     takes dy apart into KxK vectors, by taps       dy where the maximum is, else 0
//     adds them to the rows of dx that it holds      neighbours' taps come by a shift of the lanes
//
// and the rows that no later window holds are written: nothing is kept but in registers. What a vector's first lane
// does not know is what the window left of it gives: those columns are written again by the next vector, which comes
// from the right and ends with them. A vector of elements is the even or the odd half of a piece of a row.
//
// Comparisons are what this waits for (CPUs make one mask a cycle), so there is one for each row or column that joins a
// window: NaN is not looked for, but noticed at the end.
#pragma once

#include "cell_rows.hpp"
#include "pool_lanes.hpp"
#include "table.hpp"

namespace {

using fastconv::PlaceOf;
using fastconv::StripGradient;

// Of each lane, whether something is in the second of K places or behind it, and in the third.
template <class P>
struct Later {
  Vector<P> second, third;
};

// `whole` to the place that it belongs to, 0 to the others.
template <int K, class T>
FASTCONV_INLINE void take_apart(Vector<T> whole, const Later<PlaceOf<T>>& later, Vector<T> (&part)[3]) {
  const Vector<T> nothing{};
  if constexpr (K == 3) {
    part[2] = later.third ? whole : nothing;
    whole = later.third ? nothing : whole;
  }
  part[1] = later.second ? whole : nothing;
  part[0] = later.second ? nothing : whole;
}

// The same by bits, for what was kept from the row before: there it is a vector, of which GCC would make masks again,
// one for each of both cases.
template <class T>
FASTCONV_INLINE void take_apart_kept(Vector<T> whole, const Later<PlaceOf<T>>& later, Vector<T> (&part)[3]) {
  using Bits = Vector<PlaceOf<T>>;
  const Bits bits = reinterpret_cast<Bits>(whole), first_two = bits & ~later.third;
  part[2] = reinterpret_cast<Vector<T>>(bits & later.third);
  part[1] = reinterpret_cast<Vector<T>>(first_two & later.second);
  part[0] = reinterpret_cast<Vector<T>>(first_two & ~later.second);
}

// Lane i gets what lane i - N has, the first ones 0.
template <int N, class V, int... I>
FASTCONV_INLINE V from_the_left(V v, Indices<I...>) {
  constexpr int n = sizeof...(I);
  if constexpr (N == 0) return v;
  return __builtin_shufflevector(V{}, v, (n - N + I)...);
}

// Lane i gets lane i + N of two vectors side by side.
template <int N, class V, int... I>
FASTCONV_INLINE auto from_the_right(V a, V b, Indices<I...>) {
  return __builtin_shufflevector(a, b, (N + I)...);
}

// Windows that hold elements, and those behind them that would be the first to hold the last elements.
template <class T>
FASTCONV_INLINE std::ptrdiff_t lanes_of(const StripGradient<T>& t) {
  return (t.width - 1 + t.pad_left) / 2 + 1;
}

// The windows of lanes [lane, lane + VL), with KxK taps, behind `Pad` columns of padding. Edge: some of them leave the
// rows of x, or do not exist.
template <class T, int K, int Pad, bool Edge>
struct GradientStrip {
  using P = PlaceOf<T>;
  using Order = typename MakeIndices<kLanes<T>>::type;
  static constexpr int VL = kLanes<T>;
  static constexpr bool kKeeps = K == 3;  // a row that the next window needs, too
  // Maxima along a row, and in which column they are.
  struct Row {
    Vector<T> value;
    Later<P> column;
  };

  const StripGradient<T>& t;
  std::ptrdiff_t lane;
  RowTaps<T, K, 2, Edge> taps;
  Vector<P> exists;
  Vector<T> total{};      // NaN, if some element is
  Vector<T> sum[K][2]{};  // of the rows that a window holds, their even and odd elements

  FASTCONV_INLINE GradientStrip(const StripGradient<T>& gradient, std::ptrdiff_t first)
      : t(gradient), lane(first), taps(first * 2 - Pad, t.width) {
    exists = lane_places<P>(0, 1) < broadcast(static_cast<P>(t.n - lane));
  }

  // Row `row` of the plane x, folded along the width. Where all is -inf, the first element wins and not its padding.
  FASTCONV_INLINE Row row(const T* x, std::ptrdiff_t row) {
    const bool inside = row >= 0 && row < t.height;
    const T* p = inside ? x + row * t.x_row + taps.column : t.pad_row;
    T readable[taps.kReach];
    if (Edge && inside && (p < t.x_begin || p + taps.kReach > t.x_end)) {
      copy_readable(p, taps.kReach, t.x_begin, t.x_end, t.padding, readable);
      p = readable;
    }
    Vector<T> tap[K];
    load_taps<K, 2>(p, tap);
    for (int k = 0; k < K && Edge; ++k) tap[k] = taps.outside[k] ? broadcast(t.padding) : tap[k];
    Row s;
    s.column.second = tap[1] > tap[0];
    if (Edge && Pad > 0) s.column.second |= lane_places<P>(taps.column, 2) < Vector<P>{};
    s.value = opaque<Vector<T>>(tap[0] > tap[1] ? tap[0] : tap[1]);
    total += tap[0] + tap[1];
    if constexpr (K == 3) {
      s.column.third = tap[2] > s.value;
      s.value = opaque<Vector<T>>(s.value > tap[2] ? s.value : tap[2]);
      total += tap[2];
    }
    return s;
  }

  FASTCONV_INLINE Vector<T> load_dy(const T* dy) const {
    Vector<T> v = Edge && dy + VL > t.dy_end ? load_end(dy, t.n - lane) : load(dy);
    if (Edge) v = exists ? v : Vector<T>{};
    return v + T(0);  // no -0: then no sum depends on zeros that it meets
  }

  // Row R of the windows gets what is in its taps.
  template <int R>
  FASTCONV_INLINE void add_row(Vector<T> share, const Later<P>& column) {
    Vector<T> tap[3];
    constexpr bool kept = R == 0 && kKeeps;  // the windows above hold this row, too, and come first
    if constexpr (kept) {
      take_apart_kept<T>(share, column, tap);
    } else {
      take_apart<K, T>(share, column, tap);
    }
    const auto add = [&](int e, Vector<T> v) __attribute__((always_inline)) { sum[R][e] = kept ? sum[R][e] + v : v; };
    if constexpr (K == 3) {
      add(0, from_the_left<1>(tap[2], Order{}));
      sum[R][0] += tap[0];
    } else {
      add(0, tap[0]);
    }
    add(1, tap[1]);
  }

  // Columns from 2 * lane - Pad on, of which those before column 0 do not exist: what is shifted there is written
  // twice.
  FASTCONV_INLINE void store_row(const Vector<T> (&v)[2], T* dx) const {
    const std::ptrdiff_t column = 2 * lane - Pad, n = t.width - column;
    T* const to = dx + column;
    const Vector<T> a = zip_low(v[0], v[1], Order{}), b = zip_high(v[0], v[1], Order{});
    if (Edge && Pad > 0 && lane == 0) {
      store_first(dx, from_the_right<Pad>(a, b, Order{}), t.dx_end, t.width);
    } else {
      store_first(to, a, t.dx_end, n);
    }
    store_first(to + VL, b, t.dx_end, n - VL);
  }

  // Rows [t.first, t.first + t.rows) of dx.
  FASTCONV_INLINE void walk(std::ptrdiff_t plane) {
    const T* const x = t.x + plane * t.x_plane;
    const std::ptrdiff_t end = t.first + t.rows;
    std::ptrdiff_t o = (t.first + t.pad_top) / 2 - (K - 1) / 2;
    if (o < 0) o = 0;
    std::ptrdiff_t h = 2 * o - t.pad_top;
    const T* dy = t.dy + plane * t.dy_plane + o * t.dy_row + lane;
    T* dx = t.dx + plane * t.dx_plane + h * t.dx_row;
    for (std::ptrdiff_t before = t.first; before < h; ++before) {  // rows above the first window
      store_row(sum[0], t.dx + plane * t.dx_plane + before * t.dx_row);
    }
    Row kept;
    if constexpr (kKeeps) kept = row(x, h);
    for (; h < end; ++o, dy += t.dy_row) {
      if (o < t.out_rows) {
        Vector<T> share[3];
        Row top = kKeeps ? kept : row(x, h), middle = row(x, h + 1), bottom = middle;
        if constexpr (K == 3) kept = bottom = row(x, h + 2);
        // A row above the plane loses against anything that comes later, as NaN.
        const Vector<T> first = top.value + broadcast(h < 0 ? t.padding - t.padding : T(0));
        Later<P> row;
        row.second = ~(middle.value <= first);
        if constexpr (K == 3) {
          row.third = ~(bottom.value <= opaque<Vector<T>>(first > middle.value ? first : middle.value));
        }
        take_apart<K, T>(load_dy(dy), row, share);
        add_row<0>(share[0], top.column);
        add_row<1>(share[1], middle.column);
        if constexpr (K == 3) add_row<2>(share[2], bottom.column);
      } else {
        for (int r = kKeeps; r < K; ++r) sum[r][0] = sum[r][1] = Vector<T>{};
      }
#pragma GCC unroll 2
      for (int r = 0; r < 2; ++r, ++h, dx += t.dx_row) {
        if (h >= t.first && h < end) store_row(sum[r], dx);
      }
      for (int e = 0; e < 2; ++e) sum[0][e] = kKeeps ? sum[K - 1][e] : Vector<T>{};
    }
  }
};

template <class T, int K, int Pad>
bool walk_strips(const StripGradient<T>& given) {
  using P = PlaceOf<T>;
  constexpr std::ptrdiff_t VL = kLanes<T>, step = VL > 2 ? VL - (K - 1) / 2 : 1;
  StripGradient<T> t = given;  // which no store can change
  T pad_row[kTapReach<T, K, 2>];
  for (T& v : pad_row) v = t.padding;
  t.pad_row = pad_row;
  Vector<P> wrong{};
  const auto walk = [&](auto&& strip, std::ptrdiff_t plane) __attribute__((always_inline)) {
    strip.walk(plane);
    wrong |= strip.total != strip.total;
  };
  for (std::ptrdiff_t plane = 0; plane < t.planes; ++plane) {
    // From right to left: what a strip writes beyond a row is in the way of no other.
    for (std::ptrdiff_t next = lanes_of(t) - VL, lane = VL; lane > 0; next -= step) {
      lane = next > 0 ? next : 0;
      const std::ptrdiff_t left = 2 * lane - Pad;
      // Of 2x2 taps, or without padding before them, vectors at the edges are no slower.
      if (K > 2 && Pad > 0 && left >= 0 && left + 2 * (VL - 1) + K <= t.width && lane + VL <= t.n) {
        walk(GradientStrip<T, K, Pad, false>(t, lane), plane);
      } else {
        walk(GradientStrip<T, K, Pad, true>(t, lane), plane);
      }
    }
  }
  alignas(kVectorBytes) P lanes[VL];
  store(lanes, wrong);
  P any = 0;
  for (const P l : lanes) any |= l;
  return any == 0;
}

template <class T, int K>
bool strip_gradient(const StripGradient<T>& t) {
  return t.pad_left == 0 ? walk_strips<T, K, 0>(t) : walk_strips<T, K, 1>(t);
}

}  // namespace
