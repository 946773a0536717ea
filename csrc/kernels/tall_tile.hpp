// Tall tiles: C[row][lane] (+)= sum over k of A[row][k] * B[k][lane], with a single vector of lanes.
//
// As many rows as it takes to keep the FMA units busy: each step loads one vector of B, which may lie anywhere, and one
// element of each row of A. So neither factor is copied: rows of pixels meet rows of taps that overlap.
#pragma once

#include "simd.hpp"
#include "table.hpp"

namespace {

using fastconv::TallTile;

template <class T, int MR>
inline void tall_rows(const TallTile<T>& t, std::ptrdiff_t first) {
  Vector<T> acc[MR] = {};
  const std::ptrdiff_t lda = t.lda, ldb = t.ldb;
  const T* a[(MR + 2) / 3];  // of every third row: more addresses than registers otherwise
#pragma GCC unroll 4
  for (int i = 0; i < MR; i += 3) a[i / 3] = t.a + (first + i) * lda;
  const T* b = t.b;
  for (std::ptrdiff_t k = 0; k < t.depth; ++k, b += ldb) {
    const Vector<T> lanes = load(b);
#pragma GCC unroll 12
    for (int i = 0; i < MR; ++i) acc[i] += broadcast(a[i / 3][i % 3 * lda + k]) * lanes;
  }
#pragma GCC unroll 12
  for (int i = 0; i < MR; ++i) {
    T* const c = t.c + (first + i) * t.ldc;
    store(c, t.accumulate ? load(c) + acc[i] : acc[i]);
  }
}

template <class T>
void tall_tile(const TallTile<T>& t) {
  std::ptrdiff_t i = 0;
  for (; i + 12 <= t.rows; i += 12) tall_rows<T, 12>(t, i);
  for (; i + 4 <= t.rows; i += 4) tall_rows<T, 4>(t, i);
  for (; i < t.rows; ++i) tall_rows<T, 1>(t, i);
}

}  // namespace
