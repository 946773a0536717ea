// Gradients of maxima with channels in the lanes: what each pixel receives from the windows that hold it. See
// LaneGather in cell_table.hpp.
#pragma once

#include "cell_rows.hpp"
#include "pool_lanes.hpp"
#include "table.hpp"

namespace {

using fastconv::LaneGather;
using fastconv::LaneWinners;
using fastconv::PlaceOf;
using fastconv::SavedLanes;

// ---- which tap wins -------------------------------------------------------------------------------------------------

// The larger of two, the earlier one of equals, with its place; unlike Found::before, NaN is missed.
template <class T, int L>
FASTCONV_INLINE Found<T, L> larger_of(const Found<T, L>& a, const Found<T, L>& b) {
  const auto later = b.best > a.best;
  Lanes<T, L> best = b.best > a.best ? b.best : a.best;
  if constexpr (L == kLanes<T>) best = opaque(best);  // else compilers merge the two, and x86 has an instruction for it
  return {best, later ? b.place : a.place};
}

// N taps, if that is known, else N is 0. Placed: the taps have places of their own. Careful: NaN counts; else it only
// makes the result false, unless Placed.
template <int N, bool Placed, bool Careful, class T>
bool find_lane_winners(const LaneWinners<T>& given) {
  using P = PlaceOf<T>;
  const LaneWinners<T> t = given;  // which no store can change
  const std::ptrdiff_t taps = N > 0 ? N : t.taps;
  Vector<T> total{};
  alignas(kVectorBytes) T totals[kLanes<T>] = {};  // of narrower pieces
  for (std::ptrdiff_t window = 0; window < t.windows; ++window) {
    const T* const value = t.value + window * t.step;
    const P* const place = Placed ? t.place + window * t.step : nullptr;
    const P first = static_cast<P>(t.first_place + static_cast<P>(window) * t.window_place);
    for_each_piece<kLanes<T>>(t.lanes, [&]<int L>(Width<L>, std::ptrdiff_t i) {
      const auto tap = [&](std::ptrdiff_t k) {
        const std::ptrdiff_t at = i + k * t.tap_step;
        Found<T, L> found{load_lanes<L>(value + at), spread_lanes<L>(static_cast<P>(static_cast<P>(k) * t.tap_place))};
        if constexpr (Placed) found.place += load_lanes<L>(place + at);
        return found;
      };
      Found<T, L> won = tap(0);
      Lanes<T, L> sum = won.best;
#pragma GCC unroll 3
      for (std::ptrdiff_t k = 1; k < taps; ++k) {
        const Found<T, L> next = tap(k);
        sum += next.best;
        won = Careful ? won.before(next) : larger_of<T, L>(won, next);
      }
      store_lanes<L>(t.winner + window * t.lanes + i, won.place + spread_lanes<L>(first));
      if constexpr (Placed) return;
      store_lanes<L>(t.best + window * t.lanes + i, won.best);
      if constexpr (Careful) return;
      if constexpr (L == kLanes<T>) {
        total += sum;
      } else {
        store_lanes<L>(totals, load_lanes<L>(totals) + sum);
      }
    });
  }
  if constexpr (Placed || Careful) return true;
  total += load(totals);
  return !any_lane<P>(total != total);
}

// Of a single window: kWide vectors at a time, so that runs of several lines are read of each tap, which lies far from
// the next one.
constexpr int kWide = kVectorBytes == 64 ? 8 : 4;
template <class T>
bool find_wide_winners(const LaneWinners<T>& given) {
  using P = PlaceOf<T>;
  constexpr std::ptrdiff_t VL = kLanes<T>;
  const LaneWinners<T> t = given;  // which no store can change
  Vector<T> total[4] = {};
  for (std::ptrdiff_t next = 0; next < t.lanes; next += kWide * VL) {
    const std::ptrdiff_t i = next + kWide * VL <= t.lanes ? next : t.lanes - kWide * VL;  // the last ones may overlap
    const T* tap = t.value + i;
    Vector<P> place{};
    Found<T, kLanes<T>> won[kWide];
#pragma GCC unroll 8
    for (int j = 0; j < kWide; ++j) won[j] = {load(tap + j * VL), place};
    for (std::ptrdiff_t k = 0; k < t.taps; ++k, tap += t.tap_step, place += broadcast(t.tap_place)) {
#pragma GCC unroll 8
      for (int j = 0; j < kWide; ++j) {
        const Found<T, kLanes<T>> found{load(tap + j * VL), place};
        won[j] = larger_of<T, kLanes<T>>(won[j], found);
        total[j % 4] += found.best;
      }
    }
#pragma GCC unroll 8
    for (int j = 0; j < kWide; ++j) {
      store(t.winner + i + j * VL, won[j].place + broadcast(t.first_place));
      store(t.best + i + j * VL, won[j].best);
    }
  }
  const Vector<T> all = (total[0] + total[1]) + (total[2] + total[3]);
  return !any_lane<P>(all != all);
}

template <class T>
bool lane_winners(const LaneWinners<T>& t) {
  if (t.careful) {
    return t.place != nullptr ? find_lane_winners<0, true, true>(t) : find_lane_winners<0, false, true>(t);
  }
  if (t.place != nullptr) {
    return t.taps == 3 ? find_lane_winners<3, true, false>(t) : find_lane_winners<0, true, false>(t);
  }
  if (t.windows == 1 && t.taps > 3 && t.lanes >= kWide * kLanes<T>) return find_wide_winners(t);
  return t.taps == 3 ? find_lane_winners<3, false, false>(t) : find_lane_winners<0, false, false>(t);
}

// Those that are no element of their window, and not -1, are strays.
template <int L, class T>
FASTCONV_INLINE Lanes<PlaceOf<T>, L> take_places(const SavedLanes<T>& t, const std::int64_t* indices,
                                                 std::ptrdiff_t first, PlaceOf<T>* to) {
  using P = PlaceOf<T>;
  Lanes<P, L> lost{};
  const Lanes<P, L> place = take_saved<L, P>(indices, lost), width = spread_lanes<L>(static_cast<P>(t.width));
  Lanes<P, L> tap = place - spread_lanes<L>(static_cast<P>(first));
  for (std::ptrdiff_t h = 1; h < t.taps[0]; ++h) tap = tap >= width ? tap - width : tap;
  store_lanes<L>(to, place);
  const auto inside = (tap >= Lanes<P, L>{}) & (tap < spread_lanes<L>(static_cast<P>(t.taps[1])));
  return lost | ~(inside | (place == spread_lanes<L>(P{-1})));
}

template <class T>
bool saved_lanes(const SavedLanes<T>& given) {
  using P = PlaceOf<T>;
  constexpr int VL = kLanes<T>;
  const SavedLanes<T> t = given;  // which no store can change
  alignas(kVectorBytes) P strays[VL] = {};
  for (std::ptrdiff_t window = 0; window < t.windows; ++window) {
    const std::int64_t* const indices = t.indices + window * t.indices_step;
    P* const to = t.place + window * t.lanes;
    for_each_piece<VL>(t.lanes, [&]<int L>(Width<L>, std::ptrdiff_t i) {
      const auto stray = take_places<L>(t, indices + i, t.first + window * t.place_step, to + i);
      store_lanes<L>(strays, load_lanes<L>(strays) | stray);
    });
  }
  P any = 0;
  for (const P stray : strays) any |= stray;
  return any == 0;
}

// ---- what a pixel receives ------------------------------------------------------------------------------------------

// Rectangles of R rows and C columns, if that is known, else R and C are 0. Whole: of vectors only.
template <int R, int C, bool Whole, class T>
void gather_rectangles(const LaneGather<T>& given) {
  constexpr std::ptrdiff_t VL = kLanes<T>;
  const LaneGather<T> t = given;  // which no store can change
  const std::ptrdiff_t rows = R > 0 ? R : t.rows, columns = C > 0 ? C : t.columns;
  for (std::ptrdiff_t pixel = 0; pixel < t.pixels; ++pixel) {
    const PlaceOf<T> here = static_cast<PlaceOf<T>>(t.first + pixel * t.place_step);
    T* const dx = t.dx + pixel * t.dx_step;
    const auto piece = [&]<int L>(Width<L>, std::ptrdiff_t i) __attribute__((always_inline)) {
      Lanes<T, L> sum{};
#pragma GCC unroll 3
      for (std::ptrdiff_t r = 0; r < rows; ++r) {
        const PlaceOf<T>* const place = opaque(t.place[r] + pixel * t.window_step + i);
        const T* const dy = opaque(t.dy[r] + pixel * t.dy_step + i);
#pragma GCC unroll 3
        for (std::ptrdiff_t c = 0; c < columns; ++c) {
          const Lanes<T, L> share = load_lanes<L>(dy + c * t.dy_step);
          sum = load_lanes<L>(place + c * t.window_step) == spread_lanes<L>(here) ? sum + share : sum;
        }
      }
      store_lanes<L>(dx + i, sum);
    };
    if constexpr (Whole) {
      std::ptrdiff_t i = 0;
      for (; i + VL <= t.lanes; i += VL) piece(Width<kLanes<T>>{}, i);
      if (i < t.lanes) piece(Width<kLanes<T>>{}, t.lanes - VL);
    } else {
      for_each_piece<kLanes<T>>(t.lanes, piece);
    }
  }
}

template <class T>
void gather_lanes(const LaneGather<T>& t) {
  const auto is = [&](int rows, int columns) { return t.rows == rows && t.columns == columns; };
  if (t.lanes < kLanes<T> || kCompact) return gather_rectangles<0, 0, false>(t);
  if (is(1, 1)) return gather_rectangles<1, 1, true>(t);
  if (is(1, 2)) return gather_rectangles<1, 2, true>(t);
  if (is(2, 1)) return gather_rectangles<2, 1, true>(t);
  if (is(2, 2)) return gather_rectangles<2, 2, true>(t);
  if (is(3, 3)) return gather_rectangles<3, 3, true>(t);
  gather_rectangles<0, 0, true>(t);
}

}  // namespace
