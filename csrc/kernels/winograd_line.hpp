// Winograd's transforms of tiles along one axis, F(m, r), for kernels of one row or one column; and the two transposed
// ones. What winograd_tile.hpp does twice is done once here. Whether the line is a row or a column is a matter of the
// pointers and steps.
#pragma once

#include "table.hpp"
#include "winograd_pairs.hpp"
#include "winograd_points.hpp"

namespace {

using fastconv::WinogradInput;
using fastconv::WinogradOutput;
using fastconv::WinogradWeightGradient;
using fastconv::WinogradWeights;

// Of each tile, In elements to Out points by f(elements, points).
template <class T, int In, int Out, class F>
inline __attribute__((always_inline)) void transform_tiles(const WinogradInput<T>& t, F&& f) {
  const T* rows[In];  // and more copies of t: after a store of vectors, all of t might have changed
  for (int i = 0; i < In; ++i) rows[i] = t.rows[i];
  const std::ptrdiff_t tiles = t.tiles, step = t.step, point = t.point, next = t.tile;
  T* dst = t.dst;
  for (std::ptrdiff_t tile = 0; tile < tiles; ++tile, dst += next) {
    Vector<T> d[In], v[Out];
#pragma GCC unroll 8
    for (int i = 0; i < In; ++i) d[i] = load(rows[i] + tile * step);
    f(d, v);
#pragma GCC unroll 8
    for (int i = 0; i < Out; ++i) store(dst + i * point, v[i]);
  }
}

template <class T, int P>
void winograd_line_input(const WinogradInput<T>& t) {
  transform_tiles<T, P, P>(
      t, [](Vector<T>(&d)[P], Vector<T>(&v)[P]) __attribute__((always_inline)) {
        WinogradPoints<P>::template input<T>(d);
#pragma GCC unroll 8
        for (int i = 0; i < P; ++i) v[i] = d[i];
      });
}

template <class T, int M, int R>
void winograd_line_output_gradient(const WinogradInput<T>& t) {
  constexpr int P = M + R - 1;
  transform_tiles<T, M, P>(
      t, [](const Vector<T>(&y)[M], Vector<T>(&m)[P])
             __attribute__((always_inline)) { WinogradPoints<P>::template output_gradient<T>(y, m); });
}

template <class T, int M, int R>
void winograd_line_output(const WinogradOutput<T>& t) {
  constexpr int P = M + R - 1;
  const T* src = t.src;
  T* dst = t.dst;
  const std::ptrdiff_t tiles = t.tiles, point = t.point, next = t.tile, row = t.row, step = t.step;
  for (std::ptrdiff_t tile = 0; tile < tiles; ++tile, src += next, dst += step) {
    Vector<T> m[P], y[M];
#pragma GCC unroll 8
    for (int i = 0; i < P; ++i) m[i] = load(src + i * point);
    WinogradPoints<P>::template output<T>(m, y);
#pragma GCC unroll 4
    for (int i = 0; i < M; ++i) store(dst + i * row, y[i]);
  }
}

template <class T, int M, int R>
void winograd_line_weights(const WinogradWeights<T>& t) {
  constexpr int P = M + R - 1;
  const std::ptrdiff_t channel = t.channel, tap = t.tap, point = t.point, width = t.width;
  const T* src = t.src;
  T* dst = t.dst;
  for (std::ptrdiff_t c = t.channels; c > 0; --c, src += channel, dst += width) {
    Vector<T> g[R], u[P];
#pragma GCC unroll 7
    for (int i = 0; i < R; ++i) g[i] = load(src + i * tap);
    WinogradPoints<P>::template weights<T>(g, u);
#pragma GCC unroll 8
    for (int i = 0; i < P; ++i) store(dst + i * point, u[i]);
  }
}

template <class T, int M, int R>
void winograd_line_weight_gradient(const WinogradWeightGradient<T>& t) {
  constexpr int VL = kLanes<T>, P = M + R - 1;
  const std::ptrdiff_t point = t.point, width = t.width;
  const T* src = t.src;
  T* dst = t.dst;
  for (std::ptrdiff_t c = t.channels; c > 0; --c, src += width, dst += R * VL) {
    Vector<T> u[P], g[R];
#pragma GCC unroll 8
    for (int i = 0; i < P; ++i) u[i] = load(src + i * point);
    WinogradPoints<P>::template weights_gradient<T>(u, g);
#pragma GCC unroll 7
    for (int i = 0; i < R; ++i) store(dst + i * VL, g[i]);
  }
}

}  // namespace
