// Winograd's transforms, and the products between them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "dense_table.hpp"

namespace fastconv {

// Winograd's transforms F(m x m, r x r), see winograd_points.hpp; P = m + r - 1 points along each axis make P * P
// matrices, `point` elements apart.
enum WinogradTile : int { kF4x3, kF2x3, kF2x5, kWinogradTiles };

// V = B^T d B of neighbouring tiles, one vector of channels: rows[row][column][lane], dst[point][tile][lane].
constexpr int kMaxWinogradSpan = 6;
template <class T>
struct WinogradInput {
  const T* rows[kMaxWinogradSpan];
  std::ptrdiff_t tiles;  // each m columns after the one before
  T* dst;
  std::ptrdiff_t point, tile;
};

// y = A^T M A of neighbouring tiles, one vector of channels: src[point][tile][lane], dst[row][column][lane]. Only
// `rows` rows of a tile and `columns` columns of all tiles together are written.
template <class T>
struct WinogradOutput {
  const T* src;
  std::ptrdiff_t point, tile;
  T* dst;
  std::ptrdiff_t row;
  std::ptrdiff_t rows, columns;
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
  void (*output_gradient)(const WinogradInput<T>&);  // Z = A dy A^T: rows[m], as many columns for a tile
  void (*weight_gradient)(const WinogradWeightGradient<T>&);
};

template <class T>
struct WinogradKernels {
  WinogradTransforms<T> winograd[kWinogradTiles];
  void (*winograd_product[kMaxTileVectors])(const WinogradProduct<T>&);  // [vectors - 1]
};

}  // namespace fastconv
