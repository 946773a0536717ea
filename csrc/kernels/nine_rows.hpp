// Tiles of the weights' gradient of nine rows (a channel's 3x3 taps) and two whole vectors, added to C; otherwise as
// gemm_tile.hpp with channels in the lanes. Nine rows wait less for their own sums than five, begin less often than
// six, and their addresses still fit the registers.
//
// With `packed`, b is dY as it lies, rows of pixels ldb apart, and is packed there on the way, for the tiles after this
// one. The shuffles of a transpose have ports that FMAs leave idle, but the core sees both only if they are within a
// hundred instructions of each other.
#pragma once

#include "simd.hpp"
#include "table.hpp"

namespace {

constexpr int kEight = fastconv::kPackedPixels;

#if defined(__AVX512F__)

// Eight pixels of 16 rows: four rows a quarter, so that quarters are only put in order.
inline __attribute__((always_inline)) void pack_eight(const float* src, std::ptrdiff_t ld, float* dst,
                                                      std::ptrdiff_t width) {
  constexpr typename MakeIndices<16>::type order{};
  const auto half = [](const float* p) { return *reinterpret_cast<const Piece<float, 8>::unaligned*>(p); };
  Vector<float> low[4], high[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) low[i] = join_two(half(src + i * ld), half(src + (i + 4) * ld), order);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) high[i] = join_two(half(src + (i + 8) * ld), half(src + (i + 12) * ld), order);
  transpose_quarters<float>(low);
  transpose_quarters<float>(high);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    store(dst + i * width, second_quarters<0>(low[i], high[i], order));
    store(dst + (i + 4) * width, second_quarters<1>(low[i], high[i], order));
  }
}

// Each eight pixels are packed beside the products of the eight before, those beyond a multiple of eight by the caller.
void nine_rows(const fastconv::Tile<float>& t) {
  constexpr int MR = fastconv::kNineRows, NV = 2, VL = kLanes<float>, kWidth = NV * VL;
  const std::ptrdiff_t ld = t.ldb, ahead_step = t.ahead_step;
  for (std::ptrdiff_t tile = 0;; ++tile) {
    Vector<float> acc[MR][NV] = {};
    const float* row[MR];
#pragma GCC unroll 9
    for (int i = 0; i < MR; ++i) row[i] = t.a + t.row_offset[tile * MR + i];
    const std::ptrdiff_t* offset = t.k_offset;
    const float* src = t.b;
    const float* b = t.packed != nullptr ? t.packed : t.b;
    float* to = t.packed;
    const auto step = [&]() __attribute__((always_inline)) {
      const Vector<float> lanes[NV] = {load(b), load(b + VL)};
#pragma GCC unroll 9
      for (int i = 0; i < MR; ++i) {
        const Vector<float> x = broadcast(row[i][*offset]);
#pragma GCC unroll 2
        for (int j = 0; j < NV; ++j) acc[i][j] += x * lanes[j];
      }
      b += kWidth;
      ++offset;
    };
    const char* ahead = static_cast<const char*>(t.ahead != nullptr ? t.ahead : t.a) + tile * t.next.ahead;
    std::ptrdiff_t left = t.ahead_run;

    // A vector of eight pixels, and four products of both vectors of the eight before.
    const std::ptrdiff_t halves = t.depth / kEight * 2;
    for (std::ptrdiff_t n = to != nullptr ? -2 : 0; n < halves; ++n) {
      if (to != nullptr && n + 2 < halves) {
        const bool second = n % 2 != 0;
        pack_eight(second ? src + VL * ld : src, ld, second ? to + VL : to, kWidth);
        if (second) src += kEight, to += kEight * kWidth;
      }
      if (n < 0) continue;
#pragma GCC unroll 1
      for (int i = 0; i < kEight / 4; ++i) {
        __builtin_prefetch(ahead, 0, 2);
        ahead += ahead_step;
        if (--left == 0) {
          ahead += t.ahead_jump;
          left = t.ahead_run;
        }
        step();
        step();
      }
    }
    for (std::ptrdiff_t n = t.depth % kEight; n > 0; --n) step();

    float* c = t.c + tile * t.next.c;
#pragma GCC unroll 9
    for (int i = 0; i < MR; ++i, c += t.ldc) {
#pragma GCC unroll 2
      for (int j = 0; j < NV; ++j) store(c + j * VL, acc[i][j] + load(c + j * VL));
    }
    if (tile + 1 >= t.tiles) return;
  }
}

#endif

}  // namespace
