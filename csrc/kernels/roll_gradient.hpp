// Gradients of maxima over small square windows of planes whose rows are contiguous: see RollGradient in
// cell_table.hpp.
//
// A vector of windows walks down its plane, as in pool_roll.hpp, and leaves each window's winner behind: its place in
// the plane. Then every element looks at the windows that hold it, in row-major order, and adds up the dy of those
// whose winner it is. For stride 2 a vector of elements is the even or the odd half of a piece of a row.
#pragma once

#include "cell_rows.hpp"
#include "pool_lanes.hpp"
#include "table.hpp"

namespace {

using fastconv::PlaceOf;
using fastconv::RollGradient;

// Windows whose maxima strip_gradient.hpp finds: of single precision, and of 3x3 taps where vectors are long.
template <class T, int K, int S>
inline constexpr bool kByStrips = sizeof(T) == sizeof(float) && S == 2 && kVectorBytes >= (K == 2 ? 32 : 64);

// Asks for the rows of dx that a row of windows comes to first, in the columns of L windows from `lane` on: strips of
// dx are nothing that the hardware foresees.
template <int L, int K, int S, class T>
FASTCONV_INLINE void ask_for_gradient(const RollGradient<T>& t, std::ptrdiff_t plane, std::ptrdiff_t o,
                                      std::ptrdiff_t lane) {
  const T* const dx = t.dx + plane * t.dx_plane + (o * S - t.pad_top) * t.dx_row + lane * S;
  for (int row = 0; row < S; ++row) {
    for (int i = 0; i < S * L; i += kLanes<T>) __builtin_prefetch(dx + row * t.dx_row + i, 1);
  }
}

// The windows of lanes [lane, lane + VL), with KxK taps. Edge: some of them leave the rows of x, or do not exist.
template <class T, int K, int S, bool Edge>
struct Strip {
  using P = PlaceOf<T>;
  using Row = Found<T, kLanes<T>>;
  static constexpr int VL = kLanes<T>, kKept = K > S ? K - S : 0;

  const RollGradient<T>& t;
  std::ptrdiff_t lane;
  RowTaps<T, K, S, Edge> taps;

  FASTCONV_INLINE Strip(const RollGradient<T>& gradient, std::ptrdiff_t first)
      : t(gradient), lane(first), taps(first * S - gradient.pad_left, t.width) {}

