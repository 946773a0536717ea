// Planes of channels into pixels: dst[column][lane] = src[lane * channel + column], a vector of channels for each
// column.
//
// A transpose for rows that are short and of any length: half a vector or 128 bits of columns at a time, from as many
// planes as fill a vector, so that the last piece of a row can overlap the one before.
#pragma once

#include "simd.hpp"
#include "table.hpp"

namespace {

using fastconv::Interleave;

// W columns of planes p[0], p[W], p[2 * W], ... as one vector of N elements.
template <class T, int W, int N>
inline typename Piece<T, N>::type join(const T* const* p, std::ptrdiff_t column) {
  if constexpr (N == W) {
    return *reinterpret_cast<const typename Piece<T, W>::unaligned*>(*p + column);
  } else {
    return join_two(join<T, W, N / 2>(p, column), join<T, W, N / 2>(p + N / 2, column),
                    typename MakeIndices<N>::type{});
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

// Exchanges the off-diagonal H x H blocks of every 2H x 2H block, for H, H / 2, ..., 1: log2(W) stages of W shuffles.
template <class T, int W, int H>
inline void transpose_pieces(Vector<T> (&row)[W]) {
  using Order = typename MakeIndices<kLanes<T>>::type;
#pragma GCC unroll 8
  for (int i = 0; i < W; ++i) {
    if ((i / H) % 2 != 0) continue;
    const Vector<T> a = row[i], b = row[i + H];
    row[i] = exchange_low<H>(a, b, Order{});
    row[i + H] = exchange_high<H>(a, b, Order{});
  }
  if constexpr (H > 1) transpose_pieces<T, W, H / 2>(row);
}

// W columns at a time; the last ones overlap those before.
template <class T, int W, bool Placed = false>
inline void interleave_pieces(const T* const* plane, std::ptrdiff_t columns, T* dst,
                              const std::ptrdiff_t* place = nullptr) {
  constexpr int VL = kLanes<T>;
  for (std::ptrdiff_t at = 0; at < columns; at += W) {
    const std::ptrdiff_t column = at < columns - W ? at : columns - W;
    Vector<T> row[W];  // lane l of row i: plane l / W * W + i, column l % W
#pragma GCC unroll 8
    for (int i = 0; i < W; ++i) row[i] = join<T, W, VL>(plane + i, column);
    transpose_pieces<T, W, W / 2>(row);
#pragma GCC unroll 8
    for (int i = 0; i < W; ++i) store(dst + (Placed ? place[column + i] : (column + i) * VL), row[i]);
  }
}

// Half a vector, or 128 bits.
template <class T>
inline constexpr int kNarrowPiece = 16 / static_cast<int>(sizeof(T));
template <class T>
inline constexpr int kPieceColumns = kLanes<T> / 2 > kNarrowPiece<T> ? kLanes<T> / 2 : kNarrowPiece<T>;

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
