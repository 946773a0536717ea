// Sums and the FMA burst: the small kernels beside the tile.
#pragma once

#include "simd.hpp"

namespace {

template <class T>
void add_rows(const T* src, std::ptrdiff_t n, T* sum) {
  std::ptrdiff_t i = 0;
  for (; i + kLanes<T> <= n; i += kLanes<T>) store(sum + i, load(sum + i) + load(src + i));
  for (; i < n; ++i) sum[i] += src[i];
}

// Four vectors of partial sums, so that the additions overlap and the error grows slowly.
template <class T>
T sum(const T* src, std::ptrdiff_t n) {
  constexpr int VL = kLanes<T>;
  Vector<T> part[4] = {};
  std::ptrdiff_t i = 0;
  for (; i + 4 * VL <= n; i += 4 * VL) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) part[j] += load(src + i + j * VL);
  }
  for (; i + VL <= n; i += VL) part[0] += load(src + i);
  if (i < n) part[1] += load_tail(src + i, static_cast<int>(n - i));
  const Vector<T> all = (part[0] + part[1]) + (part[2] + part[3]);
  T total = 0;
  for (int j = 0; j < VL; ++j) total += all[j];
  return total;
}

// Ten chains cover two FMA units of five cycles' latency, and fit 16 registers with their factors.
// Every value comes from the argument: of constants, the optimiser would find that the chain which
// starts at 1 stays there (1 * 0.999 + 0.001), drop it, and report 10/9 of the peak.
template <class T>
double fma_burst(std::ptrdiff_t iterations) {
  constexpr int chains = 10;
  const T tiny = T(1) / static_cast<T>(iterations + 1);
  const Vector<T> a = broadcast(T(1) - tiny), b = broadcast(tiny * tiny);
  Vector<T> acc[chains];
  for (int i = 0; i < chains; ++i) acc[i] = broadcast(tiny * T(i));
  for (std::ptrdiff_t k = 0; k < iterations; ++k) {
#pragma GCC unroll 10
    for (int i = 0; i < chains; ++i) acc[i] = acc[i] * a + b;
  }
  Vector<T> all{};
  for (int i = 0; i < chains; ++i) all += acc[i];
  asm volatile("" : : "m"(all));
  return 2.0 * chains * kLanes<T> * static_cast<double>(iterations);
}

}  // namespace
