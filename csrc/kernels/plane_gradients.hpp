// Both gradients of a depthwise convolution over one plane, K rows of taps (see depthwise_table.hpp):
//
//     dx[i, j] = sum over taps of w[r, s] * dy[i + K - 1 - r, j + shift[s]]
//     dW[r, s] = sum over pixels of x[i, j] * dy[i + K - 1 - r, j + shift[s]]
//
// Either asks for the same vectors of dY, and so do the rows above and below: a vector that is loaded serves up to K
// rows, twice. A tile of rows of x and dx stays in registers while all the taps pass by, column by column, since a
// column's taps leave the plane at the same pixels, which are masked once for all of them.
#pragma once

#include "shuffles.hpp"
#include "simd.hpp"
#include "table.hpp"

namespace {

using fastconv::PlaneGradients;

// Rows of x and dx, both of them for one column too, and a column's sums and weights share the registers.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kGradientRows = 4;
#else
constexpr int kGradientRows = 2;
#endif

constexpr std::ptrdiff_t kElementsAhead = 1024;  // to the planes that come next, if they follow each other

// Zeros in the first n lanes.
template <class T>
inline Vector<T> without_first(Vector<T> v, std::ptrdiff_t n) {
  const Vector<T> lane = count_up<T>(typename MakeIndices<kLanes<T>>::type{});
  return lane < broadcast(static_cast<T>(n)) ? Vector<T>{} : v;
}

// What `kept` says, 1 or 0 for each lane; all of them where it is null.
template <class T>
inline Vector<T> keep(Vector<T> v, const T* kept) {
  return kept == nullptr ? v : load(kept) > Vector<T>{} ? v : Vector<T>{};
}

// The taps of column c for R rows.
template <class T, bool Dx, bool Dw, int K, int R>
FASTCONV_INLINE void gradient_column(const PlaneGradients<T>& t, std::ptrdiff_t c, const T* dy, const T* kept,
                                     const Vector<T> (&x)[R], Vector<T> (&dx)[R]) {
  Vector<T> masked[R], part[R] = {}, sum[K], w[K];
#pragma GCC unroll 8
  for (int i = 0; i < R && Dw; ++i) masked[i] = keep(x[i], kept);
#pragma GCC unroll 8
  for (int r = 0; r < K && Dx; ++r) w[r] = broadcast(t.w[c * K + r]);
#pragma GCC unroll 16
  for (int q = 0; q < R + K - 1; ++q) {
    const Vector<T> lanes = load_once(dy + q * t.row);
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      const int r = i + K - 1 - q;
      if (r < 0 || r >= K) continue;
      if constexpr (Dx) part[i] += w[r] * lanes;
      if constexpr (Dw) sum[r] = i == 0 ? masked[i] * lanes : sum[r] + masked[i] * lanes;
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < R && Dx; ++i) dx[i] += keep(part[i], kept);
  T* const sums = t.sums + c * K * kLanes<T>;
#pragma GCC unroll 8
  for (int r = 0; r < K && Dw; ++r) {
    // Of one product, the sum and this addition might be one FMA, in one function and not in the next.
    store(sums + r * kLanes<T>, load(sums + r * kLanes<T>) + (R > 1 ? sum[r] : opaque(sum[r])));
  }
}

// A vector of columns from `at` on in R rows from row i on; the first `back` of them have been counted already.
template <class T, bool Dx, bool Dw, int K, int R>
void gradient_tile(const PlaneGradients<T>& t, std::ptrdiff_t i, std::ptrdiff_t at, std::ptrdiff_t back) {
  const std::ptrdiff_t f = i * t.row + at, row = t.row;
  Vector<T> x[R], dx[R] = {};
#pragma GCC unroll 8
  for (int r = 0; r < R && Dw; ++r) {
    x[r] = without_first<T>(load_once(t.x + f + r * row), back);
    __builtin_prefetch(t.x + f + r * row + kElementsAhead);
  }
  for (std::ptrdiff_t c = 0; c < t.columns; ++c) {
    const T* const kept = t.kept[c] == nullptr ? nullptr : t.kept[c] + at;
    gradient_column<T, Dx, Dw, K, R>(t, c, t.dy + f + t.shift[c], kept, x, dx);
  }
#pragma GCC unroll 8
  for (int r = 0; r < R && Dx; ++r) {
    store(t.dx + f + r * row, dx[r]);
    __builtin_prefetch(t.dx + f + r * row + kElementsAhead, 1);
  }
}

template <class T, bool Dx, bool Dw, int K, int R>
void gradient_rows(const PlaneGradients<T>& t, std::ptrdiff_t i) {
  constexpr std::ptrdiff_t VL = kLanes<T>;
  for (; i + R <= t.rows; i += R) {
    std::ptrdiff_t j = 0;
    for (; j + VL <= t.row; j += VL) gradient_tile<T, Dx, Dw, K, R>(t, i, j, 0);
    if (j < t.row) gradient_tile<T, Dx, Dw, K, R>(t, i, t.row - VL, j + VL - t.row);
  }
  if constexpr (R > 1) {
    if (i < t.rows) gradient_rows<T, Dx, Dw, K, R / 2>(t, i);
  }
}

template <class T, int K>
void plane_gradients(const PlaneGradients<T>& t) {
  if (t.dx == nullptr) {
    gradient_rows<T, false, true, K, kGradientRows>(t, 0);
  } else if (t.sums == nullptr) {
    gradient_rows<T, true, false, K, kGradientRows>(t, 0);
  } else {
    gradient_rows<T, true, true, K, kGradientRows>(t, 0);
  }
}

}  // namespace
