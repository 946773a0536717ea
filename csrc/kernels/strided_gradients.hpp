// Both gradients of a depthwise convolution, K x K with stride 2, while the rows of dY roll by:
//
//     dx[2 * i + r - pad, 2 * j + s - pad] += w[r, s] * dy[i, j]
//     dW[r, s] += x[2 * i + r - pad, 2 * j + s - pad] * dy[i, j]
//
// A vector is a strip of a row of x or dx, its even and odd columns side by side as they lie there. A row of dY is
// loaded once for the K rows that it reaches; each column of it goes to the two lanes that it meets at a pair of taps,
// which are neighbours: their weights alternate, and so do the sums for dW. The rows of dx stay in registers until the
// last row of dY that reaches them has passed: no phase is ever stored, and nothing is padded, since lanes outside of
// an array are not loaded.
#pragma once

#include <type_traits>

#include "rolling_rows.hpp"
#include "shuffles.hpp"
#include "simd.hpp"
#include "table.hpp"

#if defined(__AVX512F__)

namespace {

using fastconv::RollingGradients;

template <class T, int K>
struct StridedRoll {
  static constexpr int kPairs = (K + 1) / 2;  // of taps in a row; the last may lack its second one
  static constexpr std::ptrdiff_t VL = kLanes<T>;
  using Vec = Vector<T>;
  using Numbers = LaneNumbers<T>;
  using Lane = std::remove_reference_t<decltype(Numbers{}[0])>;
  using Taps = Vec[K][kPairs];

  const RollingGradients<T>& t;
  Numbers odd;           // whether a lane meets the second tap of a pair
  Numbers from[kPairs];  // the lane of dY, or a negative number where there is no such tap

  explicit StridedRoll(const RollingGradients<T>& all) : t(all) {
    const Numbers padded = lane_numbers() + static_cast<Lane>(t.pad_columns & 1);
    odd = padded & 1;
#pragma GCC unroll 4
    for (int k = 0; k < kPairs; ++k) {
      from[k] = (padded >> 1) + (kPairs - 1 - k);
      if (2 * k + 1 == K) from[k] |= -odd;
    }
  }

  static Numbers lane_numbers() { return count_up<Lane>(typename MakeIndices<kLanes<T>>::type{}); }
  static std::ptrdiff_t lane(std::ptrdiff_t i) { return i < 0 ? 0 : i < VL ? i : VL; }

  // dY as the columns of x or dx from `at` on meet it.
  struct Gradient {
    const T* row;
    ReadLanes<T> inside;
  };
  Gradient gradient(std::ptrdiff_t g, std::ptrdiff_t at) const {
    const std::ptrdiff_t first = ((at + t.pad_columns) >> 1) - (kPairs - 1);
    return {t.dy.first + g * t.dy.plane + first, lanes_between<T>(lane(-first), lane(t.dy.width - first))};
  }

  // What comes next is asked for in the order in which it lies, whatever the order of the strips: two rows of it at
  // each row of dY.
  template <class P>
  const T* next(const PlanesOf<P>& p, std::ptrdiff_t g, std::ptrdiff_t at) const {
    return p.first + g * p.plane + ahead(p) + at / VL * t.dy.rows * each(p.width);
  }
  static std::ptrdiff_t each(std::ptrdiff_t width) { return 2 * width / ((width + VL - 1) / VL); }

  FASTCONV_INLINE void load_weights(std::ptrdiff_t g, Taps& w) const {
    const T* const taps = t.w + g * K * K;
#pragma GCC unroll 8
    for (int r = 0; r < K; ++r) {
#pragma GCC unroll 4
      for (int k = 0; k < kPairs; ++k) {
        const int s = r * K + 2 * k;
        w[r][k] = odd != 0 ? broadcast(2 * k + 1 < K ? taps[s + 1] : T(0)) : broadcast(taps[s]);
      }
    }
  }

