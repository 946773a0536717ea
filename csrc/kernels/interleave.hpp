// Planes of channels into pixels: dst[column][lane] = src[lane * channel + column], a vector of channels for each
// column.
//
// A transpose for rows that are short and of any length: half a vector or 128 bits of columns at a time, from as many
// planes as fill a vector, so that the last piece of a row can overlap the one before. With Q elements in 128 bits:
//
//     load       rows of pieces, of planes that lie Q apart
//     exchange   Q x Q elements in each quarter of Q rows      one column of Q planes in each quarter
//     exchange   quarters of two such rows, of wide pieces     columns of all planes
//
// Every step is one instruction without a table, as in transpose().
#pragma once

#include "simd.hpp"
#include "table.hpp"

namespace {

using fastconv::Interleave;

// 128 bits, or half a vector.
template <class T>
inline constexpr int kNarrowPiece = 16 / static_cast<int>(sizeof(T));
template <class T>
inline constexpr int kPieceColumns = kLanes<T> / 2 > kNarrowPiece<T> ? kLanes<T> / 2 : kNarrowPiece<T>;

// The first plane of row `row` of pieces of W columns.
template <class T, int W>
constexpr int first_plane(int row) {
  constexpr int Q = kNarrowPiece<T>;
  return row / Q * (kLanes<T> / W) * Q + row % Q;
}

// W columns of planes `plane`, plane + Q, ... as one vector of N elements; piece(plane) tells where they lie.
template <class T, int W, int N, class F>
inline __attribute__((always_inline)) typename Piece<T, N>::type join(const F& piece, int plane) {
  if constexpr (N == W) {
    return *reinterpret_cast<const typename Piece<T, W>::unaligned*>(piece(plane));
  } else {
    return join_two(join<T, W, N / 2>(piece, plane), join<T, W, N / 2>(piece, plane + N / 2 / W * kNarrowPiece<T>),
                    typename MakeIndices<N>::type{});
  }
}

// W columns of VL planes: row[i] = the i-th one.
template <class T, int W, class F>
inline __attribute__((always_inline)) void load_columns(const F& piece, Vector<T> (&row)[W]) {
  constexpr int Q = kNarrowPiece<T>;
  static_assert(W == Q || (W == 2 * Q && kLanes<T> == 2 * W));
  constexpr typename MakeIndices<kLanes<T>>::type order{};
#pragma GCC unroll 8
  for (int i = 0; i < W; ++i) row[i] = join<T, W, kLanes<T>>(piece, first_plane<T, W>(i));
#pragma GCC unroll 4
  for (int i = 0; i < W; i += Q) transpose_quarters<T>(row + i);
  if constexpr (W > Q) {
#pragma GCC unroll 4
    for (int i = 0; i < Q; ++i) part_quarters(row[i], row[Q + i], order);
  }
}

template <int H, class V, int... I>
inline V exchange_low(V a, V b, Indices<I...>) {
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(a, b, ((I / H) % 2 == 0 ? I : n + I - H)...);
}
template <int H, class V, int... I>
inline V exchange_high(V a, V b, Indices<I...>) {
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(a, b, ((I / H) % 2 == 0 ? I + H : n + I)...);
}

// W columns at a time; the last ones overlap those before.
template <class T, int W, bool Placed = false>
inline void interleave_pieces(const T* const* plane, std::ptrdiff_t columns, T* dst,
                              const std::ptrdiff_t* place = nullptr) {
  constexpr int VL = kLanes<T>;
  for (std::ptrdiff_t at = 0; at < columns; at += W) {
    const std::ptrdiff_t column = at < columns - W ? at : columns - W;
    const T* const* const at_hand = opaque(plane);  // loaded when they are needed: there are more than registers
    Vector<T> row[W];
    load_columns<T, W>([&](int i) __attribute__((always_inline)) { return at_hand[i] + column; }, row);
#pragma GCC unroll 8
    for (int i = 0; i < W; ++i) store(dst + (Placed ? place[column + i] : (column + i) * VL), row[i]);
  }
}

template <class T>
void interleave(const Interleave<T>& t) {
  constexpr int VL = kLanes<T>, narrow = kNarrowPiece<T>, wide = kPieceColumns<T>;
  const T* plane[VL];
  for (int i = 0; i < VL; ++i) plane[i] = t.src + (i < t.channels ? i : t.channels - 1) * t.channel;
  if (t.place != nullptr && t.columns >= narrow) {
    t.columns >= wide ? interleave_pieces<T, wide, true>(plane, t.columns, t.dst, t.place)
                      : interleave_pieces<T, narrow, true>(plane, t.columns, t.dst, t.place);
  } else if (t.columns >= wide) {
    interleave_pieces<T, wide>(plane, t.columns, t.dst);
  } else if (t.columns >= narrow) {
    interleave_pieces<T, narrow>(plane, t.columns, t.dst);
  } else {
    for (std::ptrdiff_t j = 0; j < t.columns; ++j) {
      T* const dst = t.dst + (t.place == nullptr ? j * VL : t.place[j]);
      for (int i = 0; i < VL; ++i) dst[i] = plane[i][j];
    }
  }
}

}  // namespace
