// Products of narrow groups, whose channels fill a vector or two: sums[row] += broadcast(a[row]) * vector(b).
//
// The tile of gemm_tile.hpp is wide, four vectors, and would be mostly empty here. These are tall. Their rows lie at
// constant distances, so that one pointer reaches all of them and an FMA takes its factor from memory:
//
//   pixels     rows are neighbouring pixels of a stage [pixel][lane], vectors are weights      outputs, dX
//   channels   rows are the channels of a pixel, vectors neighbouring pixels of another stage  dW: NV taps at a time
#pragma once

#include "simd.hpp"
#include "table.hpp"

namespace {

using fastconv::NarrowTile;

#if defined(__AVX512F__) || defined(__aarch64__)
template <int NV>
inline constexpr int kNarrowPixels = 14;
template <class T, int NV>
inline constexpr int kNarrowChannels = kLanes<T> < 8 ? kLanes<T> : 8;
#else
template <int NV>
inline constexpr int kNarrowPixels = NV == 1 ? 12 : 6;
template <class T, int NV>
inline constexpr int kNarrowChannels = NV == 1 && kLanes<T> >= 8 ? 8
                                       : kLanes<T> < 4           ? kLanes<T>
                                                                 : 4;
#endif

// What will be read next is asked for, some lines at each of the outer steps. `step` is one of the inner steps.
template <class T, int MR, int NV, class F>
inline __attribute__((always_inline)) void narrow_products(const NarrowTile<T>& t, const T* rows, const char*& ahead,
                                                           Vector<T> (&acc)[MR][NV], const F& step) {
  const std::ptrdiff_t inner = t.inner, a_step = t.a_step, b_step = t.b_step;
  for (std::ptrdiff_t i = 0; i < t.outer; ++i, ahead += t.ahead_step) {
    const T* a = rows + t.a_offset[i];
    const T* b = t.b + t.b_offset[i];
#pragma GCC unroll 4
    for (int l = 0; l < fastconv::kNarrowAhead; ++l) {
      __builtin_prefetch(ahead + t.ahead_step / fastconv::kNarrowAhead * l, 0, 2);
    }
    for (std::ptrdiff_t k = 0; k < inner; ++k, a += a_step, b += b_step) {
      b = opaque(b);  // vectors that the next step reads again are not worth moving between registers
      step(a, b, acc);
    }
  }
}

// Row: from a row to the next.
template <class T, int MR, int NV, int Row>
inline __attribute__((always_inline)) void narrow_step(const T* a, const T* b, std::ptrdiff_t b_vector,
                                                       Vector<T> (&acc)[MR][NV]) {
  Vector<T> lanes[NV];
#pragma GCC unroll 3
  for (int j = 0; j < NV; ++j) lanes[j] = load_once(b + j * b_vector);
#pragma GCC unroll 14
  for (int r = 0; r < MR; ++r) {
    const Vector<T> x = broadcast(a[r * Row]);
#pragma GCC unroll 3
    for (int j = 0; j < NV; ++j) acc[r][j] += x * lanes[j];
  }
}

// Pixels, one vector of weights for each of so many taps side by side: a pixel of the input serves as many outputs. By
// one vector and tap alone, every product would load its own factor.
template <class T, int MR, int Taps>
inline __attribute__((always_inline)) void narrow_taps_step(const T* a, const T* b, std::ptrdiff_t b_tap,
                                                            Vector<T> (&acc)[MR][1]) {
  Vector<T> lanes[Taps];
#pragma GCC unroll 3
  for (int s = 0; s < Taps; ++s) lanes[s] = load_once(b + s * b_tap);
#pragma GCC unroll 16
  for (int q = 0; q < MR + Taps - 1; ++q) {
    const Vector<T> x = opaque(broadcast(a[q * kLanes<T>]));
#pragma GCC unroll 3
    for (int s = 0; s < Taps; ++s) {
      if (q >= s && q - s < MR) acc[q - s][0] += x * lanes[s];
    }
  }
}

template <class T, int NV, int Taps>
void narrow_pixels(const NarrowTile<T>& t) {
  constexpr int VL = kLanes<T>, MR = kNarrowPixels<NV>;
  const std::ptrdiff_t row = t.sums_row, b_vector = t.b_vector;
  const char* ahead = static_cast<const char*>(t.ahead != nullptr ? t.ahead : t.a);
  for (std::ptrdiff_t run = 0; run < t.runs; ++run) {
    const T* a = t.a + run * t.a_run;
    T* sums = t.sums + run * t.sums_run;
    for (std::ptrdiff_t first = 0; first < t.rows; first += MR, a += MR * VL) {
      Vector<T> acc[MR][NV] = {};
      narrow_products<T>(
          t, a, ahead, acc, [&](const T* x, const T* w, auto& to) __attribute__((always_inline)) {
            if constexpr (Taps > 1) {
              narrow_taps_step<T, MR, Taps>(x, w, b_vector, to);
            } else {
              narrow_step<T, MR, NV, VL>(x, w, b_vector, to);
            }
          });
#pragma GCC unroll 14
      for (int r = 0; r < MR; ++r, sums += row) {
#pragma GCC unroll 3
        for (int j = 0; j < NV; ++j) {
          const Vector<T> sum = t.bias != nullptr ? acc[r][j] + load(t.bias + j * VL) : acc[r][j];
          store(sums + j * VL, t.relu ? relu<T>(sum) : sum);
        }
      }
    }
  }
}

template <class T, int NV>
void narrow_channels(const NarrowTile<T>& t) {
  constexpr int MR = kNarrowChannels<T, NV>;
  T* sums = t.sums;
  const std::ptrdiff_t row = t.sums_row, vector = t.sums_vector;
  const char* ahead = static_cast<const char*>(t.ahead != nullptr ? t.ahead : t.a);
  for (std::ptrdiff_t first = 0; first < t.rows; first += MR) {
    Vector<T> acc[MR][NV] = {};
    narrow_products<T>(
        t, t.a + first, ahead, acc, [](const T* x, const T* dy, auto& to) __attribute__((always_inline)) {
          narrow_step<T, MR, NV, 1>(x, dy, kLanes<T>, to);
        });
#pragma GCC unroll 14
    for (int r = 0; r < MR; ++r, sums += row) {
#pragma GCC unroll 3
      for (int j = 0; j < NV; ++j) store(sums + j * vector, acc[r][j] + load(sums + j * vector));
    }
  }
}

}  // namespace
