// Depthwise convolution of one plane, K x K and stride S: vectors are output pixels along a row, R rows at a time.
//
//     y[i, j] = sum_r sum_s  w[r, s] * x[i * S + r, j * S + s]
//
// Rows of x are read where they lie, by vectors that reach over their ends: what lies there counts as zero, which masks
// see to where a tile meets it. Columns that a stride skips are taken apart in registers. Each vector of x serves all
// of the R output rows that meet it (up to K / S of them), which takes the loads, most of them across cache lines, off
// the critical path: for 3 x 3 and R = 4, 18 loads for 36 FMAs.
#pragma once

#include "shuffles.hpp"
#include "simd.hpp"
#include "table.hpp"

namespace {

using fastconv::DepthwiseRows;

// Weights that leave room for the sums stay in registers, one vector of pixels at a time; others come back from L1 and
// serve as many vectors as there are registers for.
template <int K>
inline constexpr int kRowVectors = K * K + 8 <= (kVectorBytes == 64 ? 34 : 17) ? 1
                                   : kVectorBytes == 64                        ? 4
                                                                               : 2;

// With so many taps, a mask for each would take longer than a padded copy of the rows, which the driver then makes.
template <int K>
inline constexpr bool kMasks = K < 7;

// What a vector of outputs meets at column `from` of x and, with a stride of 2, the next one.
template <class T, int S>
FASTCONV_INLINE void load_columns(const T* from, Vector<T> (&x)[S]) {
  constexpr typename MakeIndices<kLanes<T>>::type order{};
  const Vector<T> low = load_once(from);
  x[0] = low;
  if constexpr (S > 1) {
    const Vector<T> high = load_once(from + kLanes<T>);
    x[0] = take_even(low, high, order);
    x[1] = take_odd(low, high, order);
  }
}

// Rows shorter than a vector are written over the beginning of those that follow, which come later. Not so the last
// ones, which come here: out of line, once for all windows.
template <class T>
[[gnu::noinline]] void store_rows(const T* sums, int rows, std::ptrdiff_t width, T* y, std::ptrdiff_t y_row) {
  for (int r = 0; r < rows; ++r, sums += kLanes<T>, y += y_row) {
    store_tail(y, load(sums), static_cast<int>(width));
  }
}

constexpr std::ptrdiff_t kRowElementsAhead = 1024;  // rows, and mostly planes, follow each other

template <class T, int K, int S>
struct RowKernel {
  static constexpr int VL = kLanes<T>, NV = kRowVectors<K>;
  const DepthwiseRows<T>& t;
  Vector<T> w[K * K], bias, least;

  FASTCONV_INLINE explicit RowKernel(const DepthwiseRows<T>& rows)
      : t(rows), bias(broadcast(t.bias)), least(broadcast(t.relu ? T(0) : -static_cast<T>(__builtin_inf()))) {
#pragma GCC unroll 49
    for (int i = 0; i < K * K; ++i) w[i] = broadcast(t.w[i]);
  }

  // Column s of x at the taps of row q of a tile, which it meets in R output rows or fewer.
  template <int R, int N>
  FASTCONV_INLINE void meet(int q, int s, const Vector<T> (&x)[N], Vector<T> (&acc)[R][N]) const {
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      const int r = q - i * S;
      if (r < 0 || r >= K) continue;
      const Vector<T> weight = N > 1 ? opaque(w[r * K + s]) : w[r * K + s];
#pragma GCC unroll 4
      for (int v = 0; v < N; ++v) acc[i][v] += weight * x[v];
    }
  }

  // Where vector v of a tile starts; the last one may be moved back to end with the row.
  template <int N>
  static std::ptrdiff_t column(int v, std::ptrdiff_t last) {
    return v + 1 < N ? v * VL : last;
  }

