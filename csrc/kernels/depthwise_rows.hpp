// Depthwise convolution of one plane, K x K and stride S: vectors are output pixels along a row, R rows at a time.
//
//     y[i, j] = sum_r sum_s  w[r, s] * x[i * S + r, j * S + s]
//
// The stage keeps the input's rows and columns apart by their residue modulo S, so that every load is of consecutive
// elements. Each vector that is loaded serves all of the R output rows that meet it (up to K / S of them), which takes
// the loads, most of them across cache lines, off the critical path: for 3 x 3 and R = 4, 18 loads for 36 FMAs.
#pragma once

#include "simd.hpp"
#include "table.hpp"

namespace {

using fastconv::DepthwiseRows;

// Weights that leave room for the sums stay in registers, one vector of pixels at a time; others come back from L1 and
// serve two vectors each.
template <int K>
inline constexpr int kRowVectors = K * K + 8 <= (kVectorBytes == 64 ? 34 : 17) ? 1 : 2;

template <class T, int K, int S, int R, int NV>
inline __attribute__((always_inline)) void depthwise_tile(const T* x, std::ptrdiff_t row, std::ptrdiff_t row_phase,
                                                          std::ptrdiff_t column_phase, const Vector<T> (&w)[K * K],
                                                          Vector<T> (&acc)[R][NV]) {
  constexpr int VL = kLanes<T>;
#pragma GCC unroll 24
  for (int t = 0; t < (R - 1) * S + K; ++t) {
    const T* const from = x + t % S * row_phase + t / S * row;
#pragma GCC unroll 8
    for (int s = 0; s < K; ++s) {
#pragma GCC unroll 2
      for (int v = 0; v < NV; ++v) {
        const Vector<T> lanes = load_once(from + s % S * column_phase + s / S + v * VL);
#pragma GCC unroll 8
        for (int i = 0; i < R; ++i) {
          const int r = t - i * S;
          if (r >= 0 && r < K) acc[i][v] += w[r * K + s] * lanes;
        }
      }
    }
  }
}

template <class T, int K, int S>
struct RowKernel {
  static constexpr int VL = kLanes<T>, NV = kRowVectors<K>;
  std::ptrdiff_t width, row, row_phase, column_phase, y_row;
  Vector<T> w[K * K], bias, least;

  inline __attribute__((always_inline)) explicit RowKernel(const DepthwiseRows<T>& t)
      : width(t.width),
        row(t.x_row),
        row_phase(t.x_row_phase),
        column_phase(t.x_column_phase),
        y_row(t.y_row),
        bias(broadcast(t.bias)),
        least(broadcast(t.relu ? T(0) : -static_cast<T>(__builtin_inf()))) {
#pragma GCC unroll 49
    for (int i = 0; i < K * K; ++i) w[i] = broadcast(t.w[i]);
  }

  template <int R, int N>
  inline __attribute__((always_inline)) void tile(const T* x, T* y) const {
    Vector<T> acc[R][N] = {};
    depthwise_tile<T, K, S, R, N>(x, row, row_phase, column_phase, w, acc);
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
#pragma GCC unroll 2
      for (int v = 0; v < N; ++v) {
        const Vector<T> sum = acc[i][v] + bias;
        store(y + i * y_row + v * VL, sum < least ? least : sum);  // NaN stays
      }
    }
  }

  // All columns. The last vectors are moved back to end with the row: some columns are computed twice.
  template <int R>
  inline __attribute__((always_inline)) void strip(const T* x, T* y) const {
    std::ptrdiff_t j = 0;
    for (; j + NV * VL <= width; j += NV * VL) tile<R, NV>(x + j, y + j);
    if (NV > 1 && width >= NV * VL) {
      if (j < width) tile<R, NV>(x + width - NV * VL, y + width - NV * VL);
      return;
    }
    for (; j < width; j += VL) {
      const std::ptrdiff_t at = j + VL <= width ? j : width - VL;
      tile<R, 1>(x + at, y + at);
    }
  }
};

template <class T, int K, int S>
void depthwise_rows(const DepthwiseRows<T>& t) {
  const RowKernel<T, K, S> kernel(t);
  const T* x = t.x;
  T* y = t.y;
  std::ptrdiff_t i = 0;
  if constexpr (!kCompact) {
    for (; i + 4 <= t.rows; i += 4, x += 4 * t.x_row, y += 4 * t.y_row) kernel.template strip<4>(x, y);
  }
  for (; i < t.rows; ++i, x += t.x_row, y += t.y_row) kernel.template strip<1>(x, y);
}

}  // namespace
