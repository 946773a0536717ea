// dst[i] = src[i * step]: rows whose columns are met with a stride.
#pragma once

#include "simd.hpp"

namespace {

template <class V, int... I>
inline V every_second(V low, V high, Indices<I...>) {
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(low, high, (2 * I < n ? 2 * I : 2 * I + 1)...);
}

// src[0], src[2], ... The upper half is loaded one element early, so that nothing behind the last one that is wanted is
// read.
template <class T>
inline Vector<T> load_every_second(const T* src) {
  constexpr int VL = kLanes<T>;
  return every_second(load(src), load(src + VL - 1), typename MakeIndices<VL>::type{});
}

template <class T>
void take_every(const T* src, std::ptrdiff_t step, std::ptrdiff_t count, T* dst) {
  constexpr std::ptrdiff_t VL = kLanes<T>;
  if (step != 2 || count < VL) {
    for (std::ptrdiff_t i = 0; i < count; ++i) dst[i] = src[i * step];
    return;
  }
  for (std::ptrdiff_t i = 0; i + VL <= count; i += VL) store(dst + i, load_every_second(src + 2 * i));
  store(dst + count - VL, load_every_second(src + 2 * (count - VL)));  // overlaps what is there already
}

}  // namespace
