// Groups into the lanes and back: planes of pixels, VL of them at a time, transposed.
#pragma once

#include "simd.hpp"
#include "table.hpp"
#include "transpose.hpp"

namespace {

using fastconv::PlanesToLanes;

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
