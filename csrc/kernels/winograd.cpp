// Winograd's transforms and products; see winograd_table.hpp.
#include "part.hpp"
#include "tile_shape.hpp"
#include "winograd_line.hpp"
#include "winograd_product.hpp"
#include "winograd_tile.hpp"

namespace {

template <class T, class Tile>
constexpr fastconv::WinogradTransforms<T> winograd_of() {
  return {&winograd_input<T, Tile::kInputs, typename Tile::Points>, &winograd_output<T, Tile>,
          &winograd_weights<T, Tile>, nullptr, nullptr};
}

template <class T, int M, int R>
constexpr fastconv::WinogradTransforms<T> winograd_of() {
  fastconv::WinogradTransforms<T> t = winograd_of<T, UnitTile<M, R>>();
  t.output_gradient = &winograd_output_gradient<T, M, R>;
  t.weight_gradient = &winograd_weight_gradient<T, M, R>;
  return t;
}

template <class T, int M, int R>
constexpr fastconv::WinogradTransforms<T> winograd_line_of() {
  return {winograd_line_input<T, M + R - 1>, winograd_line_output<T, M, R>, winograd_line_weights<T, M, R>,
          winograd_line_output_gradient<T, M, R>, winograd_line_weight_gradient<T, M, R>};
}

template <class T, int NV>
constexpr void (*winograd_product_or_null())(const fastconv::WinogradProduct<T>&) {
  if constexpr (NV <= kVectors) {
    // One vector: twice the rows, since six sums would wait for each other.
    return &winograd_product < T, NV == 1 && kVectors >= 4 ? 2 * kRows : kRows, NV > ;
  } else {
    return nullptr;
  }
}

template <class T>
constexpr fastconv::WinogradKernels<T> winograd() {
  fastconv::WinogradKernels<T> k{};
  k.winograd[fastconv::kF4x2] = winograd_of<T, 4, 2>();
  k.winograd[fastconv::kF4x3] = winograd_of<T, 4, 3>();
  k.winograd[fastconv::kF2x3] = winograd_of<T, 2, 3>();
  k.winograd[fastconv::kF2x3s2] = winograd_of<T, StridedTile>();
  k.winograd[fastconv::kF2x5] = winograd_of<T, 2, 5>();
  k.winograd[fastconv::kLine4x2] = winograd_line_of<T, 4, 2>();
  k.winograd[fastconv::kLine4x3] = winograd_line_of<T, 4, 3>();
  k.winograd[fastconv::kLine4x5] = winograd_line_of<T, 4, 5>();
  k.winograd[fastconv::kLine2x7] = winograd_line_of<T, 2, 7>();
  k.winograd_product[0] = winograd_product_or_null<T, 1>();
  k.winograd_product[1] = winograd_product_or_null<T, 2>();
  k.winograd_product[2] = winograd_product_or_null<T, 3>();
  k.winograd_product[3] = winograd_product_or_null<T, 4>();
  return k;
}

}  // namespace

FASTCONV_PART(WinogradKernels, winograd, winograd)
