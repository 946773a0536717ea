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

// Into the low half: of `first` the elements 0, 4, ..., of `second` those from `Start` on.
template <int Start, class V, int... I>
inline V every_fourth(V first, V second, Indices<I...>) {
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(first, second, (I < n / 4 ? 4 * I : I < n / 2 ? 4 * I + Start : -1)...);
}
template <class V, int... I>
inline V low_halves(V a, V b, Indices<I...>) {
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(a, b, (I < n / 2 ? I : n / 2 + I)...);
}

// N of src[0], src[4], ... The last quarter is loaded three elements early.
template <class T, int N>
inline void take_every_fourth(const T* src, T* dst) {
  using Part = typename Piece<T, N>::type;
  using Unaligned = typename Piece<T, N>::unaligned;
  using Order = typename MakeIndices<N>::type;
  const auto at = [&](int i) -> Part { return *reinterpret_cast<const Unaligned*>(src + i); };
  const Part low = every_fourth<0>(at(0), at(N), Order{}), high = every_fourth<3>(at(2 * N), at(3 * N - 3), Order{});
  *reinterpret_cast<Unaligned*>(dst) = low_halves(low, high, Order{});
}

// By the widest pieces that fit; the last one overlaps what is there already.
template <class T, int Step, int N>
inline void take_pieces(const T* src, std::ptrdiff_t count, T* dst) {
  const auto take = [&](std::ptrdiff_t i) {
    if constexpr (Step == 2) take_every_second<T, N>(src + Step * i, dst + i);
    if constexpr (Step == 4) take_every_fourth<T, N>(src + Step * i, dst + i);
  };
  if constexpr (N < 4) {
    for (std::ptrdiff_t i = 0; i < count; ++i) dst[i] = src[Step * i];
  } else if (count < N) {
    take_pieces<T, Step, N / 2>(src, count, dst);
  } else {
    for (std::ptrdiff_t i = 0; i + N <= count; i += N) take(i);
    take(count - N);
  }
}

template <class T>
void take_every(const T* src, std::ptrdiff_t step, std::ptrdiff_t count, T* dst) {
  if (step == 2) {
    take_pieces<T, 2, kLanes<T>>(src, count, dst);
    return;
  }
  if (step == 4) {
    take_pieces<T, 4, kLanes<T>>(src, count, dst);
    return;
  }
  for (std::ptrdiff_t i = 0; i < count; ++i) dst[i] = src[i * step];
}

}  // namespace
