// Finished outputs with channels in the lanes, pooled before they are stored: see PoolPixels in pool_table.hpp.
#pragma once

#include "pool_fold.hpp"

namespace {

using fastconv::PoolPixels;

// One vector of channels of all windows; `bias` and what else finishes an output comes before its window is folded.
template <class T, template <class, int> class State>
void pool_column_of_pixels(const PoolPixels<T>& t, T* sums, Vector<T> bias, Vector<T> scale) {
  const std::ptrdiff_t row = t.columns * t.width;
  const auto tap = [&](const T* p) {
    State<T, 1> s;
    const Vector<T> v = t.bias == nullptr ? load(p) : load(p) + bias;
    s.value[0] = t.relu ? relu<T>(v) : v;
    return s;
  };
  T* to = sums;
  for (std::ptrdiff_t i = 0; i + 1 < t.rows; i += 2) {
    const T* from = sums + i * row;
    for (std::ptrdiff_t j = 0; j + 1 < t.columns; j += 2, from += 2 * t.width, to += t.width) {
      State<T, 1> window = tap(from), below = tap(from + row);
      window.combine(tap(from + t.width));
      below.combine(tap(from + row + t.width));
      window.combine(below);
      store(to, window.value[0] * scale);
    }
  }
}

template <class T, template <class, int> class State>
void pool_pixels(const PoolPixels<T>& t) {
  for (std::ptrdiff_t at = 0; at < t.channels; at += kLanes<T>) {
    const std::ptrdiff_t left = t.channels - at;
    const Vector<T> bias = t.bias == nullptr  ? Vector<T>{}
                           : left < kLanes<T> ? load_tail(t.bias + at, static_cast<int>(left))
                                              : load(t.bias + at);
    pool_column_of_pixels<T, State>(t, t.sums + at, bias, broadcast(t.scale));
  }
}

}  // namespace
