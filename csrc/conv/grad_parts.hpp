// Sums over pixels in parts: those of a reduction that is split by the shape alone, added in order, and those of the
// bias's gradient.
#pragma once

#include <algorithm>
#include <utility>

#include "../cpu.hpp"
#include "../problem.hpp"
#include "blocking.hpp"

namespace fastconv {

constexpr Index kPartialBytes = Index{4} << 20;  // for all parts together

// Whether dW has no gaps, taps fastest: the sums of parts are laid out as it is.
inline bool dense_gradient(const Problem& p) { return p.w.in == p.taps() && p.w.out == p.channels * p.w.in; }

// dW^T of a pointwise problem: x and dY change places.
inline Problem swapped(Problem p) {
  std::swap(p.channels, p.outputs);
  std::swap(p.x, p.y);
  std::swap(p.w.in, p.w.out);
  return p;
}

// Several parts come in fours, so that threads which share them get the same.
inline Index even_parts(Index parts) { return parts < 3 ? parts : (parts + 1) / 4 * 4; }

// The blocks of one of the parts. Those with one more than others lie between them.
inline Range blocks_of_part(Index blocks, Index parts, Index part) {
  return {blocks * part / parts, blocks * (part + 1) / parts};
}

// How many parts the reduction over `blocks` of pixels is split into: many where dW is small, since nothing else could
// keep many threads busy; else at most `few`.
template <class T>
Index parts_of_gradient(const Problem& p, Index blocks, Index few) {
  constexpr Index kSmall = Index{64} << 10, kMany = 16, kBlocks = 8;  // kBlocks: of a part, they pay for its addition
  const Index elements = p.groups * p.outputs * p.channels * p.taps();
  const Index memory = kPartialBytes / (elements * static_cast<Index>(sizeof(T)));
  return std::clamp<Index>(std::min({even_parts(blocks / kBlocks), memory, elements <= kSmall ? kMany : few}), 1,
                           kMany);
}

// `elements` of each part, one part behind the other.
template <class T>
void add_parts(const T* partial, Index parts, Index elements, T* sum) {
  std::copy_n(partial, elements, sum);
  for (Index part = 1; part < parts; ++part) {
    kernels().of<T>().add_rows(partial + part * elements, elements, sum);
  }
}

// totals[i] += the sum of the n elements of row i: a part of the bias's gradient.
template <class T>
void add_row_sums(const T* rows, Index ld, Index count, Index n, double* totals) {
  constexpr Index kTogether = 16;  // a vector, or a few
  T part[kTogether];
  for (Index first = 0; first < count; first += kTogether) {
    const Index some = std::min(kTogether, count - first);
    kernels().of<T>().sum_rows(rows + first * ld, ld, some, n, part);
    for (Index i = 0; i < some; ++i) totals[first + i] += static_cast<double>(part[i]);
  }
}

}  // namespace fastconv