  template <int R, int N, bool Masked>
  FASTCONV_INLINE void tile(const T* const* row, std::ptrdiff_t j, std::ptrdiff_t last, Vector<T> (&acc)[R][N]) const {
    const T* const kept = t.kept + j;
#pragma GCC unroll 24
    for (int q = 0; q < (R - 1) * S + K; ++q) {
      const T* const from = opaque(row[q] + j * S);
      if (R > 1 && q >= K - S && q < K - S + R * S) {  // each row once
        __builtin_prefetch(from + kRowElementsAhead);
        if (S > 1) __builtin_prefetch(from + kRowElementsAhead + VL);
      }
#pragma GCC unroll 8
      for (int s = 0; s < K; s += S) {
        Vector<T> x[N][S];
#pragma GCC unroll 4
        for (int v = 0; v < N; ++v) load_columns<T, S>(from + s + column<N>(v, last) * S, x[v]);
#pragma GCC unroll 2
        for (int b = 0; b < 2; ++b) {
          if (b >= S || s + b >= K) continue;
          Vector<T> columns[N];
#pragma GCC unroll 4
          for (int v = 0; v < N; ++v) {
            columns[v] = Masked ? keep(x[v][b], kept + (s + b) * t.kept_row + column<N>(v, last)) : x[v][b];
          }
          meet<R, N>(q, s + b, columns, acc);
        }
      }
    }
  }

  template <int R, int N>
  FASTCONV_INLINE void store_tile(Vector<T> (&acc)[R][N], std::ptrdiff_t i, std::ptrdiff_t j,
                                  std::ptrdiff_t last) const {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < N; ++v) {
        acc[r][v] += bias;  // last, as in other kernels: the bits do not depend on how arrays lie
        acc[r][v] = acc[r][v] < least ? least : acc[r][v];  // NaN stays
      }
    }
    T* y = t.y + i * t.y_row + j;
    if (N == 1 && __builtin_expect(t.width < VL && (i + R - 1) * t.y_row + VL > t.overwritten, 0)) {
      alignas(kVectorBytes) T sums[R * VL];
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) store(sums + r * VL, acc[r][0]);
      return store_rows(sums, R, t.width, y, t.y_row);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r, y += t.y_row) {
#pragma GCC unroll 4
      for (int v = 0; v < N; ++v) store(y + column<N>(v, last), acc[r][v]);
    }
  }

  // Output rows from i on, columns from j on. The compiler knows of neither where the tile before was, and so computes
  // addresses here, which is soon done, instead of keeping them all through rows of a few tiles.
  template <int R, int N>
  FASTCONV_INLINE void place(std::ptrdiff_t i, std::ptrdiff_t j, std::ptrdiff_t last) const {
    i = opaque(i), j = opaque(j);
    Vector<T> acc[R][N] = {};
    // (Few rows are not worth code of their own.)
    if (!kMasks<K> || (R > 1 && j * S >= t.first && (j + last + VL - 1) * S + K <= t.end)) {
      tile<R, N, false>(t.row + i * S, j, last, acc);
    } else if constexpr (kMasks<K>) {
      tile<R, N, true>(t.row + i * S, j, last, acc);
    }
    store_tile<R, N>(acc, i, j, last);
  }

  // N vectors of columns from j on, or fewer, if the row ends.
  template <int R, int N>
  FASTCONV_INLINE void place_most(std::ptrdiff_t i, std::ptrdiff_t j) const {
    const std::ptrdiff_t last = t.width - VL - j;
    if (last > (N - 2) * VL) {
      place<R, N>(i, j, last < (N - 1) * VL ? last : (N - 1) * VL);
    } else if constexpr (N > 2) {
      place_most<R, N - 1>(i, j);
    } else {
      place<R, 1>(i, t.width < VL ? 0 : j + last, 0);
    }
  }

  // All columns. The last vector is moved back to end with the row: some columns are computed twice.
  template <int R>
  FASTCONV_INLINE void strip(std::ptrdiff_t i) const {
    constexpr int N = R > 1 || NV < 2 ? NV : 2;  // few rows are not worth the code
    for (std::ptrdiff_t j = 0; j < t.width; j += N * VL) {
      if constexpr (N == 1) {
        place<R, 1>(i, j + VL <= t.width || t.width < VL ? j : t.width - VL, 0);
      } else {
        place_most<R, N>(i, j);
      }
    }
  }
};

// The last rows are moved back, too.
template <class T, int K, int S>
void depthwise_rows(const DepthwiseRows<T>& t) {
  const RowKernel<T, K, S> kernel(t);
  if (kCompact || t.rows < 4) {
    for (std::ptrdiff_t i = 0; i < t.rows; ++i) kernel.template strip<1>(i);
    return;
  }
  if constexpr (!kCompact) {
    for (std::ptrdiff_t i = 0; i < t.rows; i += 4) kernel.template strip<4>(i + 4 <= t.rows ? i : t.rows - 4);
  }
}

}  // namespace
