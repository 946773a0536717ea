// Both gradients of a depthwise convolution over one plane, a tap being an offset into dY (see depthwise_table.hpp):
//
//     dx[f] = sum_k w[k] * dy[offset[k] + f],    sums[k][lane] += x[f] * dy[offset[k] + f]
//
// Either asks for the same vectors of dY, so each that is loaded serves two products. A tile of x and of dx stays in
// registers while all the taps pass by.
#pragma once

#include "shuffles.hpp"
#include "simd.hpp"
#include "table.hpp"

namespace {

using fastconv::PlaneGradients;
using fastconv::ShiftedCopies;

// Vectors of x and as many of dx, two chains of sums, a weight and a vector of dy must fit the registers.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kGradientVectors = 8;
#else
constexpr int kGradientVectors = 4;
#endif

// Zeros in the first n lanes.
template <class T>
inline Vector<T> without_first(Vector<T> v, std::ptrdiff_t n) {
  const Vector<T> lane = count_up<T>(typename MakeIndices<kLanes<T>>::type{});
  return lane < broadcast(static_cast<T>(n)) ? Vector<T>{} : v;
}

// NB vectors of pixels from f on, of which the last is moved back by some pixels that the others have counted already.
template <class T, bool Dx, bool Dw, int NB>
void gradient_tile(const PlaneGradients<T>& t, std::ptrdiff_t f, std::ptrdiff_t back) {
  constexpr int VL = kLanes<T>;
  const std::ptrdiff_t last = (NB - 1) * VL - back, depth = t.depth;
  const auto at = [&](int v) { return v == NB - 1 ? last : v * VL; };
  Vector<T> x[NB], dx[NB] = {};
  if constexpr (Dw) {
#pragma GCC unroll 8
    for (int v = 0; v < NB; ++v) x[v] = load_once(t.x + f + at(v));
    x[NB - 1] = without_first<T>(x[NB - 1], back);
  }
  const T* const dy = t.dy + f;
  const T* w = t.w;
  T* sums = t.sums;
  for (std::ptrdiff_t k = 0; k < depth; ++k) {
    const T* const from = opaque(dy + t.offset[k]);
    Vector<T> weight{}, even{}, odd{};  // two chains of sums
    if constexpr (Dx) weight = broadcast(w[k]);
#pragma GCC unroll 8
    for (int v = 0; v < NB; ++v) {
      const Vector<T> lanes = load_once(from + at(v));
      if constexpr (Dx) dx[v] += weight * lanes;
      if constexpr (Dw) {
        Vector<T>& sum = v % 2 == 0 ? even : odd;
        sum = v < 2 ? x[v] * lanes : sum + x[v] * lanes;
      }
    }
    if constexpr (Dw) {
      store(sums, load(sums) + (NB > 1 ? even + odd : even));
      sums += VL;
    }
  }
  if constexpr (Dx) {
#pragma GCC unroll 8
    for (int v = 0; v < NB; ++v) store(t.dx + f + at(v), dx[v]);
  }
}

template <class T, bool Dx, bool Dw, int NB>
void gradient_rest(const PlaneGradients<T>& t, std::ptrdiff_t f, std::ptrdiff_t vectors, std::ptrdiff_t back) {
  if (vectors == NB) {
    gradient_tile<T, Dx, Dw, NB>(t, f, back);
  } else if constexpr (NB > 1) {
    gradient_rest<T, Dx, Dw, NB - 1>(t, f, vectors, back);
  }
}

// The fewest tiles, of like sizes.
template <class T, bool Dx, bool Dw>
void gradient_tiles(const PlaneGradients<T>& t) {
  constexpr std::ptrdiff_t VL = kLanes<T>, most = kGradientVectors;
  const std::ptrdiff_t vectors = (t.length + VL - 1) / VL, back = vectors * VL - t.length;
  const std::ptrdiff_t tiles = (vectors + most - 1) / most, each = (vectors + tiles - 1) / tiles;
  std::ptrdiff_t v = 0;
  for (; v + each < vectors; v += each) gradient_rest<T, Dx, Dw, most>(t, v * VL, each, 0);
  gradient_rest<T, Dx, Dw, most>(t, v * VL, vectors - v, back);
}

template <class T>
void plane_gradients(const PlaneGradients<T>& t) {
  if (t.dx == nullptr) {
    gradient_tiles<T, false, true>(t);
  } else if (t.sums == nullptr) {
    gradient_tiles<T, true, false>(t);
  } else {
    gradient_tiles<T, true, true>(t);
  }
}

template <class T>
void shifted_copies(const ShiftedCopies<T>& t) {
  constexpr std::ptrdiff_t VL = kLanes<T>;
  const std::ptrdiff_t step = VL % t.period;
  std::ptrdiff_t column = 0;
  for (std::ptrdiff_t f = 0; f < t.length; f += VL) {
    for (std::ptrdiff_t c = 0; c < t.count; ++c) {
      const Vector<T> kept = load(t.kept + c * (t.period + VL) + column), from = load(t.from + f + t.shift[c]);
      store(t.to + c * t.to_copy + f, kept > Vector<T>{} ? from : Vector<T>{});
    }
    column += step;
    if (column >= t.period) column -= t.period;
  }
}

// The last vector overlaps the one before.
template <class T>
void split_pairs(const T* src, std::ptrdiff_t pairs, T* even, T* odd) {
  constexpr std::ptrdiff_t VL = kLanes<T>;
  using Order = typename MakeIndices<kLanes<T>>::type;
  const auto split = [&](std::ptrdiff_t i) {
    const Vector<T> a = load_once(src + 2 * i), b = load_once(src + 2 * i + VL);
    store(even + i, take_even(a, b, Order{}));
    store(odd + i, take_odd(a, b, Order{}));
  };
  if (pairs < VL) {
    for (std::ptrdiff_t i = 0; i < pairs; ++i) even[i] = src[2 * i], odd[i] = src[2 * i + 1];
    return;
  }
  for (std::ptrdiff_t i = 0; i + VL <= pairs; i += VL) split(i);
  split(pairs - VL);
}

template <class T>
void join_pairs(const T* even, const T* odd, std::ptrdiff_t pairs, T* dst) {
  constexpr std::ptrdiff_t VL = kLanes<T>;
  using Order = typename MakeIndices<kLanes<T>>::type;
  const auto zip = [&](std::ptrdiff_t i) {
    const Vector<T> a = load_once(even + i), b = load_once(odd + i);
    store(dst + 2 * i, zip_low(a, b, Order{}));
    store(dst + 2 * i + VL, zip_high(a, b, Order{}));
  };
  if (pairs < VL) {
    for (std::ptrdiff_t i = 0; i < pairs; ++i) dst[2 * i] = even[i], dst[2 * i + 1] = odd[i];
    return;
  }
  for (std::ptrdiff_t i = 0; i + VL <= pairs; i += VL) zip(i);
  zip(pairs - VL);
}

}  // namespace
