// Copies rows between margins of padding: see PadRows in pool_table.hpp.
#pragma once

#include "copy.hpp"
#include "simd.hpp"
#include "table.hpp"

namespace {

using fastconv::PadRows;

// value to dst[0..n), and up to a vector more.
template <class T>
inline void pad(T* dst, std::ptrdiff_t n, Vector<T> value) {
  for (std::ptrdiff_t i = 0; i < n; i += kLanes<T>) store(dst + i, value);
}

// Slices and rows go upwards in memory, so that what overshoots one is overwritten by the next.
template <class T>
void pad_rows(const PadRows<T>& given) {
  constexpr std::ptrdiff_t VL = kLanes<T>;
  const PadRows<T> t = given;  // which no store can change
  const Vector<T> padding = broadcast(t.padding);
  pad(t.dst, t.lead, padding);
  for (std::ptrdiff_t slice = 0; slice < t.outer * t.inner; ++slice) {
    const T* src = t.src + slice / t.inner * t.src_step[0] + slice % t.inner * t.src_step[1];
    T* dst = t.dst + t.lead + slice * t.dst_slice;
    for (std::ptrdiff_t row = 0; row < t.rows; ++row, src += t.src_step[2], dst += t.pitch) {
      if (t.count >= VL) {
        for (std::ptrdiff_t i = 0; i + VL <= t.count; i += VL) store(dst + i, load(src + i));
        store(dst + t.count - VL, load(src + t.count - VL));  // overlaps what is there already
      } else if (src + VL <= t.src_end) {
        store(dst, load(src));
      } else {
        copy_short(src, t.count, dst);
      }
      pad(dst + t.count, t.pitch - t.count, padding);
    }
    pad(dst, t.dst_slice - t.rows * t.pitch, padding);
  }
}

}  // namespace
