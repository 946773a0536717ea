// Neighbours taken apart and put together again, and the numbers of the lanes.
#pragma once

#include "simd.hpp"

namespace {

#define FASTCONV_INLINE inline __attribute__((always_inline))

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

// The lanes whose bits are set in `kept`, zeros in the others.
template <class T>
inline Vector<T> keep(Vector<T> v, const T* kept) {
  using Bits = decltype(v < v);
  return reinterpret_cast<Vector<T>>(reinterpret_cast<Bits>(v) & reinterpret_cast<Bits>(load(kept)));
}

// 0, 1, ...
template <class P, int... I>
FASTCONV_INLINE Vector<P> count_up(Indices<I...>) {
  return Vector<P>{static_cast<P>(I)...};
}

}  // namespace
