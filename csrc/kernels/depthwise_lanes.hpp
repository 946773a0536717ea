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
using fastconv::PlanesToLanes;

constexpr int kLanePixels = 8;  // as many chains as cover the latency of two FMA units

// Step: vectors from a pixel's window to the next, or 0 where only x_step tells.
template <class T, int Step, int NB>
inline void lane_pixels(const LaneRows<T>& t, const T* x, T* y) {
  constexpr int VL = kLanes<T>;
  Vector<T> acc[NB] = {};
  const std::ptrdiff_t step = Step > 0 ? Step * VL : t.x_step;
  for (std::ptrdiff_t k = 0; k < t.depth; ++k) {
    const Vector<T> w = load(t.w + k * VL);
    const T* const from = x + t.offset[k];
#pragma GCC unroll 8
    for (int i = 0; i < NB; ++i) acc[i] += w * load(from + i * step);
  }
  const Vector<T> bias = load(t.bias);
#pragma GCC unroll 8
  for (int i = 0; i < NB; ++i) {
    Vector<T> sum = acc[i] + bias;
    if (t.relu) sum = relu<T>(sum);
    if (t.lanes == VL) {
      store(y + i * t.y_step, sum);
    } else {
      store_tail(y + i * t.y_step, sum, static_cast<int>(t.lanes));
    }
  }
}

template <class T, int Step, int NB = kLanePixels>
inline void lane_pixels(const LaneRows<T>& t, const T* x, T* y, std::ptrdiff_t n) {
  if constexpr (NB > 0) {
    if (n == NB) {
      lane_pixels<T, Step, NB>(t, x, y);
    } else {
      lane_pixels<T, Step, NB - 1>(t, x, y, n);
    }
  }
}

template <class T, int Step>
inline void lane_rows(const LaneRows<T>& t) {
  const std::ptrdiff_t pieces = (t.width + kLanePixels - 1) / kLanePixels;  // balanced: 14 is 7 + 7, not 8 + 6
  const std::ptrdiff_t most = (t.width + pieces - 1) / pieces;
  for (std::ptrdiff_t i = 0; i < t.rows; ++i) {
    const T* const x = t.x + i * t.x_row;
    T* const y = t.y + i * t.y_row;
    for (std::ptrdiff_t j = 0; j < t.width; j += most) {
      const std::ptrdiff_t n = t.width - j < most ? t.width - j : most;
      lane_pixels<T, Step>(t, x + j * t.x_step, y + j * t.y_step, n);
    }
  }
}

template <class T>
void lane_rows(const LaneRows<T>& t) {
  if (t.x_step == kLanes<T>) {
    lane_rows<T, 1>(t);
  } else if (t.x_step == 2 * kLanes<T>) {
    lane_rows<T, 2>(t);
  } else {
    lane_rows<T, 0>(t);
  }
}

// The last VL pixels are moved a second time rather than in a shorter block.
template <class T>
void planes_to_lanes(const PlanesToLanes<T>& t, const T* planes, T* lanes) {
  constexpr int VL = kLanes<T>;
  const std::ptrdiff_t n = t.pixels;
  for (std::ptrdiff_t first = 0; first < n; first += VL) {
    const std::ptrdiff_t p = n < VL || first + VL <= n ? first : n - VL;
    Vector<T> v[VL];
#pragma GCC unroll 16
    for (int i = 0; i < VL; ++i) {
      const T* const from = planes + i * t.plane + p;
      v[i] = i >= t.lanes ? Vector<T>{} : n < VL ? load_tail(from, static_cast<int>(n)) : load(from);
    }
    transpose<T>(v);
#pragma GCC unroll 16
    for (int i = 0; i < VL; ++i) {
      if (p + i < n) store(lanes + t.at[p + i], v[i]);
    }
  }
}

template <class T>
void lanes_to_planes(const PlanesToLanes<T>& t, const T* lanes, T* planes) {
  constexpr int VL = kLanes<T>;
  const std::ptrdiff_t n = t.pixels;
  for (std::ptrdiff_t first = 0; first < n; first += VL) {
    const std::ptrdiff_t p = n < VL || first + VL <= n ? first : n - VL;
    Vector<T> v[VL];
#pragma GCC unroll 16
    for (int i = 0; i < VL; ++i) v[i] = p + i < n ? load(lanes + t.at[p + i]) : Vector<T>{};
    transpose<T>(v);
#pragma GCC unroll 16
    for (int i = 0; i < VL; ++i) {
      if (i >= t.lanes) break;
      T* const to = planes + i * t.plane + p;
      if (n < VL) {
        store_tail(to, v[i], static_cast<int>(n));
      } else {
        store(to, v[i]);
      }
    }
  }
}

}  // namespace
