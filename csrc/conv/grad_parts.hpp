// A reduction that is split into parts by the shape alone: their sums, added in order.
#pragma once

#include <algorithm>

#include "../cpu.hpp"
#include "../problem.hpp"

namespace fastconv {

// `elements` of each part, one part behind the other.
template <class T>
void add_parts(const T* partial, Index parts, Index elements, T* sum) {
  std::copy_n(partial, elements, sum);
  for (Index part = 1; part < parts; ++part) {
    kernels().of<T>().add_rows(partial + part * elements, elements, sum);
  }
}

}  // namespace fastconv
