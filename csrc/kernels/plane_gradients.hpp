// Both gradients of a depthwise convolution over one plane, K rows of taps and stride S (see depthwise_table.hpp):
//
//     dx[S * i + a, S * j + b] = sum over taps of w[r, s] * dy[i + (a + P - r) / S, j + shift[s]]
//     dW[r, s] = sum over pixels of x[S * i + a, S * j + b] * dy[i + (a + P - r) / S, j + shift[s]]
//
// over the taps of the residues a and b (all, for S = 1). Either asks for the same vectors of dY, and so do the rows
// above and below: a vector that is loaded serves up to K rows, twice. A tile of rows of x and dx stays in registers
// while all the taps pass by, column by column, since a column's taps leave the plane at the same pixels, which are
// masked once for all of them.
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

static_assert(fastconv::kMostGradientRows % kGradientRows == 0);

constexpr std::ptrdiff_t kElementsAhead = 1024;  // to the planes that come next, if they follow each other

// Zeros in the first n lanes.
template <class T>
inline Vector<T> without_first(Vector<T> v, std::ptrdiff_t n) {
  const Vector<T> lane = count_up<T>(typename MakeIndices<kLanes<T>>::type{});
  return lane < broadcast(static_cast<T>(n)) ? Vector<T>{} : v;
}

// The row of dY, of those a tile reads, where tap r of row i leads; -1 where it leads to none.
template <int K, int S>
constexpr int gradient_row(int i, int r) {
  constexpr int same = (K - 1) / 2, above = same / S;
  return S == 1 ? i + K - 1 - r : (i + same - r) % S == 0 ? (i + same - r) / S + above : -1;
}

// The taps of column c for a tile's rows; kept: of those pixels, or null.
template <class T, bool Dx, bool Dw, int K, int S>
FASTCONV_INLINE void gradient_column(const PlaneGradients<T>& t, std::ptrdiff_t c, const T* dy, const T* kept,
                                     const Vector<T> (&x)[kGradientRows], Vector<T> (&dx)[kGradientRows]) {
  constexpr int R = kGradientRows;
  Vector<T> masked[R], part[R] = {}, sum[K], w[K];
  T* const sums = t.sums + c * K * kLanes<T>;
#pragma GCC unroll 8
  for (int i = 0; i < R && Dw; ++i) masked[i] = kept == nullptr ? x[i] : keep(x[i], kept);
#pragma GCC unroll 8
  for (int r = 0; r < K && Dw; ++r) sum[r] = load_once(sums + r * kLanes<T>);
#pragma GCC unroll 8
  for (int r = 0; r < K && Dx; ++r) w[r] = broadcast(t.w[c * K + r]);
#pragma GCC unroll 16
  for (int q = 0; q <= (R + K - 2) / S; ++q) {
    const Vector<T> lanes = load_once(dy + q * t.row);
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
#pragma GCC unroll 8
      for (int r = 0; r < K; ++r) {
        if (gradient_row<K, S>(i, r) != q) continue;
        if constexpr (Dx) part[i] += w[r] * lanes;
        if constexpr (Dw) sum[r] += masked[i] * lanes;
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < R && Dx; ++i) dx[i] += kept == nullptr ? part[i] : keep(part[i], kept);
#pragma GCC unroll 8
  for (int r = 0; r < K && Dw; ++r) store(sums + r * kLanes<T>, sum[r]);
}

// Vectors of a row of x from `from` on, of the columns of residue b.
template <class T, int S>
FASTCONV_INLINE Vector<T> load_residue(const T* from, int b) {
  constexpr typename MakeIndices<kLanes<T>>::type order{};
  const Vector<T> low = load_once(from);
  if constexpr (S == 1) return low;
  const Vector<T> high = load_once(from + kLanes<T>);
  return b == 0 ? take_even(low, high, order) : take_odd(low, high, order);
}

// The opposite, for row i of a tile.
template <class T, int S>
FASTCONV_INLINE void store_residues(T* to, int i, const Vector<T> (&dx)[S][kGradientRows]) {
  if constexpr (S == 1) {
    store(to, dx[0][i]);
  } else {
    constexpr typename MakeIndices<kLanes<T>>::type order{};
    store(to, zip_low(dx[0][i], dx[1][i], order));
    store(to + kLanes<T>, zip_high(dx[0][i], dx[1][i], order));
  }
}

// A vector of columns of dY from `at` on, and a tile's rows of x from row i on; the first `back` columns have been
// counted already.
template <class T, bool Dx, bool Dw, int K, int S>
void gradient_tile(const PlaneGradients<T>& t, std::ptrdiff_t i, std::ptrdiff_t at, std::ptrdiff_t back) {
  constexpr int R = kGradientRows;
  const std::ptrdiff_t f = (i * t.row + at) * S, row = t.row, step = row * S;
  const T* const dy = t.dy + i / S * row + at;
  Vector<T> dx[S][R] = {};
#pragma GCC unroll 2
  for (int b = 0; b < S; ++b) {
    Vector<T> x[R];
#pragma GCC unroll 8
    for (int r = 0; r < R && Dw; ++r) {
      x[r] = without_first<T>(load_residue<T, S>(t.x + f + r * step, b), back);
      __builtin_prefetch(t.x + f + r * step + b * kLanes<T> + kElementsAhead);
    }
    const std::ptrdiff_t end = b + 1 < S ? t.even_columns : t.columns;
    for (std::ptrdiff_t c = b == 0 ? 0 : t.even_columns; c < end; ++c) {
      const bool inside = at + t.shift[c] >= 0 && at + t.shift[c] + kLanes<T> <= row;
      const T* const kept = inside ? nullptr : t.kept[c] + at;
      gradient_column<T, Dx, Dw, K, S>(t, c, dy + t.shift[c], kept, x, dx[b]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R && Dx; ++r) {
    T* const to = t.dx + f + r * step;
    store_residues<T, S>(to, r, dx);
#pragma GCC unroll 2
    for (int b = 0; b < S; ++b) __builtin_prefetch(to + b * kLanes<T> + kElementsAhead, 1);
  }
}

template <class T, bool Dx, bool Dw, int K, int S>
void gradient_tiles(const PlaneGradients<T>& t) {
  constexpr std::ptrdiff_t VL = kLanes<T>;
  for (std::ptrdiff_t i = 0; i < t.rows; i += kGradientRows) {
    std::ptrdiff_t j = 0;
    for (; j + VL <= t.row; j += VL) gradient_tile<T, Dx, Dw, K, S>(t, i, j, 0);
    if (j < t.row) gradient_tile<T, Dx, Dw, K, S>(t, i, t.row - VL, j + VL - t.row);
  }
}

template <class T, int K, int S>
void plane_gradients(const PlaneGradients<T>& t) {
  if (t.dx == nullptr) {
    gradient_tiles<T, false, true, K, S>(t);
  } else if (t.sums == nullptr) {
    gradient_tiles<T, true, false, K, S>(t);
  } else {
    gradient_tiles<T, true, true, K, S>(t);
  }
}

}  // namespace
