// Sums: the small kernels beside the tiles.
#pragma once

#include "simd.hpp"

namespace {

template <class T>
void add_rows(const T* src, std::ptrdiff_t n, T* sum) {
  std::ptrdiff_t i = 0;
  for (; i + kLanes<T> <= n; i += kLanes<T>) store(sum + i, load(sum + i) + load(src + i));
  for (; i < n; ++i) sum[i] += src[i];
}

// A sum that is still spread over lanes. Four vectors of partial sums, so that the additions overlap and the error
// grows slowly.
template <class T>
Vector<T> sum_in_lanes(const T* src, std::ptrdiff_t n) {
  constexpr int VL = kLanes<T>;
  Vector<T> part[4] = {};
  std::ptrdiff_t i = 0;
  for (; i + 4 * VL <= n; i += 4 * VL) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) part[j] += load(src + i + j * VL);
  }
  for (; i + VL <= n; i += VL) part[0] += load(src + i);
#if defined(__AVX512F__)
  if (i < n) part[1] += load_lanes(src + i, first_lanes<T>(n - i));
#else
  if (i < n) part[1] += load_tail(src + i, static_cast<int>(n - i));
#endif
  return (part[0] + part[1]) + (part[2] + part[3]);
}

// v[0] becomes the sum of the first N vectors.
template <class T, int N>
inline void add_vectors(Vector<T>* v) {
#pragma GCC unroll 4
  for (int half = N / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < half; ++i) v[i] += v[i + half];
  }
}

// The first n elements of a vector, or all of them.
template <class T>
inline void store_first(T* to, Vector<T> v, std::ptrdiff_t n) {
  if (n >= kLanes<T>) {
    store(to, v);
  } else {
    store_tail(to, v, static_cast<int>(n));
  }
}

// The lanes of VL vectors added up, by transposing them: totals[i] is the sum of v[i], for i < n.
template <class T>
inline void add_lanes(Vector<T> (&v)[kLanes<T>], std::ptrdiff_t n, T* totals) {
  transpose<T>(v);
  add_vectors<T, kLanes<T>>(v);
  store_first(totals, v[0], n);
}

template <class T>
void sum_rows(const T* src, std::ptrdiff_t ld, std::ptrdiff_t rows, std::ptrdiff_t n, T* totals) {
  constexpr int VL = kLanes<T>;
  for (std::ptrdiff_t first = 0; first < rows; first += VL) {
    Vector<T> v[VL];
    for (int i = 0; i < VL; ++i) v[i] = first + i < rows ? sum_in_lanes(src + (first + i) * ld, n) : Vector<T>{};
    add_lanes<T>(v, rows - first, totals + first);
  }
}

// totals[i] = the sum of the lanes of vector i.
template <class T>
void sum_lanes(const T* vectors, std::ptrdiff_t n, T* totals) {
  constexpr int VL = kLanes<T>;
  for (std::ptrdiff_t first = 0; first < n; first += VL) {
    Vector<T> v[VL];
#pragma GCC unroll 16
    for (int i = 0; i < VL; ++i) v[i] = first + i < n ? load(vectors + (first + i) * VL) : Vector<T>{};
    add_lanes<T>(v, n - first, totals + first);
  }
}

// The same of the lower and of the upper half of each vector.
template <class T>
void sum_half_lanes(const T* vectors, std::ptrdiff_t n, T* lower, T* upper) {
  constexpr int VL = kLanes<T>;
  for (std::ptrdiff_t first = 0; first < n; first += VL) {
    Vector<T> v[VL];
#pragma GCC unroll 16
    for (int i = 0; i < VL; ++i) v[i] = first + i < n ? load(vectors + (first + i) * VL) : Vector<T>{};
    transpose<T>(v);
    add_vectors<T, VL / 2>(v);
    add_vectors<T, VL / 2>(v + VL / 2);
    store_first(lower + first, v[0], n - first);
    store_first(upper + first, v[VL / 2], n - first);
  }
}

}  // namespace
