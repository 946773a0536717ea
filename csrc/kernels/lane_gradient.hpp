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

// N taps, if that is known, else N is 0. Placed: the taps have places of their own.
template <int N, bool Placed, class T>
void find_lane_winners(const LaneWinners<T>& given) {
  using P = PlaceOf<T>;
  const LaneWinners<T> t = given;  // which no store can change
  const std::ptrdiff_t taps = N > 0 ? N : t.taps;
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
#pragma GCC unroll 3
      for (std::ptrdiff_t k = 1; k < taps; ++k) won = won.before(tap(k));
      store_lanes<L>(t.winner + window * t.lanes + i, won.place + spread_lanes<L>(first));
      if constexpr (!Placed) store_lanes<L>(t.best + window * t.lanes + i, won.best);
    });
  }
}

template <class T>
void lane_winners(const LaneWinners<T>& t) {
  if (t.place != nullptr) return t.taps == 3 ? find_lane_winners<3, true>(t) : find_lane_winners<0, true>(t);
  return t.taps == 3 ? find_lane_winners<3, false>(t) : find_lane_winners<0, false>(t);
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

// Rectangles of C columns, if that is known, else C is 0.
template <int C, class T>
void gather_columns(const LaneGather<T>& given) {
  const LaneGather<T> t = given;  // which no store can change
  const std::ptrdiff_t columns = C > 0 ? C : t.columns;
  for (std::ptrdiff_t pixel = 0; pixel < t.pixels; ++pixel) {
    const PlaceOf<T> here = static_cast<PlaceOf<T>>(t.first + pixel * t.place_step);
    for_each_piece<kLanes<T>>(t.lanes, [&]<int L>(Width<L>, std::ptrdiff_t i) {
      Lanes<T, L> sum{};
      for (int r = 0; r < t.rows; ++r) {
        const PlaceOf<T>* const place = t.place[r] + pixel * t.lanes + i;
        const T* const dy = t.dy[r] + pixel * t.dy_step + i;
#pragma GCC unroll 3
        for (std::ptrdiff_t c = 0; c < columns; ++c) {
          const Lanes<T, L> share = load_lanes<L>(dy + c * t.dy_step);
          sum = load_lanes<L>(place + c * t.lanes) == spread_lanes<L>(here) ? sum + share : sum;
        }
      }
      store_lanes<L>(t.dx + pixel * t.dx_step + i, sum);
    });
  }
}

template <class T>
void gather_lanes(const LaneGather<T>& t) {
  if (t.columns == 1) return gather_columns<1>(t);
  if (t.columns == 2) return gather_columns<2>(t);
  if (t.columns == 3) return gather_columns<3>(t);
  gather_columns<0>(t);
}

}  // namespace
