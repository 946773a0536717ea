// Gradients of pools: each window finds its maximum, or is told where it is, and gives its dy to that element and
// nothing to the others; or of an average, to all. See Unpool in pool_table.hpp.
//
// Nothing is read or written beyond the lanes that exist: what no whole vector fits goes in halves and quarters, or,
// where elements may be written twice, in a last vector that overlaps the one before.
#pragma once

#include "pool_lanes.hpp"
#include "table.hpp"

namespace {

using fastconv::PlaceOf;
using fastconv::Unpool;

// The taps of a window in row-major order; in pairs of neighbours for kPairs. Their numbers, or where indices are saved
// their places, are what the lanes' places are compared with.
template <class T>
struct UnpoolTaps {
  static constexpr int kMost = fastconv::kMostUnpoolTaps;
  int count = 0;
  std::ptrdiff_t x[kMost], dx[kMost];
  PlaceOf<T> place[kMost];

  UnpoolTaps(const Unpool<T>& u, int width) {
    for (std::ptrdiff_t d = 0; d < u.taps[0]; ++d) {
      for (std::ptrdiff_t h = 0; h < u.taps[1]; ++h) {
        for (std::ptrdiff_t w = 0; w < u.taps[2]; w += width, ++count) {
          const auto at = [&](const std::ptrdiff_t(&step)[3]) { return d * step[0] + h * step[1] + w * step[2]; };
          x[count] = at(u.x_tap);
          dx[count] = at(u.dx_tap);
          place[count] = static_cast<PlaceOf<T>>(u.indices == nullptr ? width * count : at(u.place_tap));
        }
      }
    }
  }
};

template <Leaf W, int L, class T>
FASTCONV_INLINE Found<T, L> find_at(const UnpoolTaps<T>& taps, int t, const T* x) {
  using Order = typename MakeIndices<L>::type;
  using P = PlaceOf<T>;
  const T* const p = x + taps.x[t];
  const Lanes<T, L> v = load_lanes<L>(p);
  if constexpr (W == Leaf::kDense) {
    return {v, spread_lanes<L>(static_cast<P>(t))};
  } else {
    const Lanes<T, L> more = load_lanes<L>(p + L);
    const Found<T, L> even{take_even(v, more, Order{}), spread_lanes<L>(static_cast<P>(2 * t))};
    return even.before({take_odd(v, more, Order{}), spread_lanes<L>(static_cast<P>(2 * t + 1))});
  }
}

// N taps from `first` on, as a tree: the comparisons wait for each other less than in a chain.
template <Leaf W, int L, int N, class T>
FASTCONV_INLINE Found<T, L> find_some(const UnpoolTaps<T>& taps, int first, const T* x) {
  if constexpr (N == 1) {
    return find_at<W, L>(taps, first, x);
  } else {
    return find_some<W, L, N / 2>(taps, first, x).before(find_some<W, L, N - N / 2>(taps, first + N / 2, x));
  }
}

// Of N taps, if that is known, else N is 0.
template <Leaf W, int L, int N, class T>
FASTCONV_INLINE Lanes<PlaceOf<T>, L> find(const UnpoolTaps<T>& taps, const T* x) {
  if constexpr (N > 0) {
    return find_some<W, L, N>(taps, 0, x).place;
  } else {
    Found<T, L> found = find_at<W, L>(taps, 0, x);
    int t = 1;
    for (; W == Leaf::kDense && t + 4 <= taps.count; t += 4) found = found.before(find_some<W, L, 4>(taps, t, x));
    for (; t < taps.count; ++t) found = found.before(find_at<W, L>(taps, t, x));
    return found.place;
  }
}

// Stores wait for what memory holds there: this asks for it earlier than the hardware would.
template <Leaf W, class T>
FASTCONV_INLINE void ask_ahead(const T* dx) {
  constexpr int kAhead = 2048 / sizeof(T);
  __builtin_prefetch(dx + kAhead, 1);
  if constexpr (W == Leaf::kPairs) __builtin_prefetch(dx + kAhead + kLanes<T>, 1);
}

// f(tap) for all; N of them, if that is known, else N is 0.
template <int N, class T, class F>
FASTCONV_INLINE void for_each_tap(const UnpoolTaps<T>& taps, F&& f) {
  if constexpr (N > 0) {
#pragma GCC unroll 9
    for (int t = 0; t < N; ++t) f(t);
  } else {
    for (int t = 0; t < taps.count; ++t) f(t);
  }
}

// Each tap gets dy where `place` says so, else nothing. Returns the lanes whose place is one of the taps.
template <Leaf W, int L, int N, bool Add, class T>
FASTCONV_INLINE Lanes<PlaceOf<T>, L> spread(const UnpoolTaps<T>& taps, Lanes<PlaceOf<T>, L> place,
                                            std::ptrdiff_t neighbour, Lanes<T, L> dy, T* dx) {
  using Order = typename MakeIndices<L>::type;
  Lanes<PlaceOf<T>, L> taken{};
  const auto share = [&](PlaceOf<T> tap) {
    const auto here = place == spread_lanes<L>(tap);
    taken |= here;
    return here ? dy : Lanes<T, L>{};
  };
  for_each_tap<N>(taps, [&](int t) {
    T* const p = dx + taps.dx[t];
    if constexpr (L == kLanes<T>) ask_ahead<W>(p);
    Lanes<T, L> v = share(taps.place[t]);
    if constexpr (W == Leaf::kPairs) {
      const Lanes<T, L> odd = share(static_cast<PlaceOf<T>>(taps.place[t] + neighbour));
      store_lanes<L>(p + L, zip_high(v, odd, Order{}));
      v = zip_low(v, odd, Order{});
    }
    if constexpr (Add) v += load_lanes<L>(p);
    store_lanes<L>(p, v);
  });
  return taken;
}

// Each tap gets dy.
template <Leaf W, int L, int N, bool Add, class T>
FASTCONV_INLINE void give_all(const UnpoolTaps<T>& taps, Lanes<T, L> dy, T* dx) {
  using Order = typename MakeIndices<L>::type;
  for_each_tap<N>(taps, [&](int t) {
    T* const p = dx + taps.dx[t];
    if constexpr (L == kLanes<T>) ask_ahead<W>(p);
    if constexpr (W == Leaf::kPairs) {
      store_lanes<L>(p, zip_low(dy, dy, Order{}));
      store_lanes<L>(p + L, zip_high(dy, dy, Order{}));
    } else {
      store_lanes<L>(p, Add ? load_lanes<L>(p) + dy : dy);
    }
  });
}

// Windows of 2x2: the maximum of each, found by one comparison for each pair, gets dy, and the other elements 0. NaN is
// not looked for; lanes of windows that have one (or inf as well as -inf) are returned.
template <int L, class T>
FASTCONV_INLINE Lanes<PlaceOf<T>, L> spread_square(const UnpoolTaps<T>& taps, const T* x, Lanes<T, L> dy, T* dx) {
  using Order = typename MakeIndices<L>::type;
  using V = Lanes<T, L>;
  V even[2], odd[2];
  for (int row = 0; row < 2; ++row) {
    const V a = load_lanes<L>(x + taps.x[row]), b = load_lanes<L>(x + taps.x[row] + L);
    even[row] = take_even(a, b, Order{}), odd[row] = take_odd(a, b, Order{});
  }
  const V total = (even[0] + odd[0]) + (even[1] + odd[1]), nothing{};
  const V top = even[0] > odd[0] ? even[0] : odd[0], bottom = even[1] > odd[1] ? even[1] : odd[1];
  const auto below = bottom > top;
  for (int row = 0; row < 2; ++row) {
    T* const p = dx + taps.dx[row];
    if constexpr (L == kLanes<T>) ask_ahead<Leaf::kPairs>(p);
    const V share = row == 0 ? (below ? nothing : dy) : (below ? dy : nothing);
    const auto later = odd[row] > even[row];
    const V first = later ? nothing : share, second = later ? share : nothing;
    store_lanes<L>(p, zip_low(first, second, Order{}));
    store_lanes<L>(p + L, zip_high(first, second, Order{}));
  }
  return total != total;
}

// What tells who gets dy, if that is known: the elements of windows of 2x2, saved indices, or nothing. Loops that look
// for it at each vector are up to 1.4 times as slow.
enum class Source { kAny, kSquare, kSaved, kNone };

// A row of windows: where its first lane's arrays start.
template <class T>
struct UnpoolRow {
  const T* x;
  const std::int64_t* indices;
  const T* dy;
  T* dx;
  std::ptrdiff_t place;
};

// Calls f(row) for each of them; f's second argument tells whether another one follows in the same plane.
template <class T, class F>
FASTCONV_INLINE void for_each_row(const Unpool<T>& u, F&& f) {
  for (std::ptrdiff_t o = 0; o < u.outer; ++o) {
    for (std::ptrdiff_t i = 0; i < u.rows; ++i) {
      const auto at = [&](auto* p, const std::ptrdiff_t(&step)[2]) {
        return p == nullptr ? p : p + o * step[0] + i * step[1];
      };
      f(UnpoolRow<T>{at(u.x, u.x_step), at(u.indices, u.indices_step), at(u.dy, u.dy_step), at(u.dx, u.dx_step),
                     u.place + o * u.place_step[0] + i * u.place_step[1]},
        i + 1 < u.rows);
    }
  }
}

template <Leaf W, int L, int N, bool Add, Source From, class T>
FASTCONV_INLINE void unpool_block(const Unpool<T>& u, const UnpoolTaps<T>& taps, const UnpoolRow<T>& r,
                                  std::ptrdiff_t lane, PlaceOf<T>* strays) {
  using P = PlaceOf<T>;
  using Order = typename MakeIndices<L>::type;
  const std::ptrdiff_t offset = W == Leaf::kPairs ? 2 * lane : lane;
  // No -0: then no sum depends on zeros that it meets.
  const Lanes<T, L> dy = load_lanes<L>(r.dy + lane) * u.scale + T(0);
  if constexpr (From == Source::kSquare) {
    const auto unsure = spread_square<L>(taps, r.x + offset, dy, r.dx + offset);
    store_lanes<L>(strays, load_lanes<L>(strays) | unsure);
    return;
  }
  if constexpr (From == Source::kAny) {
    if (u.x != nullptr) {
      spread<W, L, N, Add>(taps, find<W, L, N>(taps, r.x + offset), 1, dy, r.dx + offset);
      return;
    }
  }
  if (From == Source::kNone || (From == Source::kAny && u.indices == nullptr)) {
    give_all<W, L, N, Add>(taps, dy, r.dx + offset);
    return;
  }
  Lanes<P, L> lost{};
  const auto index = take_saved<L, P>(r.indices + lane, lost);
  const auto first = lanes_from<P>(r.place + lane * u.place_lane, u.place_lane, Order{});
  const auto taken = spread<W, L, N, Add>(taps, index - first, u.place_tap[2], dy, r.dx + offset);
  const auto exist = lanes_from<P>(lane, 1, Order{}) < spread_lanes<L>(static_cast<P>(u.n));
  store_lanes<L>(strays, load_lanes<L>(strays) | ((lost | ~(taken | (index == spread_lanes<L>(P{-1})))) & exist));
}

template <Leaf W, int L, int N, bool Add, Source From, class T>
inline void unpool_row(const Unpool<T>& u, const UnpoolTaps<T>& taps, const UnpoolRow<T>& r, std::ptrdiff_t lane,
                       PlaceOf<T>* strays) {
  for (; lane + L <= u.n; lane += L) unpool_block<W, L, N, Add, From>(u, taps, r, lane, strays);
  if (lane == u.n) return;
  if (!Add && u.n >= L) {
    unpool_block<W, L, N, Add, From>(u, taps, r, u.n - L, strays);
  } else if constexpr (L > 1) {
    unpool_row<W, (L > 4 ? L / 2 : 1), N, Add, From>(u, taps, r, lane, strays);
  }
}

template <Leaf W, int N, bool Add, Source From = Source::kAny, class T>
bool unpool_rows(const Unpool<T>& given) {
  constexpr int VL = kLanes<T>;
  const Unpool<T> u = given;  // a copy that no store can change
  const UnpoolTaps<T> taps(u, W == Leaf::kPairs ? 2 : 1);
  const bool spill = W == Leaf::kPairs && u.spill && u.n < VL && 2 * u.n > VL;
  alignas(kVectorBytes) PlaceOf<T> strays[VL] = {};
  for_each_row(u, [&](const UnpoolRow<T>& row, bool more) {
    if (W == Leaf::kPairs && spill && more) {
      unpool_block<W, VL, N, Add, From>(u, taps, row, 0, strays);
    } else {
      unpool_row<W, VL, N, Add, From>(u, taps, row, 0, strays);
    }
  });
  PlaceOf<T> any = 0;
  for (const PlaceOf<T> stray : strays) any |= stray;
  return any == 0;
}

// One window in each row: no lanes. N taps, if that is known, else N is 0.
template <int N, class T>
bool unpool_single(const Unpool<T>& given) {
  const Unpool<T> u = given;
  const UnpoolTaps<T> taps(u, 1);
  const int count = N > 0 ? N : taps.count;
  bool valid = true;
  for_each_row(u, [&](const UnpoolRow<T>& row, bool) {
    const T dy = *row.dy * u.scale + T(0);
    std::int64_t place = u.indices != nullptr ? *row.indices - row.place : 0;
    bool taken = u.indices == nullptr || *row.indices == -1;
    if (u.x != nullptr) {
      T best = row.x[taps.x[0]];
      for (int t = 1; t < count; ++t) {
        const T v = row.x[taps.x[t]];
        const bool keep = (best >= v) | (best != best);
        best = keep ? best : v;
        place = keep ? place : t;
      }
    }
    const bool all = u.x == nullptr && u.indices == nullptr;
    for (int t = 0; t < count; ++t) {
      const bool here = all | (place == taps.place[t]);
      taken |= here;
      T* const p = row.dx + taps.dx[t];
      *p = (here ? dy : T(0)) + (u.add ? *p : T(0));
    }
    valid &= taken;
  });
  return valid;
}

template <class T>
bool unpool(const Unpool<T>& u) {
  const std::ptrdiff_t taps = u.taps[0] * u.taps[1] * u.taps[2];
  if (u.n == 1) return taps == 2 ? unpool_single<2>(u) : unpool_single<0>(u);
  if constexpr (kCompact) {
    return u.add ? unpool_rows<Leaf::kDense, 0, true>(u) : unpool_rows<Leaf::kDense, 0, false>(u);
  }
  if (u.add) return taps == 9 ? unpool_rows<Leaf::kDense, 9, true>(u) : unpool_rows<Leaf::kDense, 0, true>(u);
  return taps == 4 ? unpool_rows<Leaf::kDense, 4, false>(u) : unpool_rows<Leaf::kDense, 0, false>(u);
}

template <class T>
bool unpool_pairs(const Unpool<T>& u) {
  const bool square = !kCompact && u.taps[0] * u.taps[1] == 2;
  if (square && u.indices != nullptr) return unpool_rows<Leaf::kPairs, 2, false, Source::kSaved>(u);
  if (square && u.x == nullptr) return unpool_rows<Leaf::kPairs, 2, false, Source::kNone>(u);
  if (square && unpool_rows<Leaf::kPairs, 2, false, Source::kSquare>(u)) return true;
  return unpool_rows<Leaf::kPairs, 0, false>(u);
}

}  // namespace
