// Tiles of dense products; see dense_table.hpp.
#include "dot_tile.hpp"
#include "fma_burst.hpp"
#include "gemm_tile.hpp"
#include "nine_rows.hpp"
#include "part.hpp"
#include "row_products.hpp"
#include "tall_tile.hpp"
#include "tile_shape.hpp"

namespace {

template <class T, int MR, int NV, Lanes L>
constexpr typename fastconv::DenseKernels<T>::TileKernel tile_or_null() {
  if constexpr (L == Lanes::kChannelPairs && (sizeof(T) != sizeof(float) || MR < 4 || NV < 2 || kVectors < 4)) {
    return nullptr;
  } else if constexpr (L == Lanes::kFarPixels && (MR + 2 < kRows || NV < kVectors)) {
    return nullptr;
  } else if constexpr (L == Lanes::kUnpackedPixels && (MR + 1 < kRows || NV + 1 < kVectors)) {
    return nullptr;
  } else if constexpr (MR <= kRows && NV <= kVectors) {
    return &gemm_tile<T, MR, NV, L>;
  } else {
    return nullptr;
  }
}

template <class T, int MR, Lanes L>
constexpr void fill_row(typename fastconv::DenseKernels<T>::TileKernel (&row)[fastconv::kMaxTileVectors]) {
  row[0] = tile_or_null<T, MR, 1, L>();
  row[1] = tile_or_null<T, MR, 2, L>();
  row[2] = tile_or_null<T, MR, 3, L>();
  row[3] = tile_or_null<T, MR, 4, L>();
  static_assert(fastconv::kMaxTileVectors == 4);
}

template <class T, Lanes L, int MR = 1>
constexpr void fill(
    typename fastconv::DenseKernels<T>::TileKernel (&tiles)[fastconv::kMaxTileRows][fastconv::kMaxTileVectors]) {
  fill_row<T, MR, L>(tiles[MR - 1]);
  if constexpr (MR < fastconv::kMaxTileRows) fill<T, L, MR + 1>(tiles);
}

template <class T, int MR = 1, int NC = 1>
constexpr void fill_dots(fastconv::DenseKernels<T>& k) {
  if constexpr (MR <= kDotRows && NC <= kDotColumns) k.dot[MR - 1][NC - 1] = dot_tile<T, MR, NC>;
  if constexpr (NC < fastconv::kMaxDotColumns) {
    fill_dots<T, MR, NC + 1>(k);
  } else if constexpr (MR < fastconv::kMaxDotRows) {
    fill_dots<T, MR + 1, 1>(k);
  }
}

template <class T>
constexpr fastconv::DenseKernels<T> dense() {
  fastconv::DenseKernels<T> k{};
  k.lanes = kLanes<T>;
  k.tile_rows = kRows;
  k.tile_vectors = kVectors;
  fill<T, Lanes::kChannels>(k.channel_lanes);
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == sizeof(float)) k.nine_rows = nine_rows;
#endif
  fill<T, Lanes::kChannelPairs>(k.channel_pairs);
  fill<T, Lanes::kPixels>(k.pixel_lanes);
  fill<T, Lanes::kUnpackedPixels>(k.unpacked_pixels);
  fill<T, Lanes::kRawPixels>(k.raw_pixels);
  fill<T, Lanes::kFarPixels>(k.far_pixels);
  k.tall = tall_tile<T>;
  k.row_products = row_products<T>;
  k.dot_rows = kDotRows;
  k.dot_columns = kDotColumns;
  fill_dots<T>(k);
  k.fma_burst = fma_burst<T>;
  return k;
}

}  // namespace

FASTCONV_PART(DenseKernels, dense, dense)
