// Kernels of depthwise convolutions and narrow groups, and of their weight gradients.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastconv {

// Rows of one plane of a depthwise convolution, K x K and stride S (the kernel's own constants): y[i, j] = bias + sum
// over r and s of w[r * K + s] * row[i * S + r][j * S + s], where columns of x outside [first, end) count as zero.
// kept[s * kept_row + j] has all bits set where column j * S + s counts, none where not. From each row on, S *
// max(width, lanes) + K - 1 elements are read.
template <class T>
struct DepthwiseRows {
  const T* const* row;  // (rows - 1) * S + K of them
  std::ptrdiff_t first, end;
  const T* kept;
  std::ptrdiff_t kept_row;
  const T* w;
  T* y;
  std::ptrdiff_t y_row;
  std::ptrdiff_t rows, width;
  std::ptrdiff_t overwritten;  // elements from y on that may hold anything until the last row is written
  T bias;
  bool relu;
};

// Planes of a depthwise convolution, K x K: see rolling_rows.hpp. Lane l of a vector of y meets lane from[s * lanes +
// l] of x at column s of the taps. Rows share vectors, and then a negative number stands for none; or they are cut into
// `strips` of as many outputs each, the first of which begins with column -pad_columns of x. Of each plane
// `overwritten` elements may hold anything until its last row is written.
template <class T>
struct RollingRows {
  std::ptrdiff_t planes, rows_of_vector, pad;
  std::ptrdiff_t strips, strip, stride, pad_columns;
  const std::int32_t* from;
  const T* x;
  std::ptrdiff_t x_plane, x_row, rows_in, width_in;
  T* y;
  std::ptrdiff_t y_plane, y_row, rows_out, width_out, overwritten;
  const T* w;  // [row][column] of taps
  std::ptrdiff_t w_plane;
  const T* bias;  // or null
  std::ptrdiff_t bias_step;
  bool relu;
};

// sums[o * sums_row + f] = bias[o] + sum_k w[o * w_row + k] * x[offset[k] + f] for f < length; the vector that holds
// the last f is read and written whole.
template <class T>
struct ShiftedRun {
  std::ptrdiff_t depth;  // K
  const T* x;
  const std::ptrdiff_t* offset;
  const T* w;
  std::ptrdiff_t w_row;
  T* sums;
  std::ptrdiff_t sums_row, length;
  const T* bias;  // or null
  bool relu;
};

// Groups in the lanes: rows of outputs of one output channel, `lanes` of the vector stored. w is [depth][lane], bias a
// vector; x is read in whole vectors.
template <class T>
struct LaneRows {
  std::ptrdiff_t depth;  // K
  const T* x;
  const std::ptrdiff_t* offset;
  std::ptrdiff_t x_step, x_row;
  const T* w;
  T* y;
  std::ptrdiff_t y_step, y_row;
  std::ptrdiff_t rows, width, lanes;
  const T* bias;
  bool relu;
};

// sums[o * sums_row + k * lanes + l] += sum over rows i and vectors j < width of dy(o, i, j)[l] * x(i, j)[offset[k] +
// l], where dy(o, i, j) = dy + o * dy_output + i * dy_row + j * dy_step and x(i, j) = x + i * x_row + j * x_step.
template <class T>
struct TapSums {
  std::ptrdiff_t depth;  // taps
  const T* x;
  const std::ptrdiff_t* offset;
  std::ptrdiff_t x_step, x_row;
  const T* dy;
  std::ptrdiff_t dy_step, dy_row, dy_output;
  std::ptrdiff_t rows, width;
  T* sums;
  std::ptrdiff_t sums_row;
};

// Of x and dx `rows` rows of S * `row` elements without gaps, of dY rows of `row` elements, a vector or more, and K x
// columns taps, where S and K are the kernel's own constants. dx[i, j] = sum of w[c * K + r] * dy[(i + A - r) / S + A /
// S, j / S + shift[c]] with A = (K - 1) / 2, over the rows of taps r that make the first quotient whole and the columns
// c of j's residue that keep j / S; and sums[(c * K + r) * lanes + l] += sum over those pixels of lane l of x[i, j]
// times the same. The first `even_columns` belong to even j, the others to odd ones (S = 2); kept[c][j] has all bits
// set or none. `rows` is a multiple of kMostGradientRows. One of dx and sums may be null.
template <class T>
struct PlaneGradients {
  std::ptrdiff_t rows, row;
  std::ptrdiff_t columns, even_columns;  // of taps
  const T* dy;
  const std::ptrdiff_t* shift;
  const T* const* kept;
  const T* w;
  const T* x;
  T* dx;
  T* sums;
};

