// The dot tile: acc[MR][NC] += vector(A) * vector(B) over steps, lane by lane.
//
// Both sides come in vectors of pixels, so that sums over pixels need no packing: the rows are a gradient's channels,
// the columns taps of the input. Each step loads MR + NC vectors for MR * NC FMAs. A sum stays spread over its vector's
// lanes until the caller adds them up. Where the vectors of a masked step begin or end, lanes belong to other pixels.
#pragma once

#include "simd.hpp"
#include "table.hpp"

namespace {

using fastconv::DotTile;

// All bits of the lanes [first, last).
template <class T>
inline auto lane_mask(std::ptrdiff_t first, std::ptrdiff_t last) {
  Vector<T> lane{};
#pragma GCC unroll 16
  for (int i = 0; i < kLanes<T>; ++i) lane[i] = static_cast<T>(i);
  return (lane >= broadcast(static_cast<T>(first))) & (lane < broadcast(static_cast<T>(last)));
}

template <class T, int MR, int NC>
void dot_tile(const DotTile<T>& t) {
  constexpr int VL = kLanes<T>;
  Vector<T> acc[MR][NC] = {};
  const T* column[NC];
#pragma GCC unroll 6
  for (int j = 0; j < NC; ++j) column[j] = t.b + t.column_offset[j];

  const std::ptrdiff_t lda = t.lda;
  const auto add = [&](std::ptrdiff_t k, auto lanes) __attribute__((always_inline)) {
    const T* const a = t.a + t.a_offset[k];
    const std::ptrdiff_t at = t.b_offset[k];
    Vector<T> row[MR];
#pragma GCC unroll 4
    for (int i = 0; i < MR; ++i) row[i] = lanes(load(a + i * lda));
#pragma GCC unroll 6
    for (int j = 0; j < NC; ++j) {
      const Vector<T> x = lanes(load(column[j] + at));
#pragma GCC unroll 4
      for (int i = 0; i < MR; ++i) acc[i][j] += row[i] * x;
    }
  };
  const auto* ahead = reinterpret_cast<const char*>(t.ahead != nullptr ? t.ahead : t.b);
  const std::ptrdiff_t line = t.ahead != nullptr ? kVectorBytes : 0, other = t.ahead_step;
  for (std::ptrdiff_t k = 0; k < t.steps; ++k, ahead += line) {
    __builtin_prefetch(ahead, 0, 2);
    __builtin_prefetch(ahead + other, 0, 2);
    add(k, [](Vector<T> v) { return v; });
  }
  const auto mask = lane_mask<T>(t.first_lane, t.last_lane);
  for (std::ptrdiff_t k = t.steps; k < t.steps + t.masked_steps; ++k) {
    add(k, [&](Vector<T> v) { return mask ? v : Vector<T>{}; });
  }

#pragma GCC unroll 4
  for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 6
    for (int j = 0; j < NC; ++j) {
      T* sum = t.sums + (i * t.ld + j) * VL;
      store(sum, t.accumulate ? acc[i][j] + load(sum) : acc[i][j]);
    }
  }
}

}  // namespace
