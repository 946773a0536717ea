// Depthwise convolutions and narrow groups; see depthwise_table.hpp.
#include "depthwise_lanes.hpp"
#include "depthwise_rows.hpp"
#include "narrow_tile.hpp"
#include "part.hpp"
#include "plane_gradients.hpp"
#include "reduce.hpp"
#include "rolling_gradients.hpp"
#include "rolling_rows.hpp"
#include "shifted_tile.hpp"
#include "strided_gradients.hpp"
#include "tap_sums.hpp"

namespace {

// Strides where there are registers for them; where not, groups in the lanes are as fast.
template <class T, int K>
constexpr void fill_gradients(void (*(&gradients)[fastconv::kDepthwiseStrides])(const PlaneGradients<T>&)) {
  gradients[0] = plane_gradients<T, K, 1>;
  if constexpr (!kCompact && (K == 3 || (K == 5 && kGradientRows > 2))) gradients[1] = plane_gradients<T, K, 2>;
}

#if defined(__AVX512F__)
template <class T, int K>
constexpr void fill_rows(fastconv::DepthwiseKernels<T>& k) {
  constexpr int i = (K - 3) / 2;
  k.rolling_rows[i][0] = rolling_rows<T, K, 1, 1>;
  // Planes as narrow as half a vector of doubles are rare, and larger windows over a quarter of one are, too.
  if constexpr (sizeof(T) == 4) k.rolling_rows[i][1] = rolling_rows<T, K, 2, 1>;
  if constexpr (sizeof(T) == 4 && K == 3) k.rolling_rows[i][2] = rolling_rows<T, K, 4, 1>;
  k.rolling_strips[i][0] = rolling_rows<T, K, 1, 2>;
  if constexpr (K < 7) k.rolling_strips[i][1] = rolling_rows<T, K, 2, 2>;
}
#else
template <class T, int K>
constexpr void fill_rows(fastconv::DepthwiseKernels<T>& k) {
  constexpr int i = (K - 3) / 2;
  k.depthwise_rows[i][0] = depthwise_rows<T, K, 1>;
  if constexpr (K < 7) k.depthwise_rows[i][1] = depthwise_rows<T, K, 2>;
#if defined(__AVX2__)
  if constexpr (sizeof(T) == 4) {
    k.rolling_rows[i][0] = rolling_rows<T, K, 1, 1>;
    k.rolling_rows[i][1] = rolling_rows<T, K, 2, 1>;
  }
#endif
}
#endif

template <class T>
constexpr fastconv::DepthwiseKernels<T> depthwise() {
  fastconv::DepthwiseKernels<T> k{};
  fill_rows<T, 3>(k);
  fill_rows<T, 5>(k);
  fill_rows<T, 7>(k);
  k.resident_taps = kRowVectors<5> == 1 ? 25 : 9;
  k.shifted_run[0] = shifted_run<T, 1>;
  k.shifted_run[1] = shifted_run<T, 2>;
  k.shifted_run[2] = shifted_run<T, 3>;
  k.shifted_run[3] = shifted_run<T, 4>;
  k.lane_rows = lane_rows<T>;
  k.tap_sums[0] = tap_sums<T, 1>;
  k.tap_sums[1] = tap_sums<T, 2>;
  k.tap_sums[2] = tap_sums<T, 3>;
  k.tap_sums[3] = tap_sums<T, 4>;
  fill_gradients<T, 3>(k.plane_gradients[0]);
  fill_gradients<T, 5>(k.plane_gradients[1]);
  fill_gradients<T, 7>(k.plane_gradients[2]);
#if defined(__AVX512F__)
  k.rolling_gradients[0][0] = rolling_gradients<T, 1, 1>;
  k.rolling_gradients[1][0] = rolling_gradients<T, 2, 1>;
  k.strided_gradients = strided_gradients<T, 5>;
  k.strided_input[0] = strided_input<T, 3>;
  k.strided_input[1] = strided_input<T, 4>;
  k.strided_input[2] = strided_gradients<T, 5>;
  k.sum_half_lanes = sum_half_lanes<T>;
  if constexpr (sizeof(T) == 4) {  // planes as narrow as half a vector of doubles are rare
    k.rolling_gradients[0][1] = rolling_gradients<T, 1, 2>;
    k.rolling_gradients[1][1] = rolling_gradients<T, 2, 2>;
  }
#endif
  k.narrow_rows[0] = kNarrowPixels<1>;
  k.narrow_rows[1] = kNarrowPixels<2>;
  k.narrow_pixels[0] = narrow_pixels<T, 1, 1>;
  k.narrow_pixels[1] = narrow_pixels<T, 2, 1>;
  k.narrow_taps[0] = narrow_pixels<T, 1, 2>;
  k.narrow_taps[1] = narrow_pixels<T, 1, 3>;
  k.narrow_channels[0] = narrow_channels<T, 1>;
  k.narrow_channels[1] = narrow_channels<T, 2>;
  k.narrow_channels[2] = narrow_channels<T, 3>;
  return k;
}

}  // namespace

FASTCONV_PART(DepthwiseKernels, depthwise, depthwise)
