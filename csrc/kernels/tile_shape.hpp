// The largest tile: accumulators, one row of B and a broadcast must fit the register file.
// 32 registers hold 6 x 4 (24 + 4 + 1), which loads less for its FMAs than 8 x 3; 16 hold 6 x 2 (12 + 2 + 1).
#pragma once

namespace {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kRows = 6, kVectors = 4;
constexpr int kDotRows = 4, kDotColumns = 6;
#else
constexpr int kRows = 6, kVectors = 2;
constexpr int kDotRows = 2, kDotColumns = 4;
#endif

}  // namespace
