// Kernels of dense products: tiles of a matrix product, in three orientations, and of dot products.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastconv {

// One tile of the product C[rows][lanes] (+)= sum_k A[row, k] * B[k, lane]: A is broadcast, B comes in
// vectors. What lies in the lanes is the orientation:
//
//   channels in lanes   A[i, k] = a[row_offset[i] + k_offset[k]]   B[k, j] = b[k * width + j]
//   pairs in lanes      A[i, k] and what follows it, for the even and the odd lanes
//   pixels in lanes     A[i, k] = a[i * lda + k]                   B[k, j] = b[k * width + j]
//   unpacked pixels     A[i, k] = a[i * lda + k]                   B[k, j] = b[k * ldb + j]
//   raw pixels          A[i, k] = a[i * lda + k]                   B[k, j] = slot[j].b[k_offset[k]]
//
// with width the tile's vectors, and j in the last line a vector, wherever it starts. Unpacked pixels are also stored
// to `packed`, as the tiles after it read them. With channels in the lanes, b is packed weights and a is the input
// itself, met through two tables of offsets: row_offset says where a pixel's window starts, k_offset where a tap lies
// within a window. That sum is all of im2col; the matrix never exists. Swap the two tables, with the gradient as b, and
// the same kernel computes the weight gradient. Of few outputs, pairs fill the lanes: neighbouring pixels of an output
// lie side by side there, and each k is two of them.
template <class T>
struct Slot {
  const T* b;            // where the vector's first product lies, less the tap's offset
  T* c;                  // where its first sum goes; whole vectors of a tile may overlap
  std::ptrdiff_t lanes;  // how many of its lanes exist
};

template <class T>
struct Tile {
  std::ptrdiff_t depth;  // K: how many products are summed
  const T* a;
  const T* b;
  std::ptrdiff_t lda;                // pixels in lanes only
  std::ptrdiff_t ldb;                // unpacked pixels, nine rows
  T* packed;                         // unpacked pixels; nine rows, or null
  const std::ptrdiff_t* row_offset;  // channels in lanes only
  const std::ptrdiff_t* k_offset;    // channels in lanes, raw pixels
  const Slot<T>* slot;               // raw pixels only, one for each vector
  std::ptrdiff_t c_shift;            // raw pixels only: from slot.c to the first row's sum
  const T* start;  // channels in lanes only: sums of the products before these, rows of whole vectors; or null
  T* c;
  std::ptrdiff_t ldc;    // elements from a row of C to the next
  std::ptrdiff_t lanes;  // lanes of C that exist; others are neither read nor written
  bool accumulate;       // add to what C holds
  bool relu;             // after the bias
  bool far;              // C lies beyond the caches: ask for it early
  const T* bias;         // or null: per lane for channels in lanes, else per row
  // What will be read after this tile: a line to ask for at every second step of the reduction (with pixels in the
  // lanes two, side by side), or null. Asked for in bursts, the lines would block the loads that the tile itself needs.
  const void* ahead;
  std::ptrdiff_t ahead_step;  // bytes from a line to the next; of far pixels, from a vector to one that comes later
  // Channels in lanes only: after so many lines (of pairs, twice as many, as each step asks for one) there is a jump of
  // so many bytes more; 0 for never.
  std::ptrdiff_t ahead_run, ahead_jump;
  // How many tiles of this shape follow each other, 0 for one, and from one to the next the way of each pointer, in
  // elements; of ahead in bytes. With channels in the lanes, row_offset and start go on to the next rows by themselves.
  std::ptrdiff_t tiles;
  struct Next {
    std::ptrdiff_t a, b, slot, c, bias, ahead;
  } next;
};

// sums[row][column], a vector each: += sum over steps of A[row] * B[column], lane by lane. See dot_tile.hpp.
template <class T>
struct DotTile {
  const T* a;  // vector k of a row: a[row * lda + a_offset[k]]
  std::ptrdiff_t lda;
  const std::ptrdiff_t* a_offset;
  const T* b;  // vector k of a column: b[column_offset[column] + b_offset[k]]
  const std::ptrdiff_t* column_offset;
  const std::ptrdiff_t* b_offset;
  std::ptrdiff_t steps, masked_steps;    // the masked ones come last
  std::ptrdiff_t first_lane, last_lane;  // [first, last) take part in those
  T* sums;
  bool accumulate;            // to what the sums hold
  std::ptrdiff_t ld;          // vectors from a row of sums to the next
  const T* ahead;             // a row that is read soon: asked for meanwhile, a line at each step; or null
  std::ptrdiff_t ahead_step;  // bytes from there to another such row, of either side; or 0
};

// C[row][lane] (+)= sum_k a[row * lda + k] * b[k * ldb + lane] for a single vector of lanes. See tall_tile.hpp.
template <class T>
struct TallTile {
  std::ptrdiff_t rows, depth;
  const T* a;
  std::ptrdiff_t lda;
  const T* b;
  std::ptrdiff_t ldb;
  T* c;
  std::ptrdiff_t ldc;
  bool accumulate;  // to what C holds
};

// totals[i] = sum over k < n of w[i * ld + k] * x[k]. See row_products.hpp.
template <class T>
struct RowProducts {
  const T* w;
  std::ptrdiff_t ld, rows, n;
  const T* x;
  T* totals;
};

constexpr int kMaxDotRows = 4;
constexpr int kMaxDotColumns = 6;

constexpr int kMaxTileRows = 6;
constexpr int kMaxTileVectors = 4;

constexpr int kNineRows = 9;
constexpr int kPackedPixels = 8;  // at a time, by its tiles

template <class T>
struct DenseKernels {
  using TileKernel = void (*)(const Tile<T>&);
  int lanes;      // elements in a vector
  int tile_rows;  // rows and vectors of the largest tile that stays in registers
  int tile_vectors;
  TileKernel channel_lanes[kMaxTileRows][kMaxTileVectors];  // [rows - 1][vectors - 1]
  TileKernel nine_rows;                                     // by two vectors, or null; see nine_rows.hpp
  TileKernel channel_pairs[kMaxTileRows][kMaxTileVectors];  // null but for large tiles of 32 bits and long vectors
  TileKernel pixel_lanes[kMaxTileRows][kMaxTileVectors];
  TileKernel unpacked_pixels[kMaxTileRows][kMaxTileVectors];  // null but for the largest
  TileKernel raw_pixels[kMaxTileRows][kMaxTileVectors];
  TileKernel far_pixels[kMaxTileRows][kMaxTileVectors];  // raw ones from beyond L1; null but for large tiles
  void (*tall)(const TallTile<T>&);
  using DotKernel = void (*)(const DotTile<T>&);
  void (*row_products)(const RowProducts<T>&);
  int dot_rows, dot_columns;
  DotKernel dot[kMaxDotRows][kMaxDotColumns];
  // Floating-point operations done by a loop of independent FMA chains: the peak to compare with.
  double (*fma_burst)(std::ptrdiff_t iterations);
};

}  // namespace fastconv
