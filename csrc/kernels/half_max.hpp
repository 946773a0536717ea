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

// Lanes that are neighbours in the keys.
inline Keys fold_taps(const HalfMax& t, const Key* p) {
  Keys best = load(p);
  for (std::ptrdiff_t tap = 1; tap < t.taps; ++tap) best = later_if_larger(best, load(p += t.tap_step));
  return best;
}

// Lanes that are two elements apart.
inline Keys fold_pairs_of_taps(const HalfMax& t, const Key* p) {
  using Order = typename MakeIndices<kLanes<Key>>::type;
  Keys best{};
  for (std::ptrdiff_t tap = 0; tap < t.taps; ++tap) {
    const Key* q = p + tap * t.tap_step;
    const Keys a = load(q), b = load(q + kLanes<Key>), even = take_even(a, b, Order{});
    best = tap == 0 ? even : later_if_larger(best, even);
    if (t.tap_step != 1 || tap + 1 == t.taps) continue;
    best = later_if_larger(best, take_odd(a, b, Order{}));
    ++tap;
  }
  return best;
}

// Along the width.
inline void fold_rows(const HalfMax& t) {
  constexpr std::ptrdiff_t VL = kLanes<Key>;
  for (std::ptrdiff_t outer = 0; outer < t.outer; ++outer) {
    for (std::ptrdiff_t inner = 0; inner < t.inner; ++inner) {
      const Key* p = t.keys + outer * t.pitch + inner * t.inner_step;
      Key* dst = t.folded + outer * t.folded_pitch + inner * t.run;
      for (std::ptrdiff_t i = 0; i < t.run; i += VL) {
        store(dst + i, t.pairs ? fold_pairs_of_taps(t, p + 2 * i) : fold_taps(t, p + i));
      }
    }
  }
}

// Along the height, and back to halves.
inline void fold_columns(const HalfMax& t) {
  constexpr std::ptrdiff_t VL = kLanes<Key>;
  Key* y = t.y;
  for (std::ptrdiff_t plane = 0; plane < t.planes; ++plane) {
    const Key* rows = t.folded + plane * t.rows * t.folded_pitch;
    for (std::ptrdiff_t out = 0; out < t.out_rows; ++out, y += t.n) {
      const std::ptrdiff_t first = t.first_row + out * t.row_step;
      for (std::ptrdiff_t i = 0; i < t.n; i += VL) {
        Keys best = Keys{} + kLeast;
        for (std::ptrdiff_t tap = 0; tap < t.row_taps; ++tap) {
          const std::ptrdiff_t row = first + tap * t.row_tap_step;
          if (row >= 0 && row < t.rows) best = later_if_larger(best, load(rows + row * t.folded_pitch + i));
        }
        const Keys halves = halves_of(best);
        if (y + i + VL <= t.y_end) {
          store(y + i, halves);
        } else {
          const std::ptrdiff_t left = t.y_end - y - i;
          __builtin_memcpy(y + i, &halves, static_cast<std::size_t>(left) * sizeof(Key));
        }
      }
    }
  }
}

inline void max_halves(const HalfMax& t) {
  spread_keys(t);
  fold_rows(t);
  fold_columns(t);
}

}  // namespace