// Planes of a 3 x 3 depthwise convolution of the kernel's stride, padded by one, as PlanesOf describes each array's.
// The weights are [plane][tap]; sums[(v * 9 + tap) * lanes + l] += what is counted for dW in lane l of plane v, or for
// the v-th two planes in the lower and the upper half of them. One of dx and sums may be null.
template <class T>
struct PlanesOf {
  T* first;
  std::ptrdiff_t plane, row;  // from one to the next
  std::ptrdiff_t rows, width;
  std::ptrdiff_t image;  // from one to the next
};
template <class T>
struct RollingGradients {
  std::ptrdiff_t planes;
  std::ptrdiff_t images;  // 3 x 3 only; one otherwise
  PlanesOf<const T> dy, x;
  PlanesOf<T> dx;
  const T* w;
  T* sums;
  std::ptrdiff_t pad_rows, pad_columns;  // strided_gradients.hpp only
  const T* bias;                         // the same; of each plane of dx, or null
};

// sums[row * sums_row + j * sums_vector + l] (+)= sum over i < outer and k < inner of a[a_offset[i] + row * (1 or
// lanes) + k * a_step] * b[b_offset[i] + k * b_step + j * b_vector + l]; see narrow_tile.hpp. Rows are rounded up to
// those of a tile, and their sums are written; rows of pixels come in `runs`, each a_run and sums_run behind the last.
template <class T>
struct NarrowTile {
  std::ptrdiff_t outer, inner;
  const T* a;
  const std::ptrdiff_t* a_offset;
  std::ptrdiff_t a_step;
  const T* b;
  const std::ptrdiff_t* b_offset;
  std::ptrdiff_t b_step;
  std::ptrdiff_t b_vector;  // rows of pixels only: to the next vector or tap; for rows of channels it is a vector
  T* sums;                  // those of pixels are written, those of channels are added to
  std::ptrdiff_t sums_row, sums_vector;
  std::ptrdiff_t rows;
  std::ptrdiff_t runs, a_run, sums_run;  // rows of pixels only
  const T* bias;                         // the same: vectors, or null
  bool relu;
  const void* ahead;  // what to ask for at the outer steps of each tile, or null
  std::ptrdiff_t ahead_step;
};

constexpr int kNarrowAhead = 4;        // lines that a tile asks for at each outer step
constexpr int kMaxNarrowPixels = 14;   // rows of a tile of pixels
constexpr int kMaxPixelVectors = 2;    // and its vectors
constexpr int kMaxNarrowTaps = 3;      // or, of one vector, taps side by side: b_vector apart in b, a vector apart in a
constexpr int kMaxChannelVectors = 3;  // of a tile of channels
constexpr int kMaxTapOutputs = 4;
constexpr int kDepthwiseKernels = 3;  // 3 x 3, 5 x 5 and 7 x 7
constexpr int kDepthwiseStrides = 2;
constexpr int kRowSteps = 3;  // 1, 2 and 4
constexpr int kMaxRunOutputs = 4;
constexpr int kMostGradientRows = 4;
constexpr int kMostRollingPlanes = 2;
constexpr int kFewestStridedTaps = 3, kMostStridedTaps = 5;  // of a row

template <class T>
struct DepthwiseKernels {
  void (*depthwise_rows[kDepthwiseKernels][kDepthwiseStrides])(
      const DepthwiseRows<T>&);  // [(K - 3) / 2][S - 1]; not 7, 2, and null where there are all of the next
  // [(K - 3) / 2][log2(D)], D rows of x between those where vectors of y begin, and of strips [(K - 3) / 2][S - 1];
  // some are null
  void (*rolling_rows[kDepthwiseKernels][kRowSteps])(const RollingRows<T>&);
  void (*rolling_strips[kDepthwiseKernels][kDepthwiseStrides])(const RollingRows<T>&);
  int resident_taps;                                          // of windows whose weights stay in registers there
  void (*shifted_run[kMaxRunOutputs])(const ShiftedRun<T>&);  // [outputs - 1]
  void (*lane_rows)(const LaneRows<T>&);
  void (*tap_sums[kMaxTapOutputs])(const TapSums<T>&);  // [outputs - 1]
  void (*plane_gradients[kDepthwiseKernels][kDepthwiseStrides])(
      const PlaneGradients<T>&);  // [(K - 3) / 2][S - 1]; some are null
  void (*rolling_gradients[kDepthwiseStrides][kMostRollingPlanes])(
      const RollingGradients<T>&);                        // [S - 1][planes of a vector - 1]; some are null
  void (*strided_gradients)(const RollingGradients<T>&);  // 5 x 5, or null; sums [plane][row, pair of taps][lane]
  // dx alone, [K - kFewestStridedTaps]; or null
  void (*strided_input[kMostStridedTaps - kFewestStridedTaps + 1])(const RollingGradients<T>&);
  void (*sum_half_lanes)(const T* vectors, std::ptrdiff_t n, T* lower, T* upper);  // of n vectors, or null
  int narrow_rows[kMaxPixelVectors];                                               // of a tile of pixels, [vectors - 1]
  void (*narrow_pixels[kMaxPixelVectors])(const NarrowTile<T>&);                   // [vectors - 1]
  void (*narrow_taps[kMaxNarrowTaps - 1])(const NarrowTile<T>&);                   // [taps - 2]
  void (*narrow_channels[kMaxChannelVectors])(const NarrowTile<T>&);
};

}  // namespace fastconv
