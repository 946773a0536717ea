// The tile kernel: acc[MR][NV] += broadcast(A) * vector(B) over k.
//
// An MR x NV tile of vectors stays in registers for the whole reduction: each step loads NV vectors
// and MR scalars for MR * NV FMAs, so with enough of both the FMA units are the limit and not the
// load ports. MR * NV >= 8 covers the latency of two FMA units (4 cycles each).
//
// The sum of a tile starts at zero and is added to C once. Splitting a long reduction over several
// calls therefore sums in two levels, and the rounding error grows with the square root of the block
// instead of the whole length.
#pragma once

#include "simd.hpp"
#include "table.hpp"

namespace {

using fastconv::Tile;

enum class Lanes { kChannels, kPixels, kUnpackedPixels, kRawPixels };

// The rare tile whose last vector hangs over the edge of C: one value at a time, out of line and once for all shapes.
template <class T, Lanes L>
[[gnu::noinline, gnu::noclone]] void store_ragged(const Tile<T>& t, const T* sums, int rows, int width) {
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < t.lanes; ++j) {
      T v = sums[i * width + j];
      T* c = t.c + i * t.ldc + j;
      if (t.accumulate) v += *c;
      if (t.bias != nullptr) v += t.bias[L == Lanes::kChannels ? j : i];
      *c = t.relu && v < T(0) ? T(0) : v;
    }
  }
}

template <int MR, int NV, class F>
inline __attribute__((always_inline)) void for_each_vector(F&& f) {
#pragma GCC unroll 6
  for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) f(i, j);
  }
}

// Raw pixels: every vector has its own place in C, and some end early.
template <class T, int MR, int NV>
inline __attribute__((always_inline)) void store_slots(const Tile<T>& t, Vector<T> (&acc)[MR][NV]) {
  constexpr int VL = kLanes<T>;
#pragma GCC unroll 4
  for (int j = 0; j < NV; ++j) {
    const int n = static_cast<int>(t.slot[j].lanes);
    T* c = t.slot[j].c + t.c_shift;
#pragma GCC unroll 6
    for (int i = 0; i < MR; ++i, c += t.ldc) {
      if (t.accumulate) acc[i][j] += n == VL ? load(c) : load_tail(c, n);
      if (t.bias != nullptr) acc[i][j] += broadcast(t.bias[i]);
      if (t.relu) acc[i][j] = relu<T>(acc[i][j]);
      if (n == VL) {
        store(c, acc[i][j]);
      } else {
        store_tail(c, acc[i][j], n);
      }
    }
  }
}

template <class T, int MR, int NV, Lanes L>
void gemm_tile(const Tile<T>& t) {
  constexpr int VL = kLanes<T>;
  Vector<T> acc[MR][NV] = {};
  if (L == Lanes::kChannels && t.start != nullptr) {
    for_each_vector<MR, NV>([&](int i, int j) { acc[i][j] = load(t.start + (i * NV + j) * VL); });
  }

  const T* row[MR];
#pragma GCC unroll 6
  for (int i = 0; i < MR; ++i) {
    row[i] = t.a + (L == Lanes::kChannels ? t.row_offset[i] : i * t.lda);
  }
  // C is met again at the end only, when nothing would hide its way from afar.
  if (t.far) {
    for_each_vector<MR, NV>([&](int i, int j) {
      __builtin_prefetch(L == Lanes::kRawPixels ? t.slot[j].c + t.c_shift + i * t.ldc : t.c + i * t.ldc + j * VL, 1);
    });
  }
  const T* b = t.b;
  [[maybe_unused]] T* packed = t.packed;
  [[maybe_unused]] const std::ptrdiff_t ldb = t.ldb;
  const T* slot[NV];
  if constexpr (L == Lanes::kRawPixels) {
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) slot[j] = t.slot[j].b;
  }
  const std::ptrdiff_t* offset = t.k_offset;
  const std::ptrdiff_t depth = t.depth;
  const auto step = [&](std::ptrdiff_t k) __attribute__((always_inline)) {
    Vector<T> lanes[NV];
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) lanes[j] = load(L == Lanes::kRawPixels ? slot[j] + offset[k] : b + j * VL);
    if constexpr (L == Lanes::kUnpackedPixels) {
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j) store(packed + j * VL, lanes[j]);
      packed += NV * VL;
    }
    b += L == Lanes::kUnpackedPixels ? ldb : NV * VL;
    const std::ptrdiff_t at = L == Lanes::kChannels ? offset[k] : k;
#pragma GCC unroll 6
    for (int i = 0; i < MR; ++i) {
      const Vector<T> x = broadcast(row[i][at]);
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j) acc[i][j] += x * lanes[j];
    }
  };
  const char* ahead = static_cast<const char*>(t.ahead != nullptr ? t.ahead : t.a);
  const std::ptrdiff_t ahead_step = t.ahead_step;
  std::ptrdiff_t k = 0;
  for (; k + 2 <= depth; k += 2, ahead += ahead_step) {
    __builtin_prefetch(ahead, 0, 2);
    step(k);
    step(k + 1);
  }
  if (k < depth) step(k);

  if constexpr (L == Lanes::kRawPixels) {
    store_slots<T, MR, NV>(t, acc);
    return;
  }
  if (t.lanes != NV * VL) {
    alignas(kVectorBytes) T sums[MR * NV * VL];
    for_each_vector<MR, NV>([&](int i, int j) { store(sums + (i * NV + j) * VL, acc[i][j]); });
    store_ragged<T, L>(t, sums, MR, NV * VL);
    return;
  }
  T* const c = t.c;
  const std::ptrdiff_t ldc = t.ldc;
  if (t.accumulate) for_each_vector<MR, NV>([&](int i, int j) { acc[i][j] += load(c + i * ldc + j * VL); });
  if (t.bias != nullptr) {
    for_each_vector<MR, NV>(
        [&](int i, int j) { acc[i][j] += L == Lanes::kChannels ? load(t.bias + j * VL) : broadcast(t.bias[i]); });
  }
  if (t.relu) for_each_vector<MR, NV>([&](int i, int j) { acc[i][j] = relu<T>(acc[i][j]); });
  for_each_vector<MR, NV>([&](int i, int j) { store(c + i * ldc + j * VL, acc[i][j]); });
}

}  // namespace
