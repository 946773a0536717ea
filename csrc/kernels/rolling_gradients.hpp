// Both gradients of a depthwise 3 x 3 convolution of stride S, 1 or 2, padded by one, while rows roll by:
//
//     dx[S * i + r - 1, S * j + s - 1] += w[r, s] * dy[i, j]
//     dW[r, s] += x[S * i + r - 1, S * j + s - 1] * dy[i, j]
//
// A vector is a strip of a row, or a short row of each of two planes. A row of dY, at each of its shifts, meets the
// three rows of x and dx around it. Those stay in registers until the last row of dY that reaches them has passed, and
// so do all sums and weights of the plane: some thirty registers. Nothing is staged: lanes outside of a plane are
// masked where a row is loaded or stored, and a row that one vector holds is shifted there, not loaded again.
#pragma once

#include "shuffles.hpp"
#include "simd.hpp"
#include "table.hpp"

#if defined(__AVX512F__)

namespace {

using fastconv::PlanesOf;
using fastconv::RollingGradients;

template <class T>
using HalfVector = typename Piece<T, kLanes<T> / 2>::type;

// (Of floats: narrow planes of doubles go another way.)
#if defined(__clang__)
using HalfMemory = HalfVector<float>;
#else
using HalfMemory = float;
#endif

FASTCONV_INLINE HalfVector<float> load_half(const float* p, LaneMask<float> mask) {
  return __builtin_ia32_loadups256_mask(reinterpret_cast<const HalfMemory*>(p), HalfVector<float>{},
                                        static_cast<LaneMask<double>>(mask));
}
FASTCONV_INLINE void store_half(float* p, HalfVector<float> v, LaneMask<float> mask) {
  __builtin_ia32_storeups256_mask(reinterpret_cast<HalfMemory*>(p), v, static_cast<LaneMask<double>>(mask));
}
template <int H, class V, int... I>
FASTCONV_INLINE auto half_of(V v, Indices<I...>) {
  return __builtin_shufflevector(v, v, (H * static_cast<int>(sizeof...(I)) + I)...);
}

// Lanes of a row: columns of one plane, or in the upper half of the vector those of a second one. Halves are loaded and
// stored as such: a whole vector would nearly always cross a line.
template <class T, int P>
struct RowLanes {
  LaneMask<T> first, second;
  std::ptrdiff_t distance;  // from the first plane to the second

  // Lanes from `begin` to `end` of those that a plane has; plane: from the first to the second, if it is a pair.
  RowLanes(std::ptrdiff_t begin, std::ptrdiff_t end, bool pair, std::ptrdiff_t plane) {
    constexpr std::ptrdiff_t most = kLanes<T> / P;
    end = end < 0 ? 0 : end < most ? end : most;
    const unsigned bits = ((1U << end) - 1) & ~((1U << begin) - 1);
    first = static_cast<LaneMask<T>>(bits);
    second = static_cast<LaneMask<T>>(pair ? bits : 0);
    distance = plane;
  }

  FASTCONV_INLINE Vector<T> read(const T* row) const {
    if constexpr (P == 1) {
      return load_lanes(row, first);
    } else {
      constexpr typename MakeIndices<kLanes<T>>::type order{};
      return join_two(load_half(row, first), load_half(row + distance, second), order);
    }
  }
  FASTCONV_INLINE void write(T* row, Vector<T> v) const {
    if constexpr (P == 1) {
      store_lanes(row, v, first);
    } else {
      constexpr typename MakeIndices<kLanes<T> / 2>::type order{};
      store_half(row, half_of<0>(v, order), first);
      store_half(row + distance, half_of<1>(v, order), second);
    }
  }
};

// Of a vector that holds whole rows of P planes: each lane becomes its neighbour, By = -1 or 1 further, or zero.
template <class T, int P, int By, int... I>
FASTCONV_INLINE Vector<T> neighbours(Vector<T> v, Indices<I...>) {
  constexpr int n = sizeof...(I), row = n / P;
  return __builtin_shufflevector(v, Vector<T>{}, (I / row == (I + By + row) / row - 1 ? I + By : n)...);
}

// Columns of x and dx that meet a vector of dY, by their residues modulo S. Here they are a vector themselves.
template <class T, int P, int S>
struct Residues {
  RowLanes<T, P> lanes;

