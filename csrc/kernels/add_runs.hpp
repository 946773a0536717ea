// Rows of products added to places that follow each other at a stride, and overlap: see AddRuns in move_table.hpp.
#pragma once

#include "simd.hpp"
#include "table.hpp"

namespace {

using fastconv::AddRuns;

// A vector of N elements, and of what is left half a vector, a quarter, ...
template <class T, int N>
inline void add_pieces(const T* src, std::ptrdiff_t n, T* sum) {
  using V = typename Piece<T, N>::unaligned;
  for (; n >= N; n -= N, src += N, sum += N) *reinterpret_cast<V*>(sum) += *reinterpret_cast<const V*>(src);
  if constexpr (N > 1) {
    if (n > 0) add_pieces<T, N / 2>(src, n, sum);
  }
}

template <class T>
void add_runs(const AddRuns<T>& t) {
  for (std::ptrdiff_t place = 0; place < t.places; ++place) {
    for (std::ptrdiff_t run = 0; run < t.runs; ++run) {
      add_pieces<T, kLanes<T>>(t.src + place * t.src_place + run * t.src_run, t.count,
                               t.sum + place * t.sum_place + run * t.sum_run);
    }
  }
}

}  // namespace
