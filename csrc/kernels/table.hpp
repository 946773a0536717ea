// What a driver may ask of an ISA: one table of function pointers for each element type.
//
// Each ISA's object file defines one constant-initialised KernelTable and nothing else.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastconv {

// One tile of the product C[rows][lanes] (+)= sum_k A[row, k] * B[k, lane]: A is broadcast, B comes in
// vectors. What lies in the lanes is the orientation:
//
//   channels in lanes   A[i, k] = a[row_offset[i] + k_offset[k]]   B[k, j] = b[k * width + j]
//   pixels in lanes     A[i, k] = a[i * lda + k]                   B[k, j] = b[k * width + j]
//
// with width the tile's vectors. With channels in the lanes, b is packed weights and a is the input
// itself, met through two tables of offsets: row_offset says where a pixel's window starts, k_offset
// where a tap lies within a window. That sum is all of im2col; the matrix never exists. Swap the
// two tables, with the gradient as b, and the same kernel computes the weight gradient.
template <class T>
struct Tile {
  std::ptrdiff_t depth;  // K: how many products are summed
  const T* a;
  const T* b;
  std::ptrdiff_t lda;                // pixels in lanes only
  const std::ptrdiff_t* row_offset;  // channels in lanes only
  const std::ptrdiff_t* k_offset;    // channels in lanes only
  T* c;
  std::ptrdiff_t ldc;    // elements from a row of C to the next
  std::ptrdiff_t lanes;  // lanes of C that exist; others are neither read nor written
  bool accumulate;       // add to what C holds
  bool relu;             // after the bias
  const T* bias;         // or null: per lane for channels in lanes, else per row
};

// dst[col * ld_dst + row] = src[row * ld_src + col], plus what a finished output needs.
template <class T>
struct Transpose {
  const T* src;
  std::ptrdiff_t ld_src;
  std::ptrdiff_t rows, cols;
  T* dst;
  std::ptrdiff_t ld_dst;
  const T* bias;  // or null; one for each col
  bool relu;
};

// dst[row * ld_dst + i] = src[row * ld_src + i] for i < count.
template <class T>
struct Copy {
  const T* src;
  std::ptrdiff_t ld_src;
  std::ptrdiff_t rows, count;
  T* dst;
  std::ptrdiff_t ld_dst;
};

// Rows of a plane on their way into a stage: `count` elements, `step` apart, `left` zeros before and zeros behind them
// up to `dst_row`, and less than a vector of zeros behind the last row.
template <class T>
struct StageRows {
  const T* src;
  std::ptrdiff_t step, src_row;
  std::ptrdiff_t rows, count;
  T* dst;
  std::ptrdiff_t dst_row, left;
};

// Rows of one plane of a depthwise convolution, K x K and stride S (the kernel's own constants): y[i, j] = bias + sum
// over r and s of w[r * K + s] * x[i * S + r, j * S + s], where row t starts at x + t % S * x_row_phase + t / S *
// x_row, and column u of it is at u % S * x_column_phase + u / S. Rows of y hold at least a vector.
template <class T>
struct DepthwiseRows {
  const T* x;
  std::ptrdiff_t x_row, x_row_phase, x_column_phase;
  const T* w;
  T* y;
  std::ptrdiff_t y_row;
  std::ptrdiff_t rows, width;
  T bias;
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

// The pixels of `lanes` planes, `plane` apart, and the vectors that hold them: pixel i of all planes is at at[i].
template <class T>
struct PlanesToLanes {
  std::ptrdiff_t plane, lanes, pixels;
  const std::ptrdiff_t* at;
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

constexpr int kMaxTapOutputs = 4;
constexpr int kDepthwiseKernels = 3;  // 3 x 3, 5 x 5 and 7 x 7
constexpr int kDepthwiseStrides = 2;
constexpr int kMaxRunOutputs = 4;

constexpr int kMaxTileRows = 6;
constexpr int kMaxTileVectors = 4;

template <class T>
struct Kernels {
  using TileKernel = void (*)(const Tile<T>&);
  int lanes;      // elements in a vector
  int tile_rows;  // rows and vectors of the largest tile that stays in registers
  int tile_vectors;
  TileKernel channel_lanes[kMaxTileRows][kMaxTileVectors];  // [rows - 1][vectors - 1]
  TileKernel pixel_lanes[kMaxTileRows][kMaxTileVectors];
  void (*transpose)(const Transpose<T>&);
  void (*copy)(const Copy<T>&);
  void (*stage_rows)(const StageRows<T>&);
  void (*depthwise_rows[kDepthwiseKernels][kDepthwiseStrides])(const DepthwiseRows<T>&);  // [(K - 3) / 2][S - 1]
  void (*shifted_run[kMaxRunOutputs])(const ShiftedRun<T>&);                              // [outputs - 1]
  void (*lane_rows)(const LaneRows<T>&);
  void (*planes_to_lanes)(const PlanesToLanes<T>&, const T* planes, T* lanes);  // lanes behind t.lanes are zero
  void (*lanes_to_planes)(const PlanesToLanes<T>&, const T* lanes, T* planes);
  void (*tap_sums[kMaxTapOutputs])(const TapSums<T>&);               // [outputs - 1]
  void (*sum_lanes)(const T* vectors, std::ptrdiff_t n, T* totals);  // the sum of each of n vectors
  void (*add_rows)(const T* src, std::ptrdiff_t n, T* sum);          // sum[i] += src[i]
  T (*sum)(const T* src, std::ptrdiff_t n);
  // Floating-point operations done by a loop of independent FMA chains: the peak to compare with.
  double (*fma_burst)(std::ptrdiff_t iterations);
};

struct KernelTable {
  const char* name;
  Kernels<float> f32;
  Kernels<double> f64;

  template <class T>
  const Kernels<T>& of() const {
    if constexpr (sizeof(T) == sizeof(float)) {
      return f32;
    } else {
      return f64;
    }
  }
};

extern const KernelTable fastconv_kernels_scalar;
extern const KernelTable fastconv_kernels_avx2;
extern const KernelTable fastconv_kernels_avx512;
extern const KernelTable fastconv_kernels_neon;

}  // namespace fastconv
