// The dot tile: acc[MR][NC] += vector(A) * vector(B) over steps, lane by lane.
//
// Both sides come in vectors of pixels, so that sums over pixels need no packing: the rows are a gradient's channels,
// the columns taps of the input. Each step loads MR + NC vectors for MR * NC FMAs. A sum stays spread over its vector's
// lanes until the caller adds them up. In masked steps, the input's lanes from t.lanes on belong to other pixels.
#pragma once

#include "simd.hpp"
#include "table.hpp"

namespace {

using fastconv::DotTile;

template <class T>
inline Vector<T> first_lanes(Vector<T> v, Vector<T> count) {
  Vector<T> lane{};
#pragma GCC unroll 16
  for (int i = 0; i < kLanes<T>; ++i) lane[i] = static_cast<T>(i);
  return lane < count ? v : Vector<T>{};
}

template <class T, int MR, int NC>
void dot_tile(const DotTile<T>& t) {
  constexpr int VL = kLanes<T>;
  Vector<T> acc[MR][NC] = {};
  const T* column[NC];
#pragma GCC unroll 6
  for (int j = 0; j < NC; ++j) column[j] = t.b + t.column_offset[j];

  const auto add = [&](const T* a, std::ptrdiff_t lda, std::ptrdiff_t at, auto lanes) __attribute__((always_inline)) {
    Vector<T> row[MR];
#pragma GCC unroll 4
    for (int i = 0; i < MR; ++i) row[i] = load(a + i * lda);
#pragma GCC unroll 6
    for (int j = 0; j < NC; ++j) {
      const Vector<T> x = lanes(load(column[j] + at));
#pragma GCC unroll 4
      for (int i = 0; i < MR; ++i) acc[i][j] += row[i] * x;
    }
  };
  const std::ptrdiff_t lda = t.lda;
  const T* a = t.a;
  const std::ptrdiff_t* at = t.step_offset;
  const T* ahead = t.ahead != nullptr ? t.ahead : t.b;
  const std::ptrdiff_t line = t.ahead != nullptr ? VL : 0, other = t.ahead_step;
  for (std::ptrdiff_t k = 0; k < t.steps; ++k, a += VL, ahead += line) {
    __builtin_prefetch(ahead, 0, 2);
    __builtin_prefetch(ahead + other, 0, 2);
    add(a, lda, *at++, [](Vector<T> v) { return v; });
  }
  a = t.masked_a;
  at = t.masked_offset;
  const Vector<T> count = broadcast(static_cast<T>(t.lanes));
  for (std::ptrdiff_t k = 0; k < t.masked_steps; ++k, a += VL) {
    add(a, lda, *at++, [&](Vector<T> v) { return first_lanes<T>(v, count); });
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
