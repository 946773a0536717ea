// Maxima of float16 in 16-bit integers: see HalfMax in pool_table.hpp.
//
// A key is an integer of the same order: positive halves are their bits, of negative ones all bits but the sign are
// turned over. NaN is larger than all others, whatever its sign. Zeros of both signs are neighbours, -1 and 0, and
// equal where it matters: the earlier one stays.
#pragma once

#include "pool_lanes.hpp"
#include "table.hpp"

namespace {

using fastconv::HalfMax;
using Key = std::int16_t;
using Keys = Vector<Key>;

constexpr Key kNothing = -0x8000;    // below all keys
constexpr Key kLeast = -0x7c00 - 1;  // of -inf
constexpr Key kGreatest = 0x7c00;    // of inf; beyond are NaN
constexpr Key kNegativeZero = -1;

inline Keys keys_of(Keys bits) {
  const Keys magnitude = bits & Key{0x7fff}, key = bits ^ (bits >> 15 & Key{0x7fff});
  return magnitude > kGreatest ? magnitude : key;
}
inline Keys halves_of(Keys keys) { return keys ^ (keys >> 15 & Key{0x7fff}); }

inline Keys later_if_larger(Keys best, Keys later) { return later > best - (best == kNegativeZero) ? later : best; }

// Rows between margins. Vectors spill into what is written later.
inline void spread_keys(const HalfMax& t) {
  constexpr std::ptrdiff_t VL = kLanes<Key>;
  const Key* x = t.x;
  Key* dst = t.keys;
  for (std::ptrdiff_t i = 0; i < t.lead; i += VL) store(dst + i, Keys{} + kNothing);
  dst += t.lead;
  for (std::ptrdiff_t row = 0; row < t.planes * t.rows; ++row, x += t.count, dst += t.pitch) {
    for (std::ptrdiff_t i = 0; i < t.count; i += VL) {
      const bool inside = x + i + VL <= t.x_end;
      store(dst + i, keys_of(inside ? load(x + i) : load_tail(x + i, static_cast<int>(t.x_end - x - i))));
    }
    for (std::ptrdiff_t i = t.count; i < t.pitch; i += VL) store(dst + i, Keys{} + kNothing);
  }
}

// The taps of a window in each lane: neighbours, or (Pairs) two elements apart. Taps is their number, or 0: t.taps.
template <bool Pairs, int Taps>
FASTCONV_INLINE Keys fold_taps(const HalfMax& t, const Key* p) {
  using Order = typename MakeIndices<kLanes<Key>>::type;
  const std::ptrdiff_t taps = Taps > 0 ? Taps : t.taps;
  Keys best{};
#pragma GCC unroll 3
  for (std::ptrdiff_t tap = 0; tap < taps; ++tap) {
    const Key* q = p + tap * t.tap_step;
    Keys v = load(q);
    if constexpr (Pairs) v = take_even(v, load(q + kLanes<Key>), Order{});
    best = tap == 0 ? v : later_if_larger(best, v);
  }
  return best;
}

template <bool Pairs, int Taps>
inline void fold_runs(const HalfMax& t) {
  constexpr std::ptrdiff_t VL = kLanes<Key>;
  for (std::ptrdiff_t outer = 0; outer < t.outer; ++outer) {
    for (std::ptrdiff_t inner = 0; inner < t.inner; ++inner) {
      const Key* p = t.keys + outer * t.pitch + inner * t.inner_step;
      Key* dst = t.folded + outer * t.folded_pitch + inner * t.run;
      for (std::ptrdiff_t i = 0; i < t.run; i += VL) store(dst + i, fold_taps<Pairs, Taps>(t, p + (Pairs ? 2 * i : i)));
    }
  }
}

// Along the width.
template <bool Pairs>
inline void fold_rows(const HalfMax& t) {
  if (t.taps == 2) {
    fold_runs<Pairs, 2>(t);
  } else if (t.taps == 3) {
    fold_runs<Pairs, 3>(t);
  } else {
    fold_runs<Pairs, 0>(t);
  }
}

// One row of windows along the height, of `taps` rows that exist, and back to halves.
template <int Taps>
FASTCONV_INLINE void fold_column(const HalfMax& t, const Key* rows, std::ptrdiff_t given_taps, Key* y) {
  constexpr std::ptrdiff_t VL = kLanes<Key>;
  const std::ptrdiff_t taps = Taps > 0 ? Taps : given_taps, step = t.row_tap_step * t.folded_pitch;
  for (std::ptrdiff_t i = 0; i < t.n; i += VL) {
    Keys best = Keys{} + kLeast;
#pragma GCC unroll 3
    for (std::ptrdiff_t tap = 0; tap < taps; ++tap) best = later_if_larger(best, load(rows + tap * step + i));
    const Keys halves = halves_of(best);
    if (y + i + VL <= t.y_end) {
      store(y + i, halves);
    } else {
      __builtin_memcpy(y + i, &halves, static_cast<std::size_t>(t.y_end - y - i) * sizeof(Key));
    }
  }
}

// Along the height.
inline void fold_columns(const HalfMax& t) {
  Key* y = t.y;
  for (std::ptrdiff_t plane = 0; plane < t.planes; ++plane) {
    const Key* rows = t.folded + plane * t.rows * t.folded_pitch;
    for (std::ptrdiff_t out = 0; out < t.out_rows; ++out, y += t.n) {
      std::ptrdiff_t row = t.first_row + out * t.row_step, taps = t.row_taps;
      for (; taps > 0 && row < 0; row += t.row_tap_step) --taps;
      while (taps > 0 && row + (taps - 1) * t.row_tap_step >= t.rows) --taps;
      const Key* first = rows + row * t.folded_pitch;
      if (taps == 2) {
        fold_column<2>(t, first, taps, y);
      } else if (taps == 3) {
        fold_column<3>(t, first, taps, y);
      } else {
        fold_column<0>(t, first, taps, y);
      }
    }
  }
}

inline void max_halves(const HalfMax& t) {
  spread_keys(t);
  if (t.pairs) {
    fold_rows<true>(t);
  } else {
    fold_rows<false>(t);
  }
  fold_columns(t);
}

}  // namespace
