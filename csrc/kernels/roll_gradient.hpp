// Gradients of maxima over small square windows of planes whose rows are contiguous: see RollGradient in
// cell_table.hpp.
//
// A vector of windows walks down its plane, as in pool_roll.hpp, and leaves each window's winner behind: its place in
// the plane. Then every element looks at the windows that hold it, in row-major order, and adds up the dy of those
// whose winner it is. For stride 2 a vector of elements is the even or the odd half of a piece of a row.
#pragma once

#include "pool_lanes.hpp"
#include "table.hpp"

namespace {

using fastconv::PlaceOf;
using fastconv::RollGradient;

// The windows of lanes [lane, lane + VL), with KxK taps. Edge: some of them leave the rows of x, or do not exist.
template <class T, int K, int S, bool Edge>
struct Strip {
  using P = PlaceOf<T>;
  using Row = Found<T, kLanes<T>>;
  static constexpr int VL = kLanes<T>, kKept = K > S ? K - S : 0;

  const RollGradient<T>& t;
  std::ptrdiff_t lane, column;  // the first lane, and its first tap
  // Each tap's column. Padding has the first element's: it is as small as any, and an earlier one keeps a tie.
  Vector<P> at[K];
  Vector<P> outside[K];  // lanes whose tap is padding

  FASTCONV_INLINE Strip(const RollGradient<T>& gradient, std::ptrdiff_t first)
      : t(gradient), lane(first), column(first * S - gradient.pad_left) {
    for (int k = 0; k < K; ++k) {
      at[k] = lane_places<P>(column + k, S);
      if (!Edge) continue;
      outside[k] = (at[k] < Vector<P>{}) | (at[k] >= broadcast(static_cast<P>(t.width)));
      at[k] = at[k] < Vector<P>{} ? Vector<P>{} : at[k];
    }
  }

  // Row `row` of the plane x, folded along the width.
  FASTCONV_INLINE Row row(const T* x, std::ptrdiff_t row) const {
    const Vector<P> place = broadcast(static_cast<P>((row > 0 ? row : 0) * t.width));
    if (row < 0 || row >= t.height) return {broadcast(t.padding), at[0] + place};
    constexpr int reach = kTapReach<T, K, S>;
    const T* p = x + row * t.x_row + column;
    T readable[reach];
    if (Edge && (p < t.x_begin || p + reach > t.x_end)) {
      copy_readable(p, reach, t.x_begin, t.x_end, t.padding, readable);
      p = readable;
    }
    Vector<T> tap[K];
    load_taps<K, S>(p, tap);
    const auto of = [&](int k) { return Row{Edge ? (outside[k] ? broadcast(t.padding) : tap[k]) : tap[k], at[k]}; };
    Row s = of(0);
    for (int k = 1; k < K; ++k) s = s.before(of(k));
    return {s.best, s.place + place};
  }

  // Rows [first, last) of windows; the first of them goes to `to`, and its dy to `share`.
  FASTCONV_INLINE void walk(std::ptrdiff_t plane, std::ptrdiff_t first, std::ptrdiff_t last, P* to, T* share) const {
    const T* const x = t.x + plane * t.x_plane;
    const T* dy = t.dy + plane * t.dy_plane + first * t.dy_row + lane;
    const Vector<P> absent = lane_places<P>(0, 1) >= broadcast(static_cast<P>(t.n - lane));
    std::ptrdiff_t in = first * S - t.pad_top;
    Row kept[kKept + 1];  // rows that the next window needs, too
    for (int k = 0; k < kKept; ++k) kept[k] = row(x, in + k);
    for (std::ptrdiff_t o = first; o < last; ++o, in += S, dy += t.dy_row, to += t.pitch, share += t.pitch) {
      Row window[K];
      for (int k = 0; k < K; ++k) window[k] = k < kKept ? kept[k] : row(x, in + k);
      for (int k = 0; k < kKept; ++k) kept[k] = window[k + S];
      Row won = window[0];
      for (int k = 1; k < K; ++k) won = won.before(window[k]);
      store(to + lane, Edge ? won.place | absent : won.place);
      store(share + lane, Edge && t.n < VL && dy + VL > t.dy_end ? load_end(dy, t.n) : load(dy));
    }
  }
};

// Where the rows of windows that hold rows of dx lie while a plane is worked on; those beyond y have no winners.
template <class T, int K, int S>
struct WindowRows {
  std::ptrdiff_t first, last;  // all of them
  std::ptrdiff_t begin, end;   // in y

