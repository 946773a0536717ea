// What the weights' gradients of depthwise and narrow-group convolutions share: images cut into parts by the shape
// alone, sums folded to doubles, parts added in order.
#pragma once

#include <algorithm>

#include "../problem.hpp"
#include "blocking.hpp"

namespace fastconv {

constexpr Index kVectorsPerFold = 1024;  // 128 additions in a chain, for tiles of 8 vectors

struct Images {
  Index first, end;
};

// Parts of the batch, for some tasks of `blocks` of groups each.
inline Panels image_parts(const Problem& p, Index blocks) {
  constexpr Index kPartTasks = 16;
  return Panels(p.batch, std::max<Index>(1, p.batch * blocks / kPartTasks));
}

// totals += sums; sums = 0
template <class T>
void fold_sums(T* sums, Index n, double* totals) {
  for (Index i = 0; i < n; ++i) totals[i] += static_cast<double>(sums[i]);
  std::fill_n(sums, n, T(0));
}

// All parts, `size` sums each, into the first.
inline void add_image_parts(double* sums, Index parts, Index size) {
  for (Index part = 1; part < parts; ++part) {
    for (Index i = 0; i < size; ++i) sums[i] += sums[part * size + i];
  }
}

}  // namespace fastconv
