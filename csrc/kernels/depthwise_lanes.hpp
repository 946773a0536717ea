// Depthwise convolution with groups in the lanes: one vector is the same pixel of VL groups, so weights are vectors
// too, nothing is broadcast and nothing is wasted at the end of short rows.
//
//     y[i, j][lane] = bias[lane] + sum_k  w[k][lane] * x[offset[k] + i * x_row + j * x_step][lane]
//
// Channels-last arrays lie so; small planes are brought here and back by transposing VL of them at a time.
#pragma once

#include "simd.hpp"
#include "table.hpp"

namespace {

using fastconv::LaneRows;

constexpr int kLanePixels = 8;  // as many chains as cover the latency of two FMA units

// Step: vectors from a pixel's window to the next, or 0 where only x_step tells.
template <class T, int Step, int NB>
inline __attribute__((always_inline)) void lane_pixels(const LaneRows<T>& t, const T* x, Vector<T> (&acc)[NB]) {
  constexpr int VL = kLanes<T>;
  const std::ptrdiff_t step = Step > 0 ? Step * VL : t.x_step;
  const T* w = t.w;
  for (std::ptrdiff_t k = 0; k < t.depth; ++k, w += VL) {
    const Vector<T> weight = load_once(w);
    const T* const from = opaque(x + t.offset[k]);
#pragma GCC unroll 8
    for (int i = 0; i < NB; ++i) acc[i] += weight * load(from + i * step);
  }
}

template <class T, int NB>
inline __attribute__((always_inline)) void store_pixels(const LaneRows<T>& t, T* y, const Vector<T> (&acc)[NB]) {
  const Vector<T> bias = load_once(t.bias), least = broadcast(t.relu ? T(0) : -static_cast<T>(__builtin_inf()));
  const std::ptrdiff_t y_step = t.y_step;
  const int lanes = static_cast<int>(t.lanes);
#pragma GCC unroll 8
  for (int i = 0; i < NB; ++i) {
    Vector<T> sum = acc[i] + bias;
    sum = sum < least ? least : sum;  // NaN stays
    if (lanes == kLanes<T>) {
      store(y + i * y_step, sum);
    } else {
      store_tail(y + i * y_step, sum, lanes);
    }
  }
}

// A row in pieces of NB pixels, and a shorter one.
template <class T, int Step, int NB>
void lane_row(const LaneRows<T>& t, const T* x, T* y) {
  std::ptrdiff_t j = 0;
  for (; j + NB <= t.width; j += NB) {
    Vector<T> acc[NB] = {};
    lane_pixels<T, Step, NB>(t, x + j * t.x_step, acc);
    store_pixels<T, NB>(t, y + j * t.y_step, acc);
  }
  for (; j < t.width; ++j) {
    Vector<T> acc[1] = {};
    lane_pixels<T, Step, 1>(t, x + j * t.x_step, acc);
    store_pixels<T, 1>(t, y + j * t.y_step, acc);
  }
}

// Of 4 to 8 pixels the number that leaves the fewest of a row over.
template <class T, int Step>
void lane_rows_by(const LaneRows<T>& t) {
  int pixels = kLanePixels;
  for (int n = kLanePixels; n >= 4 && t.width % pixels != 0; --n) {
    if (t.width % n < t.width % pixels) pixels = n;
  }
  const auto row = pixels == 8   ? lane_row<T, Step, 8>
                   : pixels == 7 ? lane_row<T, Step, 7>
                   : pixels == 6 ? lane_row<T, Step, 6>
                   : pixels == 5 ? lane_row<T, Step, 5>
                                 : lane_row<T, Step, 4>;
  for (std::ptrdiff_t i = 0; i < t.rows; ++i) row(t, t.x + i * t.x_row, t.y + i * t.y_row);
}

template <class T>
void lane_rows(const LaneRows<T>& t) {
  if (t.x_step == kLanes<T>) {
    lane_rows_by<T, 1>(t);
  } else if (t.x_step == 2 * kLanes<T>) {
    lane_rows_by<T, 2>(t);
  } else {
    lane_rows_by<T, 0>(t);
  }
}

}  // namespace