  FASTCONV_INLINE explicit WindowRows(const RollGradient<T>& t)
      : first((t.first + t.pad_top) / S - (K - 1) / S), last((t.first + t.rows - 1 + t.pad_top) / S + 1) {
    begin = first > 0 ? first : 0;
    end = last < t.out_rows ? last : t.out_rows;
    if (end < begin) end = begin = last;
  }
};

template <class T, int K, int S>
FASTCONV_INLINE void find_rows(const RollGradient<T>& t, const WindowRows<T, K, S>& rows, std::ptrdiff_t plane) {
  using P = PlaceOf<T>;
  constexpr std::ptrdiff_t VL = kLanes<T>;
  const auto nothing = [&](std::ptrdiff_t from, std::ptrdiff_t to) {
    for (std::ptrdiff_t i = (from - rows.first) * t.pitch; i < (to - rows.first) * t.pitch; i += VL) {
      store(t.place + i, broadcast(P{-1}));
    }
  };
  nothing(rows.first, rows.begin);
  P* const place = t.place + (rows.begin - rows.first) * t.pitch;
  T* const share = t.share + (rows.begin - rows.first) * t.pitch;
  for (std::ptrdiff_t next = 0; next < t.n; next += VL) {
    // The last vector overlaps the one before it.
    const std::ptrdiff_t lane = next + VL > t.n && t.n > VL ? t.n - VL : next;
    const std::ptrdiff_t left = lane * S - t.pad_left;
    if (t.n >= VL && left >= 0 && left + (VL - 1) * S + K <= t.width) {
      Strip<T, K, S, false>(t, lane).walk(plane, rows.begin, rows.end, place, share);
    } else {
      Strip<T, K, S, true>(t, lane).walk(plane, rows.begin, rows.end, place, share);
    }
  }
  nothing(rows.end, rows.last);
}

// The sum for elements whose first window, of those whose tap of row R and column C they are, lies at `at`, and whose
// own places are `cell`.
template <class T, int K, int S, int R, int C>
FASTCONV_INLINE Vector<T> gather_dy(const RollGradient<T>& t, std::ptrdiff_t at, Vector<PlaceOf<T>> cell) {
  Vector<T> sum{};
#pragma GCC unroll 5
  for (int i = (K - 1 - R) / S; i >= 0; --i) {
    const PlaceOf<T>* place = t.place + at - i * t.pitch;
    const T* share = t.share + at - i * t.pitch;
    if constexpr (S == 1) place = opaque(place), share = opaque(share);
#pragma GCC unroll 5
    for (int j = (K - 1 - C) / S; j >= 0; --j) {
      const Vector<T> dy = load(share - j);
      sum = load(place - j) == cell ? sum + dy : sum;
    }
  }
  return sum;
}

// A row of dx, which is the R-th of the rows of its phase; column 0 is C-th.
template <class T, int K, int S, int R, int C>
FASTCONV_INLINE void gather_row(const RollGradient<T>& t, std::ptrdiff_t at, std::ptrdiff_t place, T* dx,
                                const T* ahead) {
  using Order = typename MakeIndices<kLanes<T>>::type;
  using P = PlaceOf<T>;
  constexpr int VL = kLanes<T>;
  at += (t.pad_left - C) / S;
  for (std::ptrdiff_t w = 0; w < t.width; w += S * VL) {
    const Vector<P> cell = lane_places<P>(place + w, S);
    const std::ptrdiff_t window = at + w / S, n = t.width - w;
    __builtin_prefetch(ahead + w);
    if (S > 1) __builtin_prefetch(ahead + w + VL);
    const Vector<T> a = gather_dy<T, K, S, R, C>(t, window, cell);
    if constexpr (S == 1) {
      store_first(dx + w, a, t.dx_end, n);
    } else {
      const Vector<T> b = gather_dy<T, K, S, R, (C + 1) % S>(t, window + (C + 1) / S, cell + broadcast(P{1}));
      store_first(dx + w, zip_low(a, b, Order{}), t.dx_end, n);
      store_first(dx + w + VL, zip_high(a, b, Order{}), t.dx_end, n - VL);
    }
  }
}

template <class T, int K, int S, int C>
void roll_planes(const RollGradient<T>& given) {
  const RollGradient<T> t = given;  // which no store can change
  const WindowRows<T, K, S> rows(t);
  for (std::ptrdiff_t plane = 0; plane < t.planes; ++plane) {
    find_rows<T, K, S>(t, rows, plane);
    const T* const ahead = t.x + (plane + 1) * t.x_plane;
    for (std::ptrdiff_t h = t.first; h < t.first + t.rows; ++h) {
      const std::ptrdiff_t row = h + t.pad_top, at = (row / S - rows.first) * t.pitch;
      T* const dx = t.dx + plane * t.dx_plane + h * t.dx_row;
      if (S == 1 || row % S == 0) {
        gather_row<T, K, S, 0, C>(t, at, h * t.width, dx, ahead + h * t.x_row);
      } else {
        gather_row<T, K, S, S - 1, C>(t, at, h * t.width, dx, ahead + h * t.x_row);
      }
    }
  }
}

template <class T, int K, int S>
void roll_gradient(const RollGradient<T>& t) {
  if (S == 1 || t.pad_left % S == 0) return roll_planes<T, K, S, 0>(t);
  roll_planes<T, K, S, S - 1>(t);
}

}  // namespace
