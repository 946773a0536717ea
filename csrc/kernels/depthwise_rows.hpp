// Depthwise convolution of one plane: vectors are output pixels along a row, R rows by NV vectors at a time.
//
//     y[i, j] = sum_r sum_s  w[r, s] * x[i * SH + r, column(s) + j]
//
// Of one tap column s, the weights of all KH rows are in registers; each vector of x that is loaded then serves every
// one of the R output rows that meet it (up to KH / SH of them), which takes the loads, most of them across cache
// lines, off the critical path. For 3 x 3 and R = 4 that is 18 loads for 36 FMAs.
#pragma once

#include "simd.hpp"
#include "table.hpp"

namespace {

using fastconv::DepthwiseRows;

// at[v]: where vector v starts. They may overlap: both then store the same values.
template <class T, int KH, int SH, int R, int NV>
inline void depthwise_tile(const DepthwiseRows<T>& t, const T* x, T* y, const std::ptrdiff_t (&at)[NV]) {
  constexpr int VL = kLanes<T>;
  Vector<T> acc[R][NV] = {};
  for (std::ptrdiff_t s = 0; s < t.kw; ++s) {
    Vector<T> w[KH];
#pragma GCC unroll 8
    for (int r = 0; r < KH; ++r) w[r] = broadcast(t.w[r * t.kw + s]);
    const T* const from = x + t.column[s];
#pragma GCC unroll 16
    for (int row = 0; row < (R - 1) * SH + KH; ++row) {
#pragma GCC unroll 2
      for (int v = 0; v < NV; ++v) {
        const Vector<T> lanes = load(from + row % SH * t.x_phase + row / SH * t.x_row + at[v]);
#pragma GCC unroll 8
        for (int i = 0; i < R; ++i) {
          const int r = row - i * SH;
          if (r >= 0 && r < KH) acc[i][v] += w[r] * lanes;
        }
      }
    }
  }
  const Vector<T> bias = broadcast(t.bias);
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) {
      Vector<T> sum = acc[i][v] + bias;
      if (t.relu) sum = relu<T>(sum);
      if (t.width >= VL) {
        store(y + i * t.y_row + at[v], sum);
      } else {
        store_tail(y + i * t.y_row, sum, static_cast<int>(t.width));
      }
    }
  }
}

// R rows, all columns. A last vector that would hang over the edge is moved back instead.
template <class T, int KH, int SH, int R>
inline void depthwise_strip(const DepthwiseRows<T>& t, const T* x, T* y) {
  constexpr int VL = kLanes<T>;
  const std::ptrdiff_t last = t.width < VL ? 0 : t.width - VL;
  for (std::ptrdiff_t j = 0; j < t.width; j += 2 * VL) {
    if (j + VL >= t.width) {
      depthwise_tile<T, KH, SH, R, 1>(t, x, y, {j < last ? j : last});
    } else {
      depthwise_tile<T, KH, SH, R, 2>(t, x, y, {j, j + VL < last ? j + VL : last});
    }
  }
}

template <class T, int KH, int SH>
void depthwise_rows(const DepthwiseRows<T>& t) {
  const T* x = t.x;
  T* y = t.y;
  std::ptrdiff_t left = t.rows;
  for (; left >= 4; left -= 4, x += 4 * t.x_row, y += 4 * t.y_row) depthwise_strip<T, KH, SH, 4>(t, x, y);
  if (left >= 2) {
    depthwise_strip<T, KH, SH, 2>(t, x, y);
    x += 2 * t.x_row;
    y += 2 * t.y_row;
    left -= 2;
  }
  if (left >= 1) depthwise_strip<T, KH, SH, 1>(t, x, y);
}

}  // namespace