  // Row `row` of the plane x, folded along the width.
  FASTCONV_INLINE Row row(const T* x, std::ptrdiff_t row) const {
    const Vector<P> place = broadcast(static_cast<P>((row > 0 ? row : 0) * t.width));
    if (row < 0 || row >= t.height) return {broadcast(t.padding), taps.at[0] + place};
    Vector<T> tap[K];
    taps.load_from(t, x + row * t.x_row, tap);
    Row s{tap[0], taps.at[0]};
    for (int k = 1; k < K; ++k) s = s.before({tap[k], taps.at[k]});
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
      ask_for_gradient<VL, K, S>(t, plane, o, lane);
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

// The saved places of the windows of lanes [lane, lane + L), and their dy. `strays` becomes negative where a place is
// no element of its window.
template <int L, class T, int K, int S>
FASTCONV_INLINE void take_saved_strip(const RollGradient<T>& t, const WindowRows<T, K, S>& rows, std::ptrdiff_t plane,
                                      std::ptrdiff_t lane, PlaceOf<T>* strays) {
  using P = PlaceOf<T>;
  using Places = Lanes<P, L>;
  const auto all = [](std::ptrdiff_t place) { return spread_lanes<L>(static_cast<P>(place)); };
  const Places width = all(t.width), last = all(t.width * t.height - 1), step = all(S * t.width);
  // Of each window: its first column, and those of its taps that are columns of x.
  const Places column = lanes_from<P>(lane * S - t.pad_left, S, typename MakeIndices<L>::type{});
  const Places first = column < Places{} ? -column : Places{};
  const Places behind = column + all(K) > width ? width - column : all(K);
  Places start = column + all((rows.begin * S - t.pad_top) * t.width), stray{};
  const std::int64_t* index = t.indices + plane * t.indices_plane + rows.begin * t.indices_row + lane;
  const T* dy = t.dy + plane * t.dy_plane + rows.begin * t.dy_row + lane;
  std::ptrdiff_t to = (rows.begin - rows.first) * t.pitch + lane;
  for (std::ptrdiff_t o = rows.begin; o < rows.end; ++o, index += t.indices_row, dy += t.dy_row, to += t.pitch) {
    Places lost{};
    const Places place = take_saved<L, P>(index, lost);
    const std::int64_t* const later = index + 8 * t.indices_row;
    for (int i = 0; i < L; i += 8) __builtin_prefetch(later + i);
    Places tap = place - start;
    for (int k = 1; k < K; ++k) tap = tap >= width ? tap - width : tap;
    stray |= lost | -lost | place | (last - place) | (tap - first) | (behind - all(1) - tap);
    store_lanes<L>(t.place + to, place);
    store_lanes<L>(t.share + to, load_lanes<L>(dy));
    start += step;
  }
  store_lanes<L>(strays, load_lanes<L>(strays) | (stray < Places{}));
}

template <class T, int K, int S>
FASTCONV_INLINE void find_rows(const RollGradient<T>& t, const WindowRows<T, K, S>& rows, std::ptrdiff_t plane,
                               PlaceOf<T>* strays) {
  using P = PlaceOf<T>;
  constexpr std::ptrdiff_t VL = kLanes<T>;
  const auto nothing = [&](std::ptrdiff_t from, std::ptrdiff_t to) {
    for (std::ptrdiff_t i = (from - rows.first) * t.pitch; i < (to - rows.first) * t.pitch; i += VL) {
      store(t.place + i, broadcast(P{-1}));
    }
  };
  nothing(rows.first, rows.begin);
  nothing(rows.end, rows.last);
  if constexpr (K == 2 || VL >= fastconv::kFollowedLanes) {
    if (t.indices != nullptr) {
      for_each_piece<kLanes<T>>(
          t.n, [&]<int L>(Width<L>, std::ptrdiff_t lane) { take_saved_strip<L>(t, rows, plane, lane, strays); });
      return;
    }
  }
  if constexpr (kByStrips<T, K, S>) return;
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
}

// Columns [column, column + S * VL) of dx, the first of which is the C-th tap of some window: rows of windows go by
// from top to bottom, and each adds to the rows of dx that it holds, which stay in registers meanwhile.
template <class T, int K, int S, int C>
struct GatherStrip {
  using P = PlaceOf<T>;
  using Order = typename MakeIndices<kLanes<T>>::type;
  static constexpr int VL = kLanes<T>;
  // The windows that hold these columns, counted from those whose first column is the strip's, less C.
  static constexpr int kFirst = C < (K - 1) / S ? C - (K - 1) / S : 0, kWindows = C - kFirst + 1;

  const RollGradient<T>& t;
  std::ptrdiff_t column;
  Vector<T> sum[K][S];   // every S-th column, of the rows that the next windows hold
  Vector<P> cell[K][S];  // their places, less that of the windows' first row

  FASTCONV_INLINE GatherStrip(const RollGradient<T>& gradient, std::ptrdiff_t first) : t(gradient), column(first) {
    for (int row = 0; row < K; ++row) {
      for (int e = 0; e < S; ++e) {
        sum[row][e] = Vector<T>{};
        cell[row][e] = lane_places<P>(row * t.width + column + e, S);
      }
    }
  }

  // A row of windows, the first of which is at `place` and `share`, and their first row starts at `start`.
  FASTCONV_INLINE void add(const P* place, const T* share, std::ptrdiff_t start) {
    Vector<P> won[kWindows];
    Vector<T> dy[kWindows];
    const std::ptrdiff_t at = (column + t.pad_left - C) / S + kFirst;
    for (int i = 0; i < kWindows; ++i) {
      won[i] = load(place + at + i) - broadcast(static_cast<P>(start));
      dy[i] = load_once(share + at + i);
    }
#pragma GCC unroll 3
    for (int row = 0; row < K; ++row) {
#pragma GCC unroll 2
      for (int e = 0; e < S; ++e) {
#pragma GCC unroll 3
        for (int back = (K - 1 - (C + e) % S) / S; back >= 0; --back) {
          const int i = (C + e) / S - back - kFirst;
          sum[row][e] = won[i] == cell[row][e] ? sum[row][e] + dy[i] : sum[row][e];
        }
      }
    }
  }

  FASTCONV_INLINE void store_row(int row, T* dx) const {
    const std::ptrdiff_t n = t.width - column;
    if constexpr (S == 1) {
      store_first(dx, sum[row][0], t.dx_end, n);
    } else {
      store_first(dx, zip_low(sum[row][0], sum[row][1], Order{}), t.dx_end, n);
      store_first(dx + VL, zip_high(sum[row][0], sum[row][1], Order{}), t.dx_end, n - VL);
    }
  }

  // The first S rows are done.
  FASTCONV_INLINE void next_rows() {
    for (int row = 0; row < K; ++row) {
      for (int e = 0; e < S; ++e) sum[row][e] = row + S < K ? sum[row + S][e] : Vector<T>{};
    }
  }

  FASTCONV_INLINE void walk(const WindowRows<T, K, S>& rows, T* dx, const T* ahead) {
    const P* place = t.place;
    const T* share = t.share;
    std::ptrdiff_t h = rows.first * S - t.pad_top;
    for (std::ptrdiff_t o = rows.first; o < rows.last; ++o, place += t.pitch, share += t.pitch) {
      add(place, share, h * t.width);
#pragma GCC unroll 2
      for (int row = 0; row < S; ++row, ++h) {
        if (h < t.first || h >= t.first + t.rows) continue;
        __builtin_prefetch(ahead + h * t.x_row + column);
        if (S > 1) __builtin_prefetch(ahead + h * t.x_row + column + VL);
        store_row(row, dx + h * t.dx_row + column);
      }
      next_rows();
    }
  }
};

template <class T, int K, int S, int C>
bool roll_planes(const RollGradient<T>& given) {
  constexpr std::ptrdiff_t VL = kLanes<T>;
  const RollGradient<T> t = given;  // which no store can change
  const WindowRows<T, K, S> rows(t);
  alignas(kVectorBytes) PlaceOf<T> strays[kLanes<T>] = {};
  for (std::ptrdiff_t plane = 0; plane < t.planes; ++plane) {
    find_rows<T, K, S>(t, rows, plane, strays);
    // What comes next: the rows behind these, or the next plane.
    const T* const ahead = t.indices == nullptr ? t.x + plane * t.x_plane + t.rows * t.x_row
                                                : t.dx + plane * t.dx_plane + t.rows * t.dx_row;
    T* const dx = t.dx + plane * t.dx_plane;
    // From right to left: what the last strip writes beyond a row is in the way of no other.
    for (std::ptrdiff_t w = (t.width - 1) / (S * VL) * (S * VL); w >= 0; w -= S * VL) {
      GatherStrip<T, K, S, C>(t, w).walk(rows, dx, ahead);
    }
  }
  PlaceOf<T> any = 0;
  for (const PlaceOf<T> stray : strays) any |= stray;
  return any == 0;
}

template <class T, int K, int S>
bool roll_gradient(const RollGradient<T>& t) {
  if (kByStrips<T, K, S> && t.indices == nullptr) return false;
  if (S == 1 || t.pad_left % S == 0) return roll_planes<T, K, S, 0>(t);
  return roll_planes<T, K, S, S - 1>(t);
}

}  // namespace
