// Copies of many short rows, for the packers: a call of memcpy would cost more than the row.
#pragma once

#include "simd.hpp"
#include "table.hpp"

namespace {

using fastconv::Copy;

// n < VL elements in at most log2(VL) moves.
template <class T>
inline void copy_short(const T* src, std::ptrdiff_t n, T* dst) {
#pragma GCC unroll 4
  for (std::ptrdiff_t half = kLanes<T> / 2; half > 0; half /= 2) {
    if ((n & half) == 0) continue;
    __builtin_memcpy(dst, src, static_cast<std::size_t>(half) * sizeof(T));
    src += half;
    dst += half;
  }
}

template <class T>
void copy_rows(const Copy<T>& t) {
  constexpr std::ptrdiff_t VL = kLanes<T>;
  const T* src = t.src;
  T* dst = t.dst;
  const std::ptrdiff_t n = t.count;
  for (std::ptrdiff_t row = 0; row < t.rows; ++row, src += t.ld_src, dst += t.ld_dst) {
    if (n < VL) {
      copy_short(src, n, dst);
      continue;
    }
    std::ptrdiff_t i = 0;
    for (; i + VL <= n; i += VL) store(dst + i, load(src + i));
    if (i < n) store(dst + n - VL, load(src + n - VL));  // overlaps what is there already
  }
}

}  // namespace
