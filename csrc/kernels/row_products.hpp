// A matrix times a vector: totals[i] = sum over k of w[i][k] * x[k].
//
// As many rows as a vector has lanes are multiplied, lane by lane; then their sums are transposed in registers, so that
// one tree of additions finishes all of them.
#pragma once

#include "reduce.hpp"
#include "simd.hpp"
#include "table.hpp"

namespace {

using fastconv::RowProducts;

constexpr std::ptrdiff_t kRowsAhead = 1024;  // elements: rows follow each other

// A sum that is still spread over lanes; two of them, so that additions overlap. With masks, all of it.
template <class T>
inline __attribute__((always_inline)) Vector<T> product_in_lanes(const T* w, const T* x, std::ptrdiff_t n) {
  constexpr int VL = kLanes<T>;
  Vector<T> even{}, odd{};
  std::ptrdiff_t k = 0;
  for (; k + 2 * VL <= n; k += 2 * VL) {
    __builtin_prefetch(w + k + kRowsAhead);
    __builtin_prefetch(w + k + VL + kRowsAhead);
    even += load(w + k) * load(x + k);
    odd += load(w + k + VL) * load(x + k + VL);
  }
  if (k + VL <= n) {
    even += load(w + k) * load(x + k);
    k += VL;
  }
#if defined(__AVX512F__)
  if (k < n) odd += load_lanes(w + k, first_lanes<T>(n - k)) * load_lanes(x + k, first_lanes<T>(n - k));
#endif
  return even + odd;
}

template <class T>
void row_products(const RowProducts<T>& given) {
  constexpr int VL = kLanes<T>;
  const RowProducts<T> t = given;  // which no store can change
  for (std::ptrdiff_t first = 0; first < t.rows; first += VL) {
    const std::ptrdiff_t rows = t.rows - first < VL ? t.rows - first : VL;
    const T* const w = t.w + first * t.ld;
    Vector<T> v[VL];
#pragma GCC unroll 1
    for (int i = 0; i < VL; ++i) v[i] = product_in_lanes(w + (i < rows ? i : 0) * t.ld, t.x, t.n);
    add_lanes<T>(v, rows, t.totals + first);
#if !defined(__AVX512F__)
    for (std::ptrdiff_t i = 0; i < rows; ++i) {
      for (std::ptrdiff_t k = t.n / VL * VL; k < t.n; ++k) t.totals[first + i] += w[i * t.ld + k] * t.x[k];
    }
#endif
  }
}

}  // namespace
