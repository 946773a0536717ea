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
        const Vector<T> lanes = load(from + s % S * column_phase + s / S + v * VL);
#pragma GCC unroll 8
        for (int i = 0; i < R; ++i) {
          const int r = t - i * S;
          if (r >= 0 && r < K) acc[i][v] += w[r * K + s] * lanes;
        }
      }
    }
  }
}

// R rows, all columns. The last vectors are moved back to end with the row: some columns are computed twice.
template <class T, int K, int S, int R>
[[gnu::noinline]] void depthwise_strip(const DepthwiseRows<T>& t, const T* x, T* y) {
  constexpr int VL = kLanes<T>, NV = kRowVectors<K>;
  Vector<T> w[K * K];
#pragma GCC unroll 49
  for (int i = 0; i < K * K; ++i) w[i] = broadcast(t.w[i]);
  const Vector<T> bias = broadcast(t.bias);
  const Vector<T> least = broadcast(t.relu ? T(0) : -static_cast<T>(__builtin_inf()));
  const std::ptrdiff_t width = t.width, row = t.x_row, row_phase = t.x_row_phase, y_row = t.y_row;
  const std::ptrdiff_t column_phase = t.x_column_phase;
  const auto tile = [&]<int N>(std::ptrdiff_t j, Indices<N>) __attribute__((always_inline)) {
    Vector<T> acc[R][N] = {};
    depthwise_tile<T, K, S, R, N>(x + j, row, row_phase, column_phase, w, acc);
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
#pragma GCC unroll 2
      for (int v = 0; v < N; ++v) {
        const Vector<T> sum = acc[i][v] + bias;
        store(y + i * y_row + j + v * VL, sum < least ? least : sum);  // NaN stays
      }
    }
  };
  std::ptrdiff_t j = 0;
  for (; j + NV * VL <= width; j += NV * VL) tile(j, Indices<NV>{});
  for (; j < width; j += VL) tile(j + VL <= width ? j : width - VL, Indices<1>{});
}

template <class T, int K, int S>
void depthwise_rows(const DepthwiseRows<T>& t) {
  const T* x = t.x;
  T* y = t.y;
  std::ptrdiff_t left = t.rows;
  for (; left >= 4; left -= 4, x += 4 * t.x_row, y += 4 * t.y_row) depthwise_strip<T, K, S, 4>(t, x, y);
  if (left >= 2) {
    depthwise_strip<T, K, S, 2>(t, x, y);
    x += 2 * t.x_row;
    y += 2 * t.y_row;
    left -= 2;
  }
  if (left >= 1) depthwise_strip<T, K, S, 1>(t, x, y);
}

}  // namespace
