// What the kernels of pooling share: windows in the lanes of vectors of any width.
#pragma once

#include "simd.hpp"

namespace {

#define FASTCONV_INLINE inline __attribute__((always_inline))

// How the lanes of one tap are loaded: p[0], p[1], ... or p[0], p[2], ...
enum class Leaf { kDense, kPairs };

// L lanes, as many as there are or half and a quarter of that.
template <class T, int L>
using Lanes = typename Piece<T, L>::type;

template <int L, class T>
FASTCONV_INLINE Lanes<T, L> load_lanes(const T* p) {
  return *reinterpret_cast<const typename Piece<T, L>::unaligned*>(p);
}
template <int L, class T>
FASTCONV_INLINE void store_lanes(T* p, Lanes<T, L> v) {
  *reinterpret_cast<typename Piece<T, L>::unaligned*>(p) = v;
}

template <class V, int... I>
FASTCONV_INLINE V take_even(V a, V b, Indices<I...>) {
  return __builtin_shufflevector(a, b, (2 * I)...);
}
template <class V, int... I>
FASTCONV_INLINE V take_odd(V a, V b, Indices<I...>) {
  return __builtin_shufflevector(a, b, (2 * I + 1)...);
}

template <class V, int... I>
FASTCONV_INLINE V zip_low(V a, V b, Indices<I...>) {
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(a, b, (I % 2 == 0 ? I / 2 : n + I / 2)...);
}
template <class V, int... I>
FASTCONV_INLINE V zip_high(V a, V b, Indices<I...>) {
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(a, b, ((n + I) % 2 == 0 ? (n + I) / 2 : n + (n + I) / 2)...);
}

}  // namespace