  // Columns of dx from `at` on.
  FASTCONV_INLINE void input_strip(std::ptrdiff_t g, std::ptrdiff_t at, const Taps& w) const {
    Gradient dy = gradient(g, at);
    const std::ptrdiff_t lanes = lane(t.dx.width - at);
    T* const dx = t.dx.first + g * t.dx.plane + at;
    const T* asked = next(t.dx, g, at);
    const Vec bias = broadcast(t.bias == nullptr ? T(0) : t.bias[g]);
    Vec sum[K] = {};
    for (std::ptrdiff_t i = 0, row = -t.pad_rows; row < t.dx.rows; ++i, row += 2) {
      if (i < t.dy.rows) {
        const Vec v = read(dy.row, dy.inside);
        dy.row += t.dy.row;
        __builtin_prefetch(asked, 1);
        __builtin_prefetch(asked + VL, 1);
        asked += each(t.dx.width);
#pragma GCC unroll 4
        for (int k = 0; k < kPairs; ++k) {
          const Vec moved = pick(v, Vec{}, from[k]);
#pragma GCC unroll 8
          for (int r = 0; r < K; ++r) sum[r] += w[r][k] * moved;
        }
      }
#pragma GCC unroll 2
      for (int a = 0; a < 2; ++a) {
        if (row + a >= 0 && row + a < t.dx.rows) write(dx + (row + a) * t.dx.row, sum[a] + bias, lanes);
      }
#pragma GCC unroll 8
      for (int r = 0; r < K; ++r) sum[r] = r + 2 < K ? sum[r + 2] : Vec{};
    }
  }

  // Columns of x from `at` on.
  FASTCONV_INLINE void weight_strip(std::ptrdiff_t g, std::ptrdiff_t at) const {
    Gradient dy = gradient(g, at);
    const ReadLanes<T> own = lanes_between<T>(0, lane(t.x.width - at));
    const T* const x = t.x.first + g * t.x.plane + at;
    const T* asked = next(t.x, g, at);
    const auto pixels_of = [&](std::ptrdiff_t row) {
      return row >= 0 && row < t.x.rows ? read(x + row * t.x.row, own) : Vec{};
    };
    Taps sum = {};
    Vec pixels[K];
#pragma GCC unroll 8
    for (int r = 2; r < K; ++r) pixels[r] = pixels_of(r - 2 - t.pad_rows);
    for (std::ptrdiff_t i = 0, row = -t.pad_rows; i < t.dy.rows; ++i, row += 2) {
      const Vec v = read(dy.row, dy.inside);
      dy.row += t.dy.row;
      __builtin_prefetch(asked);
      __builtin_prefetch(asked + VL);
      asked += each(t.x.width);
#pragma GCC unroll 8
      for (int r = 0; r < K; ++r) pixels[r] = r + 2 < K ? pixels[r + 2] : pixels_of(row + r);
#pragma GCC unroll 4
      for (int k = 0; k < kPairs; ++k) {
        const Vec moved = pick(v, Vec{}, from[k]);
#pragma GCC unroll 8
        for (int r = 0; r < K; ++r) sum[r][k] += pixels[r] * moved;
      }
    }
    add_sums(g, sum);
  }

  // Those of first taps to the lower half of each vector, those of second ones to the upper half.
  FASTCONV_INLINE void add_sums(std::ptrdiff_t g, const Taps& sum) const {
    const Lane half = static_cast<Lane>(VL / 2);
    const Numbers upper = lane_numbers() >= half;  // 0 or -1
    const Numbers lane_of = 2 * (lane_numbers() + upper * half) + ((odd[0] + upper) & 1);
    T* to = t.sums + g * K * kPairs * VL;
#pragma GCC unroll 8
    for (int r = 0; r < K; ++r) {
#pragma GCC unroll 4
      for (int k = 0; k < kPairs; ++k, to += VL) store(to, load(to) + pick(sum[r][k], Vec{}, lane_of));
    }
  }

  FASTCONV_INLINE void input_plane(std::ptrdiff_t g) const {
    Taps w;
    load_weights(g, w);
    for (std::ptrdiff_t at = 0; at < t.dx.width; at += VL) input_strip(g, at, w);
  }
  FASTCONV_INLINE void weight_plane(std::ptrdiff_t g) const {
    for (std::ptrdiff_t at = 0; at < t.x.width; at += VL) weight_strip(g, at);
  }
};

template <class T, int K>
void strided_input(const RollingGradients<T>& t) {
  const StridedRoll<T, K> roll(t);
  for (std::ptrdiff_t g = 0; g < t.planes; ++g) roll.input_plane(g);
}

// One gradient after the other, while a plane of dY is in L1: for both at once there are not enough registers.
template <class T, int K>
void strided_gradients(const RollingGradients<T>& t) {
  const StridedRoll<T, K> roll(t);
  for (std::ptrdiff_t g = 0; g < t.planes; ++g) {
    if (t.dx.first != nullptr) roll.input_plane(g);
    if (t.sums != nullptr) roll.weight_plane(g);
  }
}

}  // namespace

#endif
