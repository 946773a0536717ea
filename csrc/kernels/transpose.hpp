// dst[col][row * step] = src[row][col]: packs weights and gradients into panels, and stores a tile that was
// computed with channels in its lanes into planes of pixels.
#pragma once

#include "simd.hpp"
#include "table.hpp"

namespace {

using fastconv::Transpose;

#if defined(__AVX512F__)
template <class T, int... I>
inline Vector<T> twice(Vector<T> v, int first, Indices<I...>) {
  return first == 0 ? __builtin_shufflevector(v, v, (I / 2)...)
                    : __builtin_shufflevector(v, v, (kLanes<T> / 2 + I / 2)...);
}
#endif

// The first n lanes, `step` apart; what lies between stays as it is.
template <class T>
inline void store_apart(T* p, Vector<T> v, int n, std::ptrdiff_t step) {
  constexpr int VL = kLanes<T>;
#if defined(__AVX512F__)
  if (step == 2) {
    using Order = typename MakeIndices<VL>::type;
    constexpr unsigned even = 0x5555;
    store_lanes(p, twice<T>(v, 0, Order{}),
                static_cast<LaneMask<T>>(even & ((1U << 2 * (n < VL / 2 ? n : VL / 2)) - 1)));
    if (n > VL / 2) {
      store_lanes(p + VL, twice<T>(v, 1, Order{}), static_cast<LaneMask<T>>(even & ((1U << 2 * (n - VL / 2)) - 1)));
    }
    return;
  }
#endif
  alignas(kVectorBytes) T lane[VL];
  store(lane, v);
  for (int i = 0; i < n; ++i) p[i * step] = lane[i];
}

// The first n lanes, of memory that nobody has just written.
template <class T>
inline Vector<T> load_first(const T* p, int n) {
#if defined(__AVX512F__)
  return load_lanes(p, first_lanes<T>(n));
#else
  return load_tail(p, n);
#endif
}

// One VL x VL block; rows and cols (1 to VL) say how much of it exists.
template <class T>
inline void transpose_square(const Transpose<T>& t, std::ptrdiff_t r0, std::ptrdiff_t c0, int rows, int cols) {
  constexpr int VL = kLanes<T>;
  Vector<T> v[VL];
  const T* src = t.src + r0 * t.ld_src + c0;
  if (rows == VL && cols == VL) {
#pragma GCC unroll 16
    for (int i = 0; i < VL; ++i) v[i] = load(src + i * t.ld_src);
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < VL; ++i) {
      v[i] = i >= rows ? Vector<T>{} : cols == VL ? load(src + i * t.ld_src) : load_first(src + i * t.ld_src, cols);
    }
  }
  transpose<T>(v);
  T* dst = t.dst + c0 * t.ld_dst + r0 * t.step;
  if (rows == VL && cols == VL && t.step == 1 && t.bias == nullptr && !t.relu) {
    const std::ptrdiff_t ld = t.ld_dst;
#pragma GCC unroll 16
    for (int i = 0; i < VL; ++i) store(dst + i * ld, v[i]);
    return;
  }
#pragma GCC unroll 16
  for (int i = 0; i < VL; ++i) {
    if (i >= cols) break;
    if (t.bias != nullptr) v[i] += broadcast(t.bias[c0 + i]);
    if (t.relu) v[i] = relu<T>(v[i]);
    if (t.step != 1) {
      store_apart(dst + i * t.ld_dst, v[i], rows, t.step);
    } else if (rows == VL) {
      store(dst + i * t.ld_dst, v[i]);
    } else {
      store_tail(dst + i * t.ld_dst, v[i], rows);
    }
  }
}

// Of one or two rows or columns: a block would shuffle what does not exist.
template <class T>
void transpose_narrow(const Transpose<T>& t) {
  for (std::ptrdiff_t c = 0; c < t.cols; ++c) {
    const T bias = t.bias == nullptr ? T(0) : t.bias[c];
    for (std::ptrdiff_t r = 0; r < t.rows; ++r) {
      const T value = t.bias == nullptr ? t.src[r * t.ld_src + c] : t.src[r * t.ld_src + c] + bias;
      t.dst[c * t.ld_dst + r * t.step] = t.relu && value < T(0) ? T(0) : value;
    }
  }
}

template <class T>
void transpose_block(const Transpose<T>& t) {
  constexpr int VL = kLanes<T>;
  if (t.rows <= 2 || t.cols <= 2) {
    transpose_narrow(t);
    return;
  }
  const auto square = [&](std::ptrdiff_t r, std::ptrdiff_t c) {
    transpose_square(t, r, c, t.rows - r < VL ? static_cast<int>(t.rows - r) : VL,
                     t.cols - c < VL ? static_cast<int>(t.cols - c) : VL);
  };
  // Along the rows that lie further apart: a few streams at a time are what hardware can run ahead of.
  if (t.ld_src > t.ld_dst) {
    for (std::ptrdiff_t r = 0; r < t.rows; r += VL) {
      for (std::ptrdiff_t c = 0; c < t.cols; c += VL) square(r, c);
    }
  } else {
    for (std::ptrdiff_t c = 0; c < t.cols; c += VL) {
      for (std::ptrdiff_t r = 0; r < t.rows; r += VL) square(r, c);
    }
  }
}

}  // namespace
