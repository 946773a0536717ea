// The peak to compare with: floating-point operations of a loop of independent FMA chains.
#pragma once

#include "simd.hpp"

namespace {

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
