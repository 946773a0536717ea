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

constexpr std::ptrdiff_t kLineBytes = 64;

enum class Lanes { kChannels, kChannelPairs, kPixels, kUnpackedPixels, kRawPixels, kFarPixels };

// Two neighbours, over and over.
template <class T>
inline Vector<T> broadcast_pair(const T* p) {
  static_assert(sizeof(T) == sizeof(float));
  double pair;
  __builtin_memcpy(&pair, p, sizeof pair);
  return reinterpret_cast<Vector<T>>(broadcast(pair));
}

// `count` sums of a row, from `lane` on, with what C holds, bias and ReLU.
template <class T, Lanes L>
inline Vector<T> finished(const Tile<T>& t, const T* bias, Vector<T> sum, const T* c, int row, int lane, int count) {
  const bool all = count == kLanes<T>;
  if (t.accumulate) sum += all ? load(c) : load_tail(c, count);
  if (t.bias != nullptr && L != Lanes::kChannels) sum += broadcast(bias[row]);
  if (t.bias != nullptr && L == Lanes::kChannels) sum += all ? load(bias + lane) : load_tail(bias + lane, count);
  return t.relu ? relu<T>(sum) : sum;
}

// The rare tile that hangs over the edge of C, or some of whose vectors end early: out of line and once for all shapes.
template <class T, Lanes L>
[[gnu::noinline, gnu::noclone]] void store_ragged(const Tile<T>& tile, std::ptrdiff_t n, const T* sums, int rows,
                                                  int vectors) {
  const Tile<T> t = tile;  // a store to C cannot change this one
  constexpr int VL = kLanes<T>;
  const T* const bias = t.bias + n * t.next.bias;
  if constexpr (L == Lanes::kRawPixels) {
    for (int i = 0; i < rows * vectors; ++i, sums += VL) {
      const fastconv::Slot<T>& s = t.slot[n * t.next.slot + i % vectors];
      T* const c = s.c + t.c_shift + n * t.next.c + i / vectors * t.ldc;
      const int count = static_cast<int>(s.lanes);
      const Vector<T> v = finished<T, L>(t, bias, load(sums), c, i / vectors, 0, count);
      if (count == VL) {
        store(c, v);
      } else {
        store_tail(c, v, count);
      }
    }
    return;
  }
  const int lanes = static_cast<int>(t.lanes), last = lanes - VL;
  for (int i = 0; i < rows; ++i, sums += vectors * VL) {
    T* const c = t.c + n * t.next.c + i * t.ldc;
    if (last < 0) {
      store_tail(c, finished<T, L>(t, bias, load(sums), c, i, 0, lanes), lanes);
      continue;
    }
    // The last vector overlaps the one before, and must see what C held.
    const Vector<T> end = finished<T, L>(t, bias, load(sums + last), c + last, i, last, VL);
    for (int j = 0; j < last; j += VL) store(c + j, finished<T, L>(t, bias, load(sums + j), c + j, i, j, VL));
    store(c + last, end);
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

// Tiles that follow each other, along the lanes or along the rows, come in one call: the next one starts while the sums
// of the one before are on their way out.
template <class T, int MR, int NV, Lanes L>
void gemm_tile(const Tile<T>& t) {
  constexpr bool kRaw = L == Lanes::kRawPixels || L == Lanes::kFarPixels;
  constexpr bool kOffsets = L == Lanes::kChannels || L == Lanes::kChannelPairs;
  constexpr int VL = kLanes<T>;
  const std::ptrdiff_t depth = t.depth;
  for (std::ptrdiff_t n = 0;; ++n) {
    Vector<T> acc[MR][NV] = {};
    if (L == Lanes::kChannels && t.start != nullptr) {
      const T* start = t.start + n * MR * NV * VL;
      for_each_vector<MR, NV>([&](int i, int j) { acc[i][j] = load(start + (i * NV + j) * VL); });
    }
    const T* row[MR];
    const T* const a = t.a + n * t.next.a;
#pragma GCC unroll 6
    for (int i = 0; i < MR; ++i) {
      row[i] = a + (kOffsets ? t.row_offset[n * MR + i] : i * t.lda);
    }
    const T* slot[NV];
    T* slot_c[NV];
    T* const c = t.c + n * t.next.c;
    bool whole = kRaw || t.lanes == NV * VL;
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) {
      if constexpr (kRaw) {
        const fastconv::Slot<T>& s = t.slot[n * t.next.slot + j];
        slot[j] = s.b;
        slot_c[j] = s.c + t.c_shift + n * t.next.c;
        whole &= s.lanes == VL;
      }
    }
    // Each use computes the addresses again: kept, they would fill the registers that count.
    const auto each_place = [&](auto&& f) __attribute__((always_inline)) {
      const std::ptrdiff_t ldc = opaque(t.ldc);
      for_each_vector<MR, NV>([&](int i, int j) { f(acc[i][j], (kRaw ? slot_c[j] : c + j * VL) + i * ldc); });
    };
    // C is met again at the end only, when nothing would hide its way from afar.
    if (t.far) each_place([](Vector<T>&, T* to) { __builtin_prefetch(to, 1); });

    const T* b = t.b + n * t.next.b;
    [[maybe_unused]] T* packed = t.packed + n * depth * NV * VL;
    [[maybe_unused]] const std::ptrdiff_t ldb = t.ldb;
    const std::ptrdiff_t* offset = t.k_offset;
    std::ptrdiff_t k = 0;
    const auto step = [&]() __attribute__((always_inline)) {
      Vector<T> lanes[NV];
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j) lanes[j] = load(kRaw ? slot[j] + offset[k] : b + j * VL);
      if constexpr (L == Lanes::kUnpackedPixels) {
#pragma GCC unroll 4
        for (int j = 0; j < NV; ++j) store(packed + j * VL, lanes[j]);
        packed += NV * VL;
      }
      b += L == Lanes::kUnpackedPixels ? ldb : NV * VL;
      const std::ptrdiff_t at = kOffsets ? offset[k] : k;
#pragma GCC unroll 6
      for (int i = 0; i < MR; ++i) {
        Vector<T> x;
        if constexpr (L == Lanes::kChannelPairs) {
          x = broadcast_pair(row[i] + at);
        } else {
          x = broadcast(row[i][at]);
        }
#pragma GCC unroll 4
        for (int j = 0; j < NV; ++j) acc[i][j] += x * lanes[j];
      }
      ++k;
    };
    if constexpr (L == Lanes::kRawPixels) {  // what comes next is in L1
      while (k < depth) step();
    } else if constexpr (L == Lanes::kFarPixels) {
      const std::ptrdiff_t ahead = t.ahead_step;
      while (k < depth) {
#pragma GCC unroll 4
        for (int j = 0; j < NV; ++j) __builtin_prefetch(reinterpret_cast<const char*>(slot[j] + offset[k]) + ahead);
        step();
      }
    } else {
      const char* ahead = static_cast<const char*>(t.ahead != nullptr ? t.ahead : t.a) + n * t.next.ahead;
      const std::ptrdiff_t ahead_step = t.ahead_step;
      std::ptrdiff_t left = t.ahead_run;
      while (k + 2 <= depth) {
        __builtin_prefetch(ahead, 0, 2);
        step();
        if constexpr (L == Lanes::kChannelPairs) {
          ahead += ahead_step;
          __builtin_prefetch(ahead, 0, 2);
        } else if constexpr (!kOffsets) {
          __builtin_prefetch(ahead + kLineBytes, 0, 2);
        }
        step();
        ahead += ahead_step;
        if (kOffsets && --left == 0) {
          ahead += t.ahead_jump;
          left = t.ahead_run;
        }
      }
      if (k < depth) step();
    }

    if (whole) {
      if (t.accumulate) each_place([](Vector<T>& sum, T* to) { sum += load(to); });
      if (t.bias != nullptr) {
        const T* bias = t.bias + n * t.next.bias;
        for_each_vector<MR, NV>(
            [&](int i, int j) { acc[i][j] += L == Lanes::kChannels ? load(bias + j * VL) : broadcast(bias[i]); });
      }
      if (t.relu) for_each_vector<MR, NV>([&](int i, int j) { acc[i][j] = relu<T>(acc[i][j]); });
      each_place([](Vector<T>& sum, T* to) { store(to, sum); });
    } else {
      alignas(kVectorBytes) T sums[MR * NV * VL];
      for_each_vector<MR, NV>([&](int i, int j) { store(sums + (i * NV + j) * VL, acc[i][j]); });
      store_ragged<T, kRaw ? Lanes::kRawPixels : kOffsets ? Lanes::kChannels : L>(t, n, sums, MR, NV);
    }
    if (n + 1 >= t.tiles) return;
  }
}

}  // namespace
