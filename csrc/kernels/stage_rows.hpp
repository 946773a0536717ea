// Copies rows of a plane into a padded, deinterleaved plane: what every shifted load of the depthwise kernels reads.
#pragma once

#include "gather.hpp"
#include "simd.hpp"
#include "table.hpp"

namespace {

using fastconv::StageRows;

// Zeros to dst[0..n), and up to a vector more. One vector nearly always does; a call of memset would cost more.
template <class T>
inline void clear(T* dst, std::ptrdiff_t n) {
  store(dst, Vector<T>{});
  if (__builtin_expect(n <= kLanes<T>, 1)) return;
  for (std::ptrdiff_t i = kLanes<T>; i < n; i += kLanes<T>) store(dst + i, Vector<T>{});
}

template <class T>
inline void copy_dense(const T* src, std::ptrdiff_t n, T* dst) {
  constexpr int VL = kLanes<T>;
  if (n < VL) {
#pragma GCC unroll 4
    for (int half = VL / 2; half > 0; half /= 2) {
      if ((n & half) == 0) continue;
      __builtin_memcpy(dst, src, static_cast<std::size_t>(half) * sizeof(T));
      src += half;
      dst += half;
    }
    return;
  }
  for (std::ptrdiff_t i = 0; i + VL <= n; i += VL) store(dst + i, load(src + i));
  store(dst + n - VL, load(src + n - VL));  // overlaps what is there already
}

// Rows go upwards in memory, so that the zeros which overshoot one are overwritten by the next.
template <class T>
void stage_rows(const StageRows<T>& t) {
  const T* src = t.src;
  T* dst = t.dst;
  const std::ptrdiff_t right = t.dst_row - t.left - t.count;
  for (std::ptrdiff_t row = 0; row < t.rows; ++row, dst += t.dst_row) {
    if (t.left > 0) clear(dst, t.left);
    T* const to = dst + t.left;
    if (t.step == 1) {
      copy_dense(src, t.count, to);
    } else {
      take_every(src, t.step, t.count, to);
    }
    if (right > 0) clear(to + t.count, right);
    if (row + 1 < t.rows) src += t.src_row;
  }
}

}  // namespace