  Residues(std::ptrdiff_t columns, bool pair, std::ptrdiff_t plane) : lanes(0, columns, pair, plane) {}
  FASTCONV_INLINE void read(const T* row, Vector<T> (&x)[1]) const { x[0] = lanes.read(row); }
  FASTCONV_INLINE void write(T* row, const Vector<T> (&dx)[1]) const { lanes.write(row, dx[0]); }
};

// Two vectors, of which the second is more of the row, or the row of the second plane.
template <class T, int P>
struct Residues<T, P, 2> {
  RowLanes<T, 1> low, high;
  std::ptrdiff_t distance;

  Residues(std::ptrdiff_t columns, bool pair, std::ptrdiff_t plane)
      : low(0, columns, false, 0),
        high(0,
             P == 1 ? columns - kLanes<T>
             : pair ? columns
                    : 0,
             false, 0),
        distance(P == 1 ? kLanes<T> : plane) {}
  FASTCONV_INLINE void read(const T* row, Vector<T> (&x)[2]) const {
    constexpr typename MakeIndices<kLanes<T>>::type order{};
    const Vector<T> a = low.read(row), b = high.read(row + distance);
    x[0] = take_even(a, b, order);
    x[1] = take_odd(a, b, order);
  }
  FASTCONV_INLINE void write(T* row, const Vector<T> (&dx)[2]) const {
    constexpr typename MakeIndices<kLanes<T>>::type order{};
    low.write(row, zip_low(dx[0], dx[1], order));
    high.write(row + distance, zip_high(dx[0], dx[1], order));
  }
};

// Column s of the taps leads from pixels of x of this residue to dY, so many vectors' lanes further.
template <int S>
constexpr int residue_of(int s) {
  return S == 1 ? 0 : (s + 1) % 2;
}
template <int S>
constexpr int shift_of(int s) {
  return (residue_of<S>(s) + 1 - s) / S;
}

// [row][column]
template <class T>
struct RollingTaps {
  Vector<T> w[3][3], sum[3][3];
};

template <class T, int S>
struct RollingRow {
  Vector<T> x[S], dx[S];
};

// A row of dY and those of x and dx around it.
template <class T, bool Dx, bool Dw, int S>
FASTCONV_INLINE void roll(const Vector<T> (&dy)[3], RollingTaps<T>& taps, RollingRow<T, S> (&rows)[3]) {
#pragma GCC unroll 3
  for (int s = 0; s < 3; ++s) {
#pragma GCC unroll 3
    for (int r = 0; r < 3; ++r) {
      if constexpr (Dx) rows[r].dx[residue_of<S>(s)] += taps.w[r][s] * dy[shift_of<S>(s) + 1];
      if constexpr (Dw) taps.sum[r][s] += rows[r].x[residue_of<S>(s)] * dy[shift_of<S>(s) + 1];
    }
  }
}

// To what is asked for: the next plane, or, of small ones, a few further.
template <class T>
std::ptrdiff_t ahead(const PlanesOf<T>& p) {
  return p.plane < kElementsAhead ? kElementsAhead : p.plane;
}

// Columns of dY from `at` on, as many as a vector takes, of one plane or two, image after image.
template <class T, bool Dx, bool Dw, int S, int P>
FASTCONV_INLINE void rolling_strip(const RollingGradients<T>& t, std::ptrdiff_t g, std::ptrdiff_t at,
                                   RollingTaps<T>& taps) {
  const bool pair = P > 1 && g + 1 < t.planes;
  const std::ptrdiff_t width = t.dy.width - at;
  const RowLanes<T, P> before(at == 0, width, pair, t.dy.plane), same(0, width, pair, t.dy.plane);
  const RowLanes<T, P> behind(0, width - 1, pair, t.dy.plane);
  const std::ptrdiff_t x_width = S == 1 ? width : t.x.width - S * at;
  const Residues<T, P, S> x_lanes(x_width, pair, t.x.plane), dx_lanes(x_width, pair, t.dx.plane);
  const bool alone = P > 1 || t.dy.width <= kLanes<T>;  // in its row: what lies beside it is zero
  // What comes next is asked for in the order in which it lies, whatever the order of the strips.
  const std::ptrdiff_t strips = (t.dy.width + kLanes<T> - 1) / kLanes<T>, each = S * P * t.x.width / strips;
  const std::ptrdiff_t asked = at / kLanes<T> * t.dy.rows * each;
  for (std::ptrdiff_t n = 0; n < t.images; ++n) {
    const T* dy = t.dy.first + n * t.dy.image + g * t.dy.plane + at;
    const T* const x_plane = Dw ? t.x.first + n * t.x.image + g * t.x.plane : nullptr;
    T* const dx_plane = Dx ? t.dx.first + n * t.dx.image + g * t.dx.plane : nullptr;
    const T* const x = Dw ? x_plane + S * at : nullptr;
    T* const dx = Dx ? dx_plane + S * at : nullptr;
    const T* next_x = Dw ? x_plane + ahead(t.x) + asked : nullptr;
    const T* next_dx = Dx ? dx_plane + ahead(t.dx) + asked : nullptr;
    RollingRow<T, S> rows[3] = {};
    if (Dw && S == 1) x_lanes.read(x, rows[1].x);
    for (std::ptrdiff_t i = 0; i < t.dy.rows; ++i, dy += t.dy.row) {
      const std::ptrdiff_t above = S * i - 1;
      if (S == 2) rows[1] = {};
      rows[2] = {};
      if (Dw && S == 2) x_lanes.read(x + (above + 1) * t.x.row, rows[1].x);
      if (Dw && above + 2 < t.x.rows) x_lanes.read(x + (above + 2) * t.x.row, rows[2].x);
#pragma GCC unroll 4
      for (int k = 0; k < S * S; ++k) {
        if (Dw) __builtin_prefetch(next_x + k * kLanes<T>);
        if (Dx) __builtin_prefetch(next_dx + k * kLanes<T>, 1);
      }
      if (!Dx || !Dw) __builtin_prefetch(dy + ahead(t.dy));  // for all gradients its planes have been summed before
      if (Dw) next_x += each;
      if (Dx) next_dx += each;
      constexpr typename MakeIndices<kLanes<T>>::type order{};
      Vector<T> shifted[3] = {{}, same.read(dy), {}};
      if (alone) {
        if (S == 1) shifted[0] = neighbours<T, P, -1>(shifted[1], order);
        shifted[2] = neighbours<T, P, 1>(shifted[1], order);
      } else {
        if (S == 1) shifted[0] = before.read(dy - 1);
        shifted[2] = behind.read(dy + 1);
      }
      roll<T, Dx, Dw, S>(shifted, taps, rows);
      if (Dx && i > 0) dx_lanes.write(dx + above * t.dx.row, rows[0].dx);
      if (Dx && S == 2) dx_lanes.write(dx + (above + 1) * t.dx.row, rows[1].dx);
      rows[0] = rows[S];
      if (S == 1) rows[1] = rows[2];
    }
    const std::ptrdiff_t last = S * t.dy.rows - 1;
    if (Dx && last < t.x.rows) dx_lanes.write(dx + last * t.dx.row, rows[0].dx);
  }
}

template <class T, int P>
FASTCONV_INLINE Vector<T> weights_of(const T* w, bool pair) {
  const Vector<T> first = broadcast(w[0]);
  if (P == 1) return first;
  const Vector<T> lane = count_up<T>(typename MakeIndices<kLanes<T>>::type{});
  return lane < broadcast(static_cast<T>(kLanes<T> / 2)) ? first : broadcast(w[pair ? 9 : 0]);
}

template <class T, bool Dx, bool Dw, int S, int P>
void rolling_planes(const RollingGradients<T>& t) {
  constexpr std::ptrdiff_t VL = kLanes<T>;
  for (std::ptrdiff_t g = 0; g < t.planes; g += P) {
    RollingTaps<T> taps;
#pragma GCC unroll 9
    for (int k = 0; k < 9 && Dx; ++k) taps.w[k / 3][k % 3] = weights_of<T, P>(t.w + g * 9 + k, g + 1 < t.planes);
    for (std::ptrdiff_t at = 0; at < t.dy.width; at += VL) {
#pragma GCC unroll 9
      for (int k = 0; k < 9 && Dw; ++k) taps.sum[k / 3][k % 3] = Vector<T>{};
      rolling_strip<T, Dx, Dw, S, P>(t, g, at, taps);
#pragma GCC unroll 9
      for (int k = 0; k < 9 && Dw; ++k) {
        T* const to = t.sums + (g / P * 9 + k) * VL;
        store(to, load(to) + taps.sum[k / 3][k % 3]);
      }
    }
  }
}

template <class T, int S, int P>
void rolling_gradients(const RollingGradients<T>& t) {
  if (t.dx.first == nullptr) {
    rolling_planes<T, false, true, S, P>(t);
  } else if (t.sums == nullptr) {
    rolling_planes<T, true, false, S, P>(t);
  } else {
    rolling_planes<T, true, true, S, P>(t);
  }
}

}  // namespace

#endif
