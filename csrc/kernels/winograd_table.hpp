// Winograd's transforms, and the products between them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "dense_table.hpp"

namespace fastconv {

// Winograd's transforms F(m x m, r x r), see winograd_points.hpp; P = m + r - 1 points along each axis make P * P
// matrices, `point` elements apart. Those along a line, F(m, r), have P points; the line is a row or a column. With
// stride 2, V has 5 x 5 points, U 4 x 4 and M 3 x 3: see StridedPoints.
enum WinogradTile : int { kF4x2, kF4x3, kF2x3, kF2x3s2, kF2x5, kLine4x2, kLine4x3, kLine4x5, kLine2x7, kWinogradTiles };

// V = B^T d B of neighbouring tiles, one vector of channels: rows[row][column][lane], dst[point][tile][lane]. Along a
// line, V = B^T d of rows[element][tile * step].
constexpr int kMaxWinogradSpan = 8;
template <class T>
struct WinogradInput {
  const T* rows[kMaxWinogradSpan];
  std::ptrdiff_t step;  // from a tile's first column to the next one's
  std::ptrdiff_t tiles;
  T* dst;
  std::ptrdiff_t point, tile;
};

// y = A^T M A of neighbouring tiles, one vector of channels: src[point][tile][lane], dst[row][column][lane]. Only
// `rows` rows of a tile and `columns` columns of all tiles together are written. Along a line, y = A^T M goes to
// dst[tile * step + element * row], all of it.
template <class T>
struct WinogradOutput {
  const T* src;
  std::ptrdiff_t point, tile;
  T* dst;
  std::ptrdiff_t row;
  std::ptrdiff_t rows, columns;
  std::ptrdiff_t step, tiles;
};

// U = G g G^T of several channels, one vector of outputs: src[channel][tap][lane], dst[point][channel][width].
template <class T>
struct WinogradWeights {
  const T* src;
  std::ptrdiff_t channel, tap;  // from one to the next; tap is negative where the kernel lies backwards
  std::ptrdiff_t channels;
  T* dst;
  std::ptrdiff_t point, width;
};

// dg = G^T S G of several channels, one vector of outputs: src[point][channel][width], dst[channel][tap][lane].
template <class T>
struct WinogradWeightGradient {
  const T* src;
  std::ptrdiff_t point, width;
  std::ptrdiff_t channels;
  T* dst;
};

// One point's product, M[tile][lane] (+)= sum over c of V[tile][c] * U[c][lane]. Meanwhile asks for what follows U.
template <class T>
struct WinogradProduct {
  std::ptrdiff_t tiles, depth;
  const T* v;
  std::ptrdiff_t ldv;
  const T* u;  // [depth][vectors of lanes]
  T* m;
  std::ptrdiff_t ldm;
  bool accumulate;
};

template <class T>
struct WinogradTransforms {
  void (*input)(const WinogradInput<T>&);
  void (*output)(const WinogradOutput<T>&);
  void (*weights)(const WinogradWeights<T>&);
  // Null with a stride.
  void (*output_gradient)(const WinogradInput<T>&);  // Z = A dy A^T: rows[m], as many columns for a tile; or A dy
  void (*weight_gradient)(const WinogradWeightGradient<T>&);
};

template <class T>
struct WinogradKernels {
  WinogradTransforms<T> winograd[kWinogradTiles];
  void (*winograd_product[kMaxTileVectors])(const WinogradProduct<T>&);  // [vectors - 1]
};

}  // namespace fastconv
