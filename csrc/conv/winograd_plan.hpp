// Everything that Winograd's convolution decides, as a value: which F(m x m, r x r), what it would cost, and the
// blocks.
//
// A tile is m x m outputs and needs P x P inputs, P = m + r - 1. Its work is P * P products for each pair of channels
// instead of m * m * r * r, as P * P matrix products over all tiles (along a line, F(m, r): P instead of m * r):
//
//   V[point][tile][c] = B^T d B     M[point][tile][o] = sum over c of V[point][tile][c] * U[point][c][o]     y = A^T M
//   A
//
// A task owns a block of tiles and a range of output channels, and takes both through all three steps, so that V and M
// stay in its cache and nothing as large as an image is ever stored.
#pragma once

#include <algorithm>

#include "../kernels/table.hpp"
#include "../problem.hpp"
#include "blocking.hpp"
#include "direct_plan.hpp"

namespace fastconv {

// Outputs of a tile and taps of the kernel along an axis, both 1 across a line; and inputs from an output to the next.
// With stride 2, which there is for 2 outputs of 3 taps only, points of U take part in several products, and those of M
// are sums of some: see StridedPoints in kernels/winograd_points.hpp.
struct WinogradAxis {
  Index tile = 1, taps = 1, stride = 1;
  Index step() const { return tile * stride; }
  Index span() const { return (tile - 1) * stride + taps; }
  Index weights() const { return stride == 1 ? span() : 4; }
  Index sums() const { return stride == 1 ? span() : 3; }
};

struct WinogradForm {
  WinogradTile kernels = kF4x3;
  WinogradAxis height, width;
  Index points() const { return height.span() * width.span(); }  // of V: so many products
  Index weights() const { return height.weights() * width.weights(); }
  Index sums() const { return height.sums() * width.sums(); }
  bool strided() const { return height.stride > 1; }
  bool line() const { return height.taps == 1 || width.taps == 1; }
};

struct WinogradPlan {
  WinogradForm form;
  Index points = 0;
  Index tile_rows = 0, tile_columns = 0;  // of a grid
  Index tiles = 0;                        // of all grids of all planes
  Index images = 1;                       // 2: whose channels share a vector, and whose tiles at a place count as one
  // Grids of neighbouring columns that are copied together, wherefore their rows of tiles follow each other.
  Index grids_across = 1;
  Index tiles_per_unit = 1;  // a row of them, or one
  Panels tile_blocks;        // of units
  Index depth = 0;           // channels whose products are summed at once, and how many such blocks there are
  Index depths = 0;
  Index depths_per_block;  // whose V a task keeps
  Panels panels;           // of output channels, in vectors
  Index panels_per_block;  // whose M a task keeps
  Index output_tasks = 1;  // parts that the panels are cut into for the threads' sake
  // Weights that are not packed beforehand: where there are few blocks of tiles, each task transforms what it needs
  // when it needs it, in its cache. Otherwise they are transformed once for all tasks, in passes that bound their
  // memory.
  bool fleeting_weights = false;
  Index groups_per_pass = 0, panels_per_pass = 0;
  int threads = 1;
  std::size_t workspace = 0;  // bytes for each thread
  std::size_t shared = 0;     // bytes for the call

  Index block_tiles() const { return most(tile_blocks) * tiles_per_unit; }
  Index block_channels() const { return depths_per_block * depth; }

  static Index most(const Panels& p) { return p.base + (p.extra > 0 ? 1 : 0); }
};

// What is summed over: the channels at one depth tap after the other, number d * C + c. A kernel's depth makes the
// reduction longer and leaves the tiles as they are.
inline Index winograd_channels(const Problem& p) { return p.channels * p.depth().kernel; }
inline Index plane_taps(const Problem& p) { return p.height().kernel * p.width().kernel; }

// Dilated windows see every d-th row and column only: the image falls into grids, each an undilated problem of its own,
// whose tiles follow each other as those of several images do.
inline Index winograd_grids(const Axis& a) { return std::max<Index>(1, std::min(a.dilation, a.out)); }
inline Index grid_size(const Axis& a) { return ceil_div(a.out, winograd_grids(a)); }  // outputs of the first one

// For cost models: how much more transforms cost where neighbours of a tile's row are none in memory.
inline double columns_apart(const Problem& p) { return p.width().dilation > 1 ? 2 : 1; }

// Whether kernels and strides are such that Winograd's algorithm exists here.
bool winograd_applies(const std::array<Axis, kSpatial>& axes);
bool strided_winograd_applies(const std::array<Axis, kSpatial>& axes);
// Whether the channels of a group are enough for it to be of any use, fewer are refused even when asked for; and
// multiples of kWinogradUnit, where they are summed over several depth taps, so that no vector of them meets two.
bool winograd_applies(Index channels, Index outputs, Index depth_taps);
constexpr Index kWinogradUnit = 16;

// The form for these kernels; `small`: of two outputs along an axis, where there is a choice.
WinogradForm winograd_form(const Problem& p, bool small = false);

// How many tiles there are and how they lie, in plan's form.
void lay_tiles(const Problem& p, WinogradPlan& plan);

// Whether it would be faster than the direct convolution. Depends on the problem, the ISA and `prepacked` alone.
template <class T>
bool winograd_wins(const Problem& p, bool prepacked);

template <class T>
WinogradPlan plan_winograd(const Problem& p, bool prepacked, int threads);
// With tiles that were chosen already.
template <class T>
WinogradPlan plan_winograd(const Problem& p, const WinogradForm& form, bool prepacked, int threads);

}  // namespace fastconv
