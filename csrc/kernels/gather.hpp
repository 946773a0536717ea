// dst[i] = src[i * step]: rows whose columns are met with a stride.
#pragma once

#include "simd.hpp"

namespace {

template <class V, int... I>
inline V every_second(V low, V high, Indices<I...>) {
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(low, high, (2 * I < n ? 2 * I : 2 * I + 1)...);
}

// N of src[0], src[2], ... The upper half is loaded one element early, so that nothing behind the last one that is
// wanted is read.
template <class T, int N>
inline void take_every_second(const T* src, T* dst) {
  using Unaligned = typename Piece<T, N>::unaligned;
  const typename Piece<T, N>::type low = *reinterpret_cast<const Unaligned*>(src);
  const typename Piece<T, N>::type high = *reinterpret_cast<const Unaligned*>(src + N - 1);
  *reinterpret_cast<Unaligned*>(dst) = every_second(low, high, typename MakeIndices<N>::type{});
}

// By the widest pieces that fit; the last one overlaps what is there already.
template <class T, int N>
inline void take_every_second(const T* src, std::ptrdiff_t count, T* dst) {
  if constexpr (N < 4) {
    for (std::ptrdiff_t i = 0; i < count; ++i) dst[i] = src[2 * i];
  } else if (count < N) {
    take_every_second<T, N / 2>(src, count, dst);
  } else {
    for (std::ptrdiff_t i = 0; i + N <= count; i += N) take_every_second<T, N>(src + 2 * i, dst + i);
    take_every_second<T, N>(src + 2 * (count - N), dst + count - N);
  }
}

template <class T>
void take_every(const T* src, std::ptrdiff_t step, std::ptrdiff_t count, T* dst) {
  if (step == 2) {
    take_every_second<T, kLanes<T>>(src, count, dst);
    return;
  }
  for (std::ptrdiff_t i = 0; i < count; ++i) dst[i] = src[i * step];
}

}  // namespace
