// The products between Winograd's transforms: small dense matrices, one for each point.
//
// The same tile as in gemm_tile.hpp, but the sweep over the rows is inside: a point's matrices are so small that calls
// would show. The weights come from beyond L2, once for each block of tiles, so each step of the sums asks for a line
// of those that will be wanted next.
#pragma once

#include "simd.hpp"
#include "table.hpp"

namespace {

using fastconv::WinogradProduct;

// What to ask for at each step: two lines `apart`, which may be one.
template <class T>
struct LinesAhead {
  const T* first;
  std::ptrdiff_t apart;
};

// MR rows of V.
template <class T, int MR, int NV>
inline __attribute__((always_inline)) void product_rows(const WinogradProduct<T>& t, const T* v, T* m,
                                                        LinesAhead<T> ahead) {
  constexpr int VL = kLanes<T>;
  Vector<T> acc[MR][NV] = {};
  const T* u = t.u;
  const std::ptrdiff_t ldv = t.ldv;
#pragma GCC unroll 4
  for (std::ptrdiff_t k = t.depth; k > 0; --k, ++v, u += NV * VL, ahead.first += NV * VL) {
    Vector<T> lanes[NV];
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) lanes[j] = load(u + j * VL);
    __builtin_prefetch(ahead.first, 0, 2);
    __builtin_prefetch(ahead.first + ahead.apart, 0, 2);
#pragma GCC unroll 12
    for (int i = 0; i < MR; ++i) {
      const Vector<T> x = broadcast(v[i * ldv]);
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j) acc[i][j] += x * lanes[j];
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < MR; ++i, m += t.ldm) {
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) store(m + j * VL, t.accumulate ? acc[i][j] + load(m + j * VL) : acc[i][j]);
  }
}

template <class T, int NV, int MR>
inline void product_of(const WinogradProduct<T>& t, int rows, const T* v, T* m, LinesAhead<T> ahead) {
  if (rows == MR) {
    product_rows<T, MR, NV>(t, v, m, ahead);
  } else if constexpr (MR > 1) {
    product_of<T, NV, MR - 1>(t, rows, v, m, ahead);
  }
}

// Rows in groups of at most MR, balanced: the first ones are a row larger.
template <class T, int MR, int NV>
void winograd_product(const WinogradProduct<T>& t) {
  const std::ptrdiff_t groups = (t.tiles + MR - 1) / MR, larger = t.tiles % groups;
  const T* v = t.v;
  T* m = t.m;
  for (std::ptrdiff_t i = 0; i < groups; ++i) {
    const int rows = static_cast<int>(t.tiles / groups + (i < larger ? 1 : 0));
    // Group i asks for vector i of every row of the weights that follow, and for another one where groups are few;
    // those beyond ask for what is there already.
    const T* const next = t.u + (t.depth * NV + i) * kLanes<T>;
    const LinesAhead<T> ahead{i < NV ? next : t.u, i + groups < NV ? groups * kLanes<T> : 0};
    product_of<T, NV, MR>(t, rows, v, m, ahead);
    v += rows * t.ldv;
    m += rows * t.ldm;
  }
}

}  // namespace
