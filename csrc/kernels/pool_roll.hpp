// Windows of 2x2 and 3x3 over planes with contiguous rows: see Roll in pool_table.hpp.
//
// A vector of windows walks down its plane. Of every row of x it loads the taps, right from x: what lies outside
// becomes padding in the register. So nothing is copied, and nothing is folded twice.
#pragma once

#include "pool_fold.hpp"

namespace {

using fastconv::Roll;

// Places are twice as large as elements of float32, and stores wait for what memory holds there.
constexpr std::ptrdiff_t kRowsAhead = 8;
FASTCONV_INLINE void ask_ahead(const std::int64_t* indices) {
  __builtin_prefetch(indices, 1);
  if constexpr (kVectorBytes == 64) __builtin_prefetch(indices + 8, 1);
}

template <class State>
constexpr bool kPlaced = requires(State s) { s.place; };

template <class T, class State>
FASTCONV_INLINE void set_tap(State& s, Vector<T> v, Vector<PlaceOf<T>> place) {
  s.value[0] = v;
  if constexpr (kPlaced<State>) s.place[0] = place;
}

// The windows of lanes [lane, lane + VL). Edge: some of them leave the rows of x, or do not exist.
template <class T, template <class, int> class State, int K, int S, bool Edge>
struct Column {
  using P = PlaceOf<T>;
  using Row = State<T, 1>;
  static constexpr int VL = kLanes<T>;

  const Roll<T>& t;
  RowTaps<T, K, S, Edge> taps;

  FASTCONV_INLINE Column(const Roll<T>& roll, std::ptrdiff_t lane) : t(roll), taps(lane * S - roll.pad_left, t.width) {}

  // Row `row` of the plane x, folded along the width.
  FASTCONV_INLINE Row row(const T* x, std::ptrdiff_t row) const {
    Row s;
    const Vector<P> place = broadcast(static_cast<P>((row > 0 ? row : 0) * t.width));
    if (row < 0 || row >= t.height) {
      set_tap<T>(s, broadcast(t.padding), taps.at[0] + place);
      return s;
    }
    Vector<T> tap[K];
    taps.load_from(t, x + row * t.x_row, tap);
    set_tap<T>(s, tap[0], taps.at[0]);
    for (int k = 1; k < K; ++k) {
      Row later;
      set_tap<T>(later, tap[k], taps.at[k]);
      s.combine(later);
    }
    if constexpr (kPlaced<Row>) s.place[0] += place;
    return s;
  }

  FASTCONV_INLINE void walk(std::ptrdiff_t plane, std::ptrdiff_t lane) const {
    const T* const x = t.x + plane * t.x_plane;
    T* y = t.y + plane * t.y_plane + lane;
    std::int64_t* index = t.indices + plane * t.indices_plane + lane;
    std::ptrdiff_t in = t.first * S - t.pad_top;
    Row last[2];  // rows that the next window needs, too
    for (int k = 0; k < K - S; ++k) last[k] = row(x, in + k);
    for (std::ptrdiff_t i = 0; i < t.rows; ++i, in += S) {
      Row window[K];
      for (int k = 0; k < K; ++k) window[k] = k < K - S ? last[k] : row(x, in + k);
      for (int k = 0; k < K - S; ++k) last[k] = window[k + S];
      for (int k = 1; k < K; ++k) window[0].combine(window[k]);
      finish_row(window[0], y, index, i, lane);
      y += t.y_row;
      index += t.indices_row;
    }
  }

  FASTCONV_INLINE void finish_row(Row& s, T* y, std::int64_t* index, std::ptrdiff_t i, std::ptrdiff_t lane) const {
    if (t.scale != nullptr) s.value[0] *= load(t.scale[i] + lane);
    constexpr bool placed = kPlaced<Row>;
    if constexpr (placed) ask_ahead(index + kRowsAhead * t.indices_row);
    if (!Edge || t.n >= VL || (y + VL <= t.y_end && (!placed || index + VL <= t.indices_end))) {
      store(y, s.value[0]);
      if constexpr (placed) store_wide<true>(index, s.place[0], VL);
    } else {
      store_tail(y, s.value[0], static_cast<int>(t.n));
      if constexpr (placed) store_wide<false>(index, s.place[0], t.n);
    }
  }
};

template <class T, template <class, int> class State, int K, int S>
void pool_roll(const Roll<T>& given) {
  constexpr std::ptrdiff_t VL = kLanes<T>;
  const Roll<T> t = given;  // which no store can change
  for (std::ptrdiff_t plane = 0; plane < t.planes; ++plane) {
    for (std::ptrdiff_t next = 0; next < t.n; next += VL) {
      // The last vector overlaps the one before it.
      const std::ptrdiff_t lane = next + VL > t.n && t.n > VL ? t.n - VL : next;
      const std::ptrdiff_t left = lane * S - t.pad_left;
      if (left >= 0 && left + (VL - 1) * S + K <= t.width) {
        Column<T, State, K, S, false>(t, lane).walk(plane, lane);
      } else {
        Column<T, State, K, S, true>(t, lane).walk(plane, lane);
      }
    }
  }
}

}  // namespace
