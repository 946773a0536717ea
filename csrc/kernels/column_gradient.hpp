// Gradients of maxima over windows that slide by one pixel, with planes or channels in the lanes: see ColumnGradient in
// cell_table.hpp.
//
// As a window slides down a column, its maximum's row never goes back up. So an element gets all that it ever gets
// while it is its column's maximum: that is added up beside the column, and stored once.
#pragma once

#include "pool_slide.hpp"
#include "table.hpp"

namespace {

using fastconv::ColumnGradient;
using fastconv::PlaceOf;

// Where lanes can be picked by a mask: else giving to each winner by itself is no slower.
#if defined(__AVX512F__)
constexpr bool kPicksLanes = true;
#else
constexpr bool kPicksLanes = false;
#endif

// The numbers of sums that are complete, one behind the other.
template <class T>
struct FinishedSums {
  using P = PlaceOf<T>;
  P* number;
  std::ptrdiff_t count = 0;

  // Those of the sums from `first` on that are not 0, in the lanes where `before` is not `place`.
  FASTCONV_INLINE void append(std::ptrdiff_t first, Vector<T> sums, Vector<P> before, Vector<P> place) {
#if defined(__AVX512F__)
    constexpr int kNotEqual = 4;
    LaneMask<T> mask = __builtin_ia32_cmpd512_mask(before, place, kNotEqual, static_cast<LaneMask<T>>(-1));
    mask = __builtin_ia32_cmpps512_mask(sums, Vector<T>{}, kNotEqual, mask, 4);
    store(number + count, __builtin_ia32_compresssi512_mask(lane_places<P>(first, 1), Vector<P>{}, mask));
    count += __builtin_popcount(mask);
#else
    static_cast<void>(first), static_cast<void>(sums), static_cast<void>(before), static_cast<void>(place);
#endif
  }
};

// The maximum of each window of the row. Returns whether columns with the same maximum met on the way, which may both
// be a window's.
template <int N, class T>
FASTCONV_INLINE bool window_maxima(const ColumnGradient<T>& t) {
  static_assert(sizeof(T) == sizeof(unsigned));
  constexpr std::ptrdiff_t VL = kLanes<T>, n = N;
  // By integers: CPUs make but one mask a cycle, and a chain of masks waits five times as long. Zeros of both signs are
  // as large; so a maximum of 0, without its sign, counts as two.
  using Bits = Vector<unsigned>;
  Bits least = ~Bits{};
  const auto bits = [](Vector<T> v) __attribute__((always_inline)) { return reinterpret_cast<Bits>(v); };
  const auto note = [&](Bits difference) __attribute__((always_inline)) {
    least = difference < least ? difference : least;
  };
  const auto larger_of = [&](Vector<T> a, Vector<T> b) __attribute__((always_inline)) {
    note(bits(a) ^ bits(b));
    return opaque<Vector<T>>(b > a ? b : a);
  };
  for (std::ptrdiff_t i = 0; i < t.windows; i += n) {
    const SlideWindows<N> windows(i - t.pad, t.columns, t.taps);
    const std::ptrdiff_t stored = t.windows - i < n ? t.windows - i : n;
    const T* const first = t.value + windows.start * VL;
    const auto at = [&](std::ptrdiff_t column) __attribute__((always_inline)) { return load(first + column * VL); };
    const auto find = [&](const auto& w) __attribute__((always_inline)) {
      const Vector<T> nothing = broadcast(-static_cast<T>(__builtin_inf()));
      Vector<T> middle = w.middle > 0 ? at(w.middle_from) : nothing, tail = nothing, most[n];
      for (std::ptrdiff_t k = 1; k < w.middle; ++k) middle = larger_of(middle, at(w.middle_from + k));
      most[n - 1] = middle;
#pragma GCC unroll 8
      for (int j = N - 2; j >= 0; --j) most[j] = w.leads(j) ? larger_of(most[j + 1], at(j)) : most[j + 1];
#pragma GCC unroll 8
      for (int j = 1; j < n; ++j) {
        if (w.trails(j - 1)) tail = j == 1 ? at(w.taps) : larger_of(tail, at(w.taps + j - 1));
        most[j] = larger_of(most[j], tail);
      }
#pragma GCC unroll 8
      for (int j = 0; j < n; ++j) {
        if (j >= stored) break;
        store(t.most + (i + j) * VL, most[j]);
        note(bits(most[j]) + bits(most[j]));
      }
    };
    with_windows(windows, find);
  }
  using P = PlaceOf<T>;
  const auto exists = lane_places<P>(0, 1) < broadcast(static_cast<P>(t.lanes));
  return any_lane<P>((least == Bits{}) & exists);
}

// Of columns with the same maximum the one wins where it comes first in the plane.
template <class T>
FASTCONV_INLINE void first_winners(const ColumnGradient<T>& t) {
  using P = PlaceOf<T>;
  constexpr std::ptrdiff_t VL = kLanes<T>;
  for (std::ptrdiff_t w = 0; w < t.windows; ++w) {
    const Vector<T> most = load(t.most + w * VL);
    Vector<P> winner = broadcast(static_cast<P>(~(P{1} << (8 * static_cast<int>(sizeof(P)) - 1))));
    const std::ptrdiff_t first = w - t.pad, end = first + t.taps < t.columns ? first + t.taps : t.columns;
    for (std::ptrdiff_t c = first < 0 ? 0 : first; c < end; ++c) {
      const Vector<P> place = load(t.place + c * VL);
      winner = ((load(t.value + c * VL) == most) & (place < winner)) ? place : winner;
    }
    store(t.winner + w * VL, winner);
  }
}

// What the row of windows gives to N columns from `column` on: each window to the one whose `mine` is its `most`. These
// have all but a few windows in common, as windows have taps in pool_slide.hpp.
template <int N, class T>
FASTCONV_INLINE void give_to_columns(const ColumnGradient<T>& t, const PlaceOf<T>* mine, const PlaceOf<T>* most,
                                     std::ptrdiff_t column, FinishedSums<T>& finished) {
  using P = PlaceOf<T>;
  constexpr int VL = kLanes<T>;
  Vector<P> own[N];
  Vector<T> sum[N];
#pragma GCC unroll 4
  for (int j = 0; j < N; ++j) {
    const std::ptrdiff_t at = (column + j) * VL;
    const Vector<P> before = load(t.before + at);
    const Vector<T> all = load(t.sum + at);
    const Vector<P> place = load(t.place + at);
    finished.append(at, all, before, place);
    sum[j] = place == before ? all : Vector<T>{};
    own[j] = load(mine + at);
  }
  const SlideWindows<N> windows(column + t.pad - t.taps + 1, t.windows, t.taps);
  const P* const best = most + windows.start * VL;
  const T* const dy = t.dy + windows.start * VL;
  const auto give = [&](std::ptrdiff_t window, int begin, int end) __attribute__((always_inline)) {
    const Vector<P> of_window = load(best + window * VL);
    const Vector<T> share = load(dy + window * VL);
#pragma GCC unroll 4
    for (int j = 0; j < N; ++j) {
      if (j >= begin && j < end) sum[j] = of_window == own[j] ? sum[j] + share : sum[j];
    }
  };
  with_windows(
      windows, [&](const auto& w) __attribute__((always_inline)) {
#pragma GCC unroll 4
        for (int i = 0; i < N - 1; ++i) {
          if (w.leads(i)) give(i, 0, i + 1);
        }
        for (std::ptrdiff_t i = 0; i < w.middle; ++i) give(w.middle_from + i, 0, N);
#pragma GCC unroll 4
        for (int i = 0; i < N - 1; ++i) {
          if (w.trails(i)) give(w.taps + i, i + 1, N);
        }
      });
#pragma GCC unroll 4
  for (int j = 0; j < N; ++j) store(t.next_sum + (column + j) * VL, sum[j]);
}

template <class T>
bool column_gradient(const ColumnGradient<T>& given) {
  using P = PlaceOf<T>;
  const ColumnGradient<T> t = given;  // which no store can change
  const bool ties = window_maxima<kFew>(t);
  if (ties) first_winners(t);
  // As integers: a maximum that only one of the columns has, and that is not 0, has its bits only.
  const P* const mine = ties ? t.place : reinterpret_cast<const P*>(t.value);
  const P* const most = ties ? t.winner : reinterpret_cast<const P*>(t.most);
  FinishedSums<T> finished{t.finished};
  std::ptrdiff_t c = 0;
  for (; c + kFew <= t.columns; c += kFew) give_to_columns<kFew>(t, mine, most, c, finished);
  for (; c < t.columns; ++c) give_to_columns<1>(t, mine, most, c, finished);
  for (std::ptrdiff_t i = 0; i < finished.count; ++i) {
    const std::ptrdiff_t from = t.finished[i];
    t.dx[t.before[from]] = t.sum[from];
  }
  return !ties;
}

}  // namespace
