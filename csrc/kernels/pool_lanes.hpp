// What the kernels of pooling share: windows in the lanes of vectors of any width.
#pragma once

#include "shuffles.hpp"
#include "simd.hpp"
#include "table.hpp"

namespace {

// How the lanes of one tap are loaded: p[0], p[1], ... or p[0], p[2], ...
enum class Leaf { kDense, kPairs };

// L lanes, as many as there are or half and a quarter of that.
template <class T, int L>
using Lanes = typename Piece<T, L>::type;

template <int L, class T>
FASTCONV_INLINE Lanes<T, L> load_lanes(const T* p) {
  return *reinterpret_cast<const typename Piece<T, L>::unaligned*>(p);
}
template <int L, class T>
FASTCONV_INLINE void store_lanes(T* p, Lanes<T, L> v) {
  *reinterpret_cast<typename Piece<T, L>::unaligned*>(p) = v;
}

// first, first + step, ...
template <class P>
FASTCONV_INLINE Vector<P> lane_places(std::ptrdiff_t first, std::ptrdiff_t step) {
  return count_up<P>(typename MakeIndices<kLanes<P>>::type{}) * broadcast(static_cast<P>(step)) +
         broadcast(static_cast<P>(first));
}

template <int L, class P>
FASTCONV_INLINE Lanes<P, L> spread_lanes(P place) {
  return place - Lanes<P, L>{};
}

// first, first + step, ...
template <class P, int... I>
FASTCONV_INLINE Lanes<P, sizeof...(I)> lanes_from(std::ptrdiff_t first, std::ptrdiff_t step, Indices<I...>) {
  constexpr int L = sizeof...(I);
  // Written as numbers, first + I * step would be computed one by one.
  return Lanes<P, L>{static_cast<P>(I)...} * spread_lanes<L>(static_cast<P>(step)) +
         spread_lanes<L>(static_cast<P>(first));
}

// L windows: the maxima of some of their taps, and which taps these are.
template <class T, int L>
struct Found {
  Lanes<T, L> best;
  Lanes<fastconv::PlaceOf<T>, L> place;

  // Ties stay with the earlier one; so does NaN.
  FASTCONV_INLINE Found before(const Found& later) const {
    const auto take = ~(later.best <= best) & (best == best);
    return {take ? later.best : best, take ? later.place : place};
  }
};

// Saved indices made narrow; `lost` is not 0 where 32 bits lose some of them.
template <int L, class P>
FASTCONV_INLINE Lanes<P, L> take_saved(const std::int64_t* p, Lanes<P, L>& lost) {
  if constexpr (sizeof(P) == sizeof(std::int64_t)) {
    return load_lanes<L>(p);
  } else {
    using Order = typename MakeIndices<L>::type;
    const P* const halves = reinterpret_cast<const P*>(p);  // the low one first
    const Lanes<P, L> a = load_lanes<L>(halves), b = load_lanes<L>(halves + L);
    const Lanes<P, L> low = take_even(a, b, Order{}), high = take_odd(a, b, Order{});
    lost |= high ^ (low >> 31);
    return low;
  }
}

// ---- the taps of a row of windows, S elements apart -----------------------------------------------------------------

// Elements that they are loaded from.
template <class T, int K, int S>
inline constexpr int kTapReach = S == 1 ? kLanes<T> + K - 1 : 2 * kLanes<T> + K - 2;

// For S = 2, the last of an odd number is the odd half of loads one element before it: an even half would read one
// element too many.
template <int K, int S, class T>
FASTCONV_INLINE void load_taps(const T* p, Vector<T> (&tap)[K]) {
  using Order = typename MakeIndices<kLanes<T>>::type;
  constexpr int VL = kLanes<T>;
  if constexpr (S == 1) {
    for (int k = 0; k < K; ++k) tap[k] = load_once(p + k);
  } else {
    for (int k = 0; k + 1 < K; k += 2) {
      const Vector<T> a = load_once(p + k), b = load_once(p + k + VL);
      tap[k] = take_even(a, b, Order{});
      tap[k + 1] = take_odd(a, b, Order{});
    }
    if constexpr (K % 2 == 1) tap[K - 1] = take_odd(load(p + K - 2), load(p + K - 2 + VL), Order{});
  }
}

// The elements of p[0..n) that may be read; the others are padding.
template <class T>
__attribute__((noinline)) void copy_readable(const T* p, int n, const T* begin, const T* end, T padding, T* to) {
  for (int i = 0; i < n; ++i) to[i] = p + i >= begin && p + i < end ? p[i] : padding;
}

// The taps of lanes [lane, lane + VL) of a row of windows, the first tap of which is in column lane * S - pad_left of
// x. Edge: some of them leave the rows of x, or do not exist.
template <class T, int K, int S, bool Edge>
struct RowTaps {
  using P = fastconv::PlaceOf<T>;
  static constexpr int kReach = kTapReach<T, K, S>;

  std::ptrdiff_t column;  // of the first lane's first tap
  // Each tap's column. Padding has the first element's: it is as small as any, and an earlier one keeps a tie.
  Vector<P> at[K];
  Vector<P> outside[K];  // lanes whose tap is padding

  FASTCONV_INLINE RowTaps(std::ptrdiff_t first, std::ptrdiff_t width) : column(first) {
    for (int k = 0; k < K; ++k) {
      at[k] = lane_places<P>(column + k, S);
      if (!Edge) continue;
      outside[k] = (at[k] < Vector<P>{}) | (at[k] >= broadcast(static_cast<P>(width)));
      at[k] = at[k] < Vector<P>{} ? Vector<P>{} : at[k];
    }
  }

  // From the row of t.x that starts at `row`.
  template <class Planes>
  FASTCONV_INLINE void load_from(const Planes& t, const T* row, Vector<T> (&tap)[K]) const {
    const T* p = row + column;
    T readable[kReach];
    if (Edge && (p < t.x_begin || p + kReach > t.x_end)) {
      copy_readable(p, kReach, t.x_begin, t.x_end, t.padding, readable);
      p = readable;
    }
    load_taps<K, S>(p, tap);
    for (int k = 0; k < K && Edge; ++k) tap[k] = outside[k] ? broadcast(t.padding) : tap[k];
  }
};

template <class P>
FASTCONV_INLINE bool any_lane(Vector<P> v) {
  alignas(kVectorBytes) P lane[kLanes<P>];
  store(lane, v);
  P any = 0;
  for (const P l : lane) any |= l;
  return any != 0;
}

// ---- ends of rows ---------------------------------------------------------------------------------------------------

// Tails are functions of their own: in line, they would make vectors take the way through memory in every iteration.
template <class T>
__attribute__((noinline)) Vector<T> load_end(const T* p, std::ptrdiff_t n) {
  return load_tail(p, n <= 0 ? 0 : n < kLanes<T> ? static_cast<int>(n) : kLanes<T>);
}
template <class T>
__attribute__((noinline)) void store_end(T* p, Vector<T> v, std::ptrdiff_t n) {
  store_tail(p, v, static_cast<int>(n));
}

// Whole vectors up to `end`, which is that of the last row, or null where rows do not follow each other.
template <class T>
FASTCONV_INLINE void store_first(T* p, Vector<T> v, const T* end, std::ptrdiff_t n) {
  if (__builtin_expect(n >= kLanes<T> || p + kLanes<T> <= end, 1)) {
    store(p, v);
  } else if (n > 0) {
    store_end(p, v, n);
  }
}

}  // namespace
