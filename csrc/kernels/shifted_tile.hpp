// Convolution of staged planes by shifted loads: vectors are pixels of the flattened stage, several output channels
// share each one that is loaded.
//
//     sums[o, f] = sum_k  w[o, k] * x[offset[k] + f]
//
// No packing: a tap is an offset. It is the kernel of narrow groups and of every window that has none of its own.
#pragma once

#include "simd.hpp"
#include "table.hpp"

namespace {

using fastconv::ShiftedRun;

// Accumulators, one vector of x for each column and a broadcast weight must fit the registers; fewer than eight chains
// would wait for each other.
#if defined(__AVX512F__) || defined(__aarch64__)
template <int OB>
inline constexpr int kRunVectors = OB == 1   ? 8
                                   : OB == 2 ? 6
                                             : 4;
#else
template <int OB>
inline constexpr int kRunVectors = OB == 1   ? 8
                                   : OB == 2 ? 4
                                   : OB == 3 ? 3
                                             : 2;
#endif

template <class T, int OB, int NV>
inline void shifted_tile(const ShiftedRun<T>& t, std::ptrdiff_t f) {
  constexpr int VL = kLanes<T>;
  Vector<T> acc[OB][NV] = {};
  const T* const x = t.x + f;
  for (std::ptrdiff_t k = 0; k < t.depth; ++k) {
    const T* const from = x + t.offset[k];
    Vector<T> lanes[NV];
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) lanes[v] = load_once(from + v * VL);
#pragma GCC unroll 4
    for (int o = 0; o < OB; ++o) {
      const Vector<T> w = broadcast(t.w[o * t.w_row + k]);
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) acc[o][v] += w * lanes[v];
    }
  }
#pragma GCC unroll 4
  for (int o = 0; o < OB; ++o) {
    const Vector<T> bias = broadcast(t.bias == nullptr ? T(0) : t.bias[o]);
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) {
      const Vector<T> sum = acc[o][v] + bias;
      store(t.sums + o * t.sums_row + f + v * VL, t.relu ? relu<T>(sum) : sum);
    }
  }
}

template <class T, int OB, int NV>
inline void shifted_rest(const ShiftedRun<T>& t, std::ptrdiff_t f) {
  if (f + (NV - 1) * kLanes<T> < t.length) {
    shifted_tile<T, OB, NV>(t, f);
  } else if constexpr (NV > 1) {
    shifted_rest<T, OB, NV - 1>(t, f);
  }
}

template <class T, int OB>
void shifted_run(const ShiftedRun<T>& t) {
  constexpr int NV = kRunVectors<OB>;
  for (std::ptrdiff_t f = 0; f < t.length; f += NV * kLanes<T>) shifted_rest<T, OB, NV>(t, f);
}

}  // namespace
