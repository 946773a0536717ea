// Winograd's three transforms of a tile in two dimensions, and the two transposed ones that the weights' gradient
// needs: along the columns, then along the rows.
//
// A vector holds the same element of several channels, so there is nothing here but additions of whole vectors; odd
// image sizes waste no lanes.
#pragma once

#include "table.hpp"
#include "winograd_pairs.hpp"
#include "winograd_points.hpp"

namespace {

using fastconv::WinogradInput;
using fastconv::WinogradOutput;
using fastconv::WinogradWeightGradient;
using fastconv::WinogradWeights;

// A tile's outputs and taps along an axis, and how many points V, U and M have.
template <int Outputs, int Taps>
struct UnitTile {
  static constexpr int kOutputs = Outputs, kTaps = Taps;
  static constexpr int kInputs = Outputs + Taps - 1, kWeights = kInputs, kSums = kInputs;
  using Points = WinogradPoints<kInputs>;
};
struct StridedTile {
  static constexpr int kOutputs = 2, kTaps = 3, kInputs = 5, kWeights = 4, kSums = 3;
  using Points = StridedPoints;
};

template <class T, int P, class Points>
void winograd_input(const WinogradInput<T>& t) {
  constexpr int VL = kLanes<T>;
  const T* rows[P];  // and more copies of t: after a store of vectors, all of t might have changed
  for (int i = 0; i < P; ++i) rows[i] = t.rows[i];
  const std::ptrdiff_t tiles = t.tiles, step = t.step, point = t.point, next = t.tile;
  T* dst = t.dst;
  for (std::ptrdiff_t tile = 0; tile < tiles; ++tile, dst += next) {
    Vector<T> half[P][P];
#pragma GCC unroll 6
    for (int j = 0; j < P; ++j) {
      Vector<T> d[P];
#pragma GCC unroll 6
      for (int i = 0; i < P; ++i) d[i] = load(rows[i] + tile * step + j * VL);
      Points::template input<T>(d);
#pragma GCC unroll 6
      for (int i = 0; i < P; ++i) half[i][j] = d[i];
    }
#pragma GCC unroll 6
    for (int i = 0; i < P; ++i) {
      Points::template input<T>(half[i]);
#pragma GCC unroll 6
      for (int j = 0; j < P; ++j) store(dst + (i * P + j) * point, half[i][j]);
    }
  }
}

template <class T, class Tile>
void winograd_output(const WinogradOutput<T>& t) {
  constexpr int VL = kLanes<T>, M = Tile::kOutputs, P = Tile::kSums;
  const T* src = t.src;
  T* dst = t.dst;
  const std::ptrdiff_t point = t.point, next = t.tile, row = t.row, rows = t.rows;
  for (std::ptrdiff_t columns = t.columns; columns > 0; columns -= M, src += next, dst += M * VL) {
    Vector<T> half[M][P];
#pragma GCC unroll 6
    for (int j = 0; j < P; ++j) {
      Vector<T> m[P], y[M];
#pragma GCC unroll 6
      for (int i = 0; i < P; ++i) m[i] = load(src + (i * P + j) * point);
      Tile::Points::template output<T>(m, y);
#pragma GCC unroll 4
      for (int i = 0; i < M; ++i) half[i][j] = y[i];
    }
#pragma GCC unroll 4
    for (int i = 0; i < M; ++i) {
      if (i >= rows) break;
      Vector<T> y[M];
      Tile::Points::template output<T>(half[i], y);
#pragma GCC unroll 4
      for (int j = 0; j < M; ++j) {
        if (j < columns) store(dst + i * row + j * VL, y[j]);
      }
    }
  }
}

template <class T, class Tile>
void winograd_weights(const WinogradWeights<T>& t) {
  constexpr int R = Tile::kTaps, P = Tile::kWeights;
  const std::ptrdiff_t channel = t.channel, tap = t.tap, point = t.point, width = t.width;
  const T* src = t.src;
  T* dst = t.dst;
  for (std::ptrdiff_t c = t.channels; c > 0; --c, src += channel, dst += width) {
    Vector<T> half[P][R];
#pragma GCC unroll 5
    for (int j = 0; j < R; ++j) {
      Vector<T> g[R], u[P];
#pragma GCC unroll 5
      for (int i = 0; i < R; ++i) g[i] = load(src + (i * R + j) * tap);
      Tile::Points::template weights<T>(g, u);
#pragma GCC unroll 6
      for (int i = 0; i < P; ++i) half[i][j] = u[i];
    }
#pragma GCC unroll 6
    for (int i = 0; i < P; ++i) {
      Vector<T> u[P];
      Tile::Points::template weights<T>(half[i], u);
#pragma GCC unroll 6
      for (int j = 0; j < P; ++j) store(dst + (i * P + j) * point, u[j]);
    }
  }
}

template <class T, int M, int R>
void winograd_output_gradient(const WinogradInput<T>& t) {
  constexpr int VL = kLanes<T>, P = M + R - 1;
  const T* rows[M];
  for (int i = 0; i < M; ++i) rows[i] = t.rows[i];
  const std::ptrdiff_t tiles = t.tiles, point = t.point, next = t.tile;
  T* dst = t.dst;
  for (std::ptrdiff_t tile = 0; tile < tiles; ++tile, dst += next) {
    Vector<T> half[P][M];
#pragma GCC unroll 4
    for (int j = 0; j < M; ++j) {
      Vector<T> y[M], m[P];
#pragma GCC unroll 4
      for (int i = 0; i < M; ++i) y[i] = load(rows[i] + (tile * M + j) * VL);
      WinogradPoints<P>::template output_gradient<T>(y, m);
#pragma GCC unroll 6
      for (int i = 0; i < P; ++i) half[i][j] = m[i];
    }
#pragma GCC unroll 6
    for (int i = 0; i < P; ++i) {
      Vector<T> m[P];
      WinogradPoints<P>::template output_gradient<T>(half[i], m);
#pragma GCC unroll 6
      for (int j = 0; j < P; ++j) store(dst + (i * P + j) * point, m[j]);
    }
  }
}

template <class T, int M, int R>
void winograd_weight_gradient(const WinogradWeightGradient<T>& t) {
  constexpr int VL = kLanes<T>, P = M + R - 1;
  const std::ptrdiff_t point = t.point, width = t.width;
  const T* src = t.src;
  T* dst = t.dst;
  for (std::ptrdiff_t c = t.channels; c > 0; --c, src += width, dst += R * R * VL) {
    Vector<T> half[R][P];
#pragma GCC unroll 6
    for (int j = 0; j < P; ++j) {
      Vector<T> u[P], g[R];
#pragma GCC unroll 6
      for (int i = 0; i < P; ++i) u[i] = load(src + (i * P + j) * point);
      WinogradPoints<P>::template weights_gradient<T>(u, g);
#pragma GCC unroll 5
      for (int i = 0; i < R; ++i) half[i][j] = g[i];
    }
#pragma GCC unroll 5
    for (int i = 0; i < R; ++i) {
      Vector<T> g[R];
      WinogradPoints<P>::template weights_gradient<T>(half[i], g);
#pragma GCC unroll 5
      for (int j = 0; j < R; ++j) store(dst + (i * R + j) * VL, g[j]);
    }
  }
}

}  // namespace
