// One source for every ISA: compiled with -DFASTCONV_ISA_NAME=<isa> and that ISA's flags, it leaves
// one table behind. See table.hpp for what the kernels compute.
#include "copy.hpp"
#include "depthwise_lanes.hpp"
#include "depthwise_rows.hpp"
#include "dot_tile.hpp"
#include "elementwise.hpp"
#include "gather.hpp"
#include "gemm_tile.hpp"
#include "interleave.hpp"
#include "pool_fold.hpp"
#include "reduce.hpp"
#include "shifted_tile.hpp"
#include "stage_rows.hpp"
#include "tap_sums.hpp"
#include "transpose.hpp"
#include "winograd_product.hpp"
#include "winograd_tile.hpp"

namespace {

// The largest tile: accumulators, one row of B and a broadcast must fit the register file.
// 32 registers hold 6 x 4 (24 + 4 + 1), which loads less for its FMAs than 8 x 3; 16 hold 6 x 2 (12 + 2 + 1).
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kRows = 6, kVectors = 4;
constexpr int kDotRows = 4, kDotColumns = 6;
#else
constexpr int kRows = 6, kVectors = 2;
constexpr int kDotRows = 2, kDotColumns = 4;
#endif

template <class T, int MR, int NV, Lanes L>
constexpr typename fastconv::Kernels<T>::TileKernel tile_or_null() {
  if constexpr (MR <= kRows && NV <= kVectors) {
    return &gemm_tile<T, MR, NV, L>;
  } else {
    return nullptr;
  }
}

template <class T, int MR, Lanes L>
constexpr void fill_row(typename fastconv::Kernels<T>::TileKernel (&row)[fastconv::kMaxTileVectors]) {
  row[0] = tile_or_null<T, MR, 1, L>();
  row[1] = tile_or_null<T, MR, 2, L>();
  row[2] = tile_or_null<T, MR, 3, L>();
  row[3] = tile_or_null<T, MR, 4, L>();
  static_assert(fastconv::kMaxTileVectors == 4);
}

template <class T, Lanes L, int MR = 1>
constexpr void fill(
    typename fastconv::Kernels<T>::TileKernel (&tiles)[fastconv::kMaxTileRows][fastconv::kMaxTileVectors]) {
  fill_row<T, MR, L>(tiles[MR - 1]);
  if constexpr (MR < fastconv::kMaxTileRows) fill<T, L, MR + 1>(tiles);
}

template <class T, int MR = 1, int NC = 1>
constexpr void fill_dots(fastconv::Kernels<T>& k) {
  if constexpr (MR <= kDotRows && NC <= kDotColumns) k.dot[MR - 1][NC - 1] = dot_tile<T, MR, NC>;
  if constexpr (NC < fastconv::kMaxDotColumns) {
    fill_dots<T, MR, NC + 1>(k);
  } else if constexpr (MR < fastconv::kMaxDotRows) {
    fill_dots<T, MR + 1, 1>(k);
  }
}

template <class T, int M, int R>
constexpr fastconv::WinogradKernels<T> winograd_of() {
  return {winograd_input<T, M, R>, winograd_output<T, M, R>, winograd_weights<T, M, R>};
}

template <class T, int NV>
constexpr void (*winograd_product_or_null())(const fastconv::WinogradProduct<T>&) {
  if constexpr (NV <= kVectors) {
    return &winograd_product<T, kRows, NV>;
  } else {
    return nullptr;
  }
}

template <class T, int K>
constexpr void fill_depthwise(void (*(&rows)[fastconv::kDepthwiseStrides])(const DepthwiseRows<T>&)) {
  rows[0] = depthwise_rows<T, K, 1>;
  rows[1] = depthwise_rows<T, K, 2>;
}

template <class T>
constexpr fastconv::Kernels<T> kernels_of() {
  fastconv::Kernels<T> k{};
  k.lanes = kLanes<T>;
  k.tile_rows = kRows;
  k.tile_vectors = kVectors;
  fill<T, Lanes::kChannels>(k.channel_lanes);
  fill<T, Lanes::kPixels>(k.pixel_lanes);
  fill<T, Lanes::kRawPixels>(k.raw_pixels);
  k.dot_rows = kDotRows;
  k.dot_columns = kDotColumns;
  fill_dots<T>(k);
  k.winograd[fastconv::kF4x3] = winograd_of<T, 4, 3>();
  k.winograd[fastconv::kF2x3] = winograd_of<T, 2, 3>();
  k.winograd[fastconv::kF2x5] = winograd_of<T, 2, 5>();
  k.winograd_product[0] = winograd_product_or_null<T, 1>();
  k.winograd_product[1] = winograd_product_or_null<T, 2>();
  k.winograd_product[2] = winograd_product_or_null<T, 3>();
  k.winograd_product[3] = winograd_product_or_null<T, 4>();
  k.transpose = transpose_block<T>;
  k.interleave = interleave<T>;
  k.copy = copy_rows<T>;
  k.take_every = take_every<T>;
  k.stage_rows = stage_rows<T>;
  fill_depthwise<T, 3>(k.depthwise_rows[0]);
  fill_depthwise<T, 5>(k.depthwise_rows[1]);
  fill_depthwise<T, 7>(k.depthwise_rows[2]);
  k.shifted_run[0] = shifted_run<T, 1>;
  k.shifted_run[1] = shifted_run<T, 2>;
  k.shifted_run[2] = shifted_run<T, 3>;
  k.shifted_run[3] = shifted_run<T, 4>;
  k.lane_rows = lane_rows<T>;
  k.planes_to_lanes = planes_to_lanes<T>;
  k.lanes_to_planes = lanes_to_planes<T>;
  k.tap_sums[0] = tap_sums<T, 1>;
  k.tap_sums[1] = tap_sums<T, 2>;
  k.tap_sums[2] = tap_sums<T, 3>;
  k.tap_sums[3] = tap_sums<T, 4>;
  k.sum_lanes = sum_lanes<T>;
  k.add_rows = add_rows<T>;
  k.sum = sum<T>;
  k.fold[fastconv::kFoldMax] = fold<T, Leaf::kDense, Maxima>;
  k.fold[fastconv::kFoldMaxPlaces] = fold<T, Leaf::kDense, MaximaWithPlaces>;
  k.fold[fastconv::kFoldSum] = fold<T, Leaf::kDense, Sums>;
  k.fold[fastconv::kFoldMatches] = fold<T, Leaf::kDense, Matches>;
  k.fold_zip[fastconv::kFoldSum] = fold_zip<T, Sums>;
  k.fold_zip[fastconv::kFoldMatches] = fold_zip<T, Matches>;
  k.take_places = take_places<T>;
  k.fold_pairs[fastconv::kFoldMax] = fold<T, Leaf::kPairs, Maxima>;
  k.fold_pairs[fastconv::kFoldMaxPlaces] = fold<T, Leaf::kPairs, MaximaWithPlaces>;
  k.fold_pairs[fastconv::kFoldSum] = fold<T, Leaf::kPairs, Sums>;
  k.adam = adam<T>;
  k.sgd = sgd<T>;
  k.relu_gradient = relu_gradient<T>;
  k.fma_burst = fma_burst<T>;
  return k;
}

}  // namespace

#define FASTCONV_CONCAT(a, b) a##b
#define FASTCONV_NAME(isa) FASTCONV_CONCAT(fastconv_kernels_, isa)
#define FASTCONV_STRING(text) #text
#define FASTCONV_QUOTE(name) FASTCONV_STRING(name)

namespace fastconv {
constinit const KernelTable FASTCONV_NAME(FASTCONV_ISA_NAME) = {FASTCONV_QUOTE(FASTCONV_ISA_NAME), kernels_of<float>(),
                                                                kernels_of<double>()};
}  // namespace fastconv
