// dst[i] = src[i * step]: rows whose columns are met with a stride.
#pragma once

#include "shuffles.hpp"
#include "simd.hpp"

namespace {

template <class T>
void take_every(const T* src, std::ptrdiff_t step, std::ptrdiff_t count, T* dst) {
  constexpr std::ptrdiff_t VL = kLanes<T>;
  using Order = typename MakeIndices<kLanes<T>>::type;
  std::ptrdiff_t i = 0;
  if (step == 2) {  // two loads read one element more than is wanted: the last vector is left to the scalar loop
    for (; i + VL < count; i += VL) {
      store(dst + i, take_even(load(src + 2 * i), load(src + 2 * i + VL), Order{}));
    }
  }
  for (; i < count; ++i) dst[i] = src[i * step];
}

}  // namespace
