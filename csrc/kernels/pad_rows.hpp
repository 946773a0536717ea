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

// Without -0: then it makes no difference how many zeros are added later.
template <class T>
inline void scale_row(const T* src, const T* scale, std::ptrdiff_t count, const T* src_end, T* dst) {
  constexpr std::ptrdiff_t VL = kLanes<T>;
  for (std::ptrdiff_t i = 0; i < count; i += VL) {
    const bool whole = i + VL <= count || src + i + VL <= src_end;
    const Vector<T> v = whole ? load(src + i) : load_tail(src + i, static_cast<int>(count - i));
    store(dst + i, v * load(scale + i) + Vector<T>{});
  }
}

// Slices and rows go upwards in memory, so that what overshoots one is overwritten by the next.
template <class T>
void pad_rows(const PadRows<T>& given) {
  constexpr std::ptrdiff_t VL = kLanes<T>;
  const PadRows<T> t = given;  // which no store can change
  const Vector<T> padding = broadcast(t.padding);
  pad(t.dst, t.lead, padding);
  std::ptrdiff_t outer = 0, inner = 0;
  for (std::ptrdiff_t slice = 0; slice < t.outer * t.inner; ++slice) {
    const T* src = t.src + outer * t.src_step[0] + inner * t.src_step[1];
    T* dst = t.dst + t.lead + slice * t.dst_slice;
    if (++inner == t.inner) inner = 0, ++outer;
    for (std::ptrdiff_t row = 0; row < t.rows; ++row, src += t.src_step[2], dst += t.pitch) {
      if (t.scale != nullptr) {
        scale_row(src, t.scale[row], t.count, t.src_end, dst);
      } else if (t.count >= VL) {
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
