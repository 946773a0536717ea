// The weight gradient of a depthwise or narrow-group convolution: products of a gradient with its input, tap by tap.
//
//     sums[o, k][lane] += sum over i, j of  dy[o, i, j][lane] * x[offset[k] + i * x_row + j * x_step][lane]
//
// A tile of dy, OB outputs by NB vectors, stays in registers while all the taps pass by: each vector of x serves OB
// products, and each sum is met once for NB of them. The lanes are pixels or groups; the kernel does not care.
#pragma once

#include "shifted_tile.hpp"
#include "simd.hpp"
#include "table.hpp"

namespace {

using fastconv::TapSums;

template <class T, int Step, int OB, int NB>
inline void tap_tile(const TapSums<T>& t, const T* x, const T* dy) {
  constexpr int VL = kLanes<T>;
  const std::ptrdiff_t step = Step > 0 ? Step * VL : t.x_step, depth = t.depth, sums_row = t.sums_row;
  const std::ptrdiff_t* offset = t.offset;
  Vector<T> d[OB][NB];
#pragma GCC unroll 4
  for (int o = 0; o < OB; ++o) {
#pragma GCC unroll 8
    for (int v = 0; v < NB; ++v) d[o][v] = load_once(dy + o * t.dy_output + v * t.dy_step);
  }
  T* sums = t.sums;
  for (std::ptrdiff_t k = 0; k < depth; ++k, sums += VL) {
    const T* const from = opaque(x + offset[k]);
    Vector<T> even[OB], odd[OB];  // two chains for each output
#pragma GCC unroll 8
    for (int v = 0; v < NB; ++v) {
      const Vector<T> lanes = OB > 1 ? load_once(from + v * step) : load(from + v * step);
#pragma GCC unroll 4
      for (int o = 0; o < OB; ++o) {
        Vector<T>& sum = v % 2 == 0 ? even[o] : odd[o];
        sum = v < 2 ? d[o][v] * lanes : sum + d[o][v] * lanes;
      }
    }
#pragma GCC unroll 4
    for (int o = 0; o < OB; ++o) {
      T* const to = sums + o * sums_row;
      store(to, load(to) + (NB > 1 ? even[o] + odd[o] : even[o]));
    }
  }
}

template <class T, int Step, int OB, int NB>
inline void tap_tiles(const TapSums<T>& t, const T* x, const T* dy, std::ptrdiff_t n) {
  if constexpr (NB > 0) {
    const std::ptrdiff_t step = Step > 0 ? Step * kLanes<T> : t.x_step;
    for (; n >= NB; n -= NB, x += NB * step, dy += NB * t.dy_step) tap_tile<T, Step, OB, NB>(t, x, dy);
    if (n > 0) tap_tiles<T, Step, OB, NB / 2>(t, x, dy, n);
  }
}

// OB * NB vectors of dy, two chains for each output and one vector of x must fit the registers.
template <int OB>
inline constexpr int kTapVectors = kRunVectors<4> == 2 ? (OB == 2 ? 4 : 2) : (OB == 2 ? 7 : 5);

template <class T, int Step, int OB>
void tap_sums(const TapSums<T>& t) {
  if (OB > 1) {
    for (std::ptrdiff_t i = 0; i < t.rows; ++i) {
      tap_tiles<T, Step, OB, kTapVectors<OB>>(t, t.x + i * t.x_row, t.dy + i * t.dy_row, t.width);
    }
    return;
  }
  // Of 5 to 8 vectors a number that leaves none of a row over.
  const auto row = t.width % 8 == 0   ? tap_tiles<T, Step, OB, 8>
                   : t.width % 7 == 0 ? tap_tiles<T, Step, OB, 7>
                   : t.width % 6 == 0 ? tap_tiles<T, Step, OB, 6>
                   : t.width % 5 == 0 ? tap_tiles<T, Step, OB, 5>
                                      : tap_tiles<T, Step, OB, 8>;
  for (std::ptrdiff_t i = 0; i < t.rows; ++i) row(t, t.x + i * t.x_row, t.dy + i * t.dy_row, t.width);
}

template <class T, int OB>
void tap_sums(const TapSums<T>& t) {
  if (t.x_step == kLanes<T>) {
    tap_sums<T, 1, OB>(t);
  } else if (t.x_step == 2 * kLanes<T>) {
    tap_sums<T, 2, OB>(t);
  } else {
    tap_sums<T, 0, OB>(t);
  }
}

}  // namespace
