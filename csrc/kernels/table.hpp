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
//   raw pixels          A[i, k] = a[i * lda + k]                   B[k, j] = slot[j].b[k_offset[k]]
//
// with width the tile's vectors, and j in the last line a vector, wherever it starts. With channels in the lanes, b is
// packed weights and a is the input itself, met through two tables of offsets: row_offset says where a pixel's window
// starts, k_offset where a tap lies within a window. That sum is all of im2col; the matrix never exists. Swap the two
// tables, with the gradient as b, and the same kernel computes the weight gradient.
template <class T>
struct Slot {
  const T* b;            // where the vector's first product lies, less the tap's offset
  T* c;                  // where its first sum goes
  std::ptrdiff_t lanes;  // how many of its lanes exist
};

template <class T>
struct Tile {
  std::ptrdiff_t depth;  // K: how many products are summed
  const T* a;
  const T* b;
  std::ptrdiff_t lda;                // pixels in lanes only
  const std::ptrdiff_t* row_offset;  // channels in lanes only
  const std::ptrdiff_t* k_offset;    // channels in lanes, raw pixels
  const Slot<T>* slot;               // raw pixels only, one for each vector
  std::ptrdiff_t c_shift;            // raw pixels only: from slot.c to the first row's sum
  T* c;
  std::ptrdiff_t ldc;    // elements from a row of C to the next
  std::ptrdiff_t lanes;  // lanes of C that exist; others are neither read nor written
  bool accumulate;       // add to what C holds
  bool relu;             // after the bias
  const T* bias;         // or null: per lane for channels in lanes, else per row
  // What will be read after this tile: a line to ask for at every second step of the reduction, or null. Asked for in
  // bursts, the lines would block the loads that the tile itself needs.
  const void* ahead;
  std::ptrdiff_t ahead_step;  // bytes from a line to the next
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

// sums[row][column], a vector each: += sum over steps of A[row] * B[column], lane by lane. See dot_tile.hpp.
template <class T>
struct DotTile {
  const T* a;  // vector k of a row: a[row * lda + k * lanes of a vector]; in masked steps from masked_a on
  const T* masked_a;
  std::ptrdiff_t lda;
  const T* b;  // vector k of a column: b[column_offset[column] + step_offset[k]]
  const std::ptrdiff_t* column_offset;
  const std::ptrdiff_t* step_offset;
  const std::ptrdiff_t* masked_offset;
  std::ptrdiff_t steps, masked_steps;
  std::ptrdiff_t lanes;  // of B that take part in masked steps
  T* sums;
  std::ptrdiff_t ld;  // vectors from a row of sums to the next
};

constexpr int kMaxDotRows = 4;
constexpr int kMaxDotColumns = 6;

// dst[column * lanes + lane] = src[lane * channel + column]: planes of channels become pixels with a vector of
// channels. Lanes beyond `channels` repeat the last channel.
template <class T>
struct Interleave {
  const T* src;
  std::ptrdiff_t channel;
  std::ptrdiff_t channels, columns;
  T* dst;
};

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
struct WinogradKernels {
  void (*input)(const WinogradInput<T>&);
  void (*output)(const WinogradOutput<T>&);
  void (*weights)(const WinogradWeights<T>&);
};

// Where a maximum lies: integers as wide as the elements, so that a comparison's mask serves both.
template <class T>
struct PlaceType {
  using type = std::int64_t;
};
template <>
struct PlaceType<float> {
  using type = std::int32_t;
};
template <class T>
using PlaceOf = typename PlaceType<T>::type;

// Rows of pooling windows, one window in each lane:
//
//   dst[row * ld_dst + i] = fold over taps (d, h, w) of
//       src[row * step + d * tap_step[0] + h * tap_step[1] + w * tap_step[2] + i]    for i < n
//
// or, in the kernels for pairs, ... + w + 2 * i]: neighbours in the lanes are two elements apart.
// A lane's place is the sum of what its row, its lane and the winning tap count for.
template <class T>
struct Fold {
  const T* src;
  std::ptrdiff_t step;
  std::ptrdiff_t taps[3], tap_step[3];
  std::ptrdiff_t rows, n;
  T* dst;
  std::ptrdiff_t ld_dst;
  // The memory that may be read and written in whole vectors; beyond it goes single elements. Lanes behind
  // the n-th receive garbage, for a later row to overwrite.
  const T* src_end;
  T* dst_end;
  // Sums only: factors, one for each row or (scale_lanes) for each lane; or null.
  const T* scale;
  bool scale_lanes;
  // Maxima with places only.
  std::ptrdiff_t place, place_row, place_lane, place_step[3];
  const PlaceOf<T>* src_place;  // to be added, laid out as src; or null
  PlaceOf<T>* dst_place;        // laid out as dst; or null, then
  std::int64_t* indices;
  std::ptrdiff_t ld_indices;
  // In the kernels that zip only: dst[2 * i + 1] is folded from `odd` elements further on, with odd_taps along
  // the width; and n counts elements of dst.
  std::ptrdiff_t odd, odd_taps;
};

// kFoldMatches sums the elements whose src_place is the lane's own place, which has no share of the taps.
enum FoldKind { kFoldMax, kFoldMaxPlaces, kFoldSum, kFoldMatches, kFoldKinds };

// Saved indices of rows of windows, made narrow: places[row * ld_places + i] = indices[row * ld_indices + i] for
// i < n. Whether each is -1 or lies in its own window, which starts at place + row * place_row + i * place_lane.
template <class T>
struct Places {
  const std::int64_t* indices;
  std::ptrdiff_t ld_indices;
  const std::int64_t* indices_end;  // of what may be read
  PlaceOf<T>* places;
  std::ptrdiff_t ld_places;
  std::ptrdiff_t rows, n;
  std::ptrdiff_t place, place_row, place_lane;
  std::ptrdiff_t taps[3], place_step[3];
};

// A step of Adam over n elements:
//   mean += mean_rate * (grad - mean)
//   square = square_decay * square + square_rate * grad^2
//   data -= rate * mean / (sqrt(square) + epsilon)
template <class T>
struct AdamStep {
  const T* grad;
  T *data, *mean, *square;
  std::ptrdiff_t n;
  T mean_rate, square_decay, square_rate, rate, epsilon;
};

// velocity = momentum * velocity + grad; data -= rate * velocity. Without a velocity, grad takes its place.
template <class T>
struct SgdStep {
  const T* grad;
  T *data, *velocity;  // the latter may be null
  std::ptrdiff_t n;
  T rate, momentum;
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
  TileKernel raw_pixels[kMaxTileRows][kMaxTileVectors];
  using DotKernel = void (*)(const DotTile<T>&);
  int dot_rows, dot_columns;
  DotKernel dot[kMaxDotRows][kMaxDotColumns];

  WinogradKernels<T> winograd[kWinogradTiles];
  void (*winograd_product[kMaxTileVectors])(const WinogradProduct<T>&);  // [vectors - 1]
  void (*transpose)(const Transpose<T>&);
  void (*interleave)(const Interleave<T>&);
  void (*copy)(const Copy<T>&);
  void (*take_every)(const T* src, std::ptrdiff_t step, std::ptrdiff_t count, T* dst);  // dst[i] = src[i * step]
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
  void (*fold[kFoldKinds])(const Fold<T>&);
  void (*fold_pairs[kFoldKinds])(const Fold<T>&);
  void (*fold_zip[kFoldKinds])(const Fold<T>&);
  bool (*take_places)(const Places<T>&);
  void (*adam)(const AdamStep<T>&);
  void (*sgd)(const SgdStep<T>&);
  // result[i] = y[i] > 0 ? grad[i] : 0; result may be grad.
  void (*relu_gradient)(const T* grad, const T* y, std::ptrdiff_t n, T* result);
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
