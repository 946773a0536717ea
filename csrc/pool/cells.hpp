// Cells: where the elements of a block of planes lie while the gradients of its maxima are found.
//
// Input i of an axis is at position j = i + pad >= 0, which window o meets with its tap k if j = o * stride + k *
// dilation. So elements are kept apart by their phase, j % stride; and within a phase, cell j / stride lies k *
// dilation / stride behind the window's own cell. In other words, a tap is a phase and a distance, the same for all
// windows.
//
// The cells of a phase are one run in memory: of planes, their rows, and a few lanes (channels of NHWC, else 1).
// Between rows, and between planes, lie cells of padding, once for the end of one and the start of the next; they are
// nobody's maximum. A window's taps that leave its row or plane meet these, so kernels need not know where rows end.
#pragma once

#include "window.hpp"

namespace fastconv {

inline Index floor_div(Index n, Index d) { return n >= 0 ? n / d : -((-n + d - 1) / d); }

// Blocks of `extent` inputs, a multiple of the stride or all of them, and one axis of their cells.
class CellAxis {
 public:
  CellAxis() = default;
  CellAxis(const Axis& axis, Index extent);

  struct Block {
    Range dx, x, windows;  // gradients that it finishes, the windows that may hold them, and all that these reach
    Index origin;          // window `origin` has cell 0
  };
  Block block(Index i) const;

  Index blocks() const { return blocks_; }
  Index extent() const { return extent_; }
  Index cells() const { return cells_; }  // from one row (slice, plane) to the next
  Index stride() const { return axis_.stride; }
  Index taps() const { return axis_.kernel; }
  Index phase(Index input) const { return (input + axis_.pad) % axis_.stride; }
  Index cell(Index input, const Block& b) const { return (input + axis_.pad) / axis_.stride - b.origin; }
  Index tap_phase(Index k) const { return k * axis_.dilation % axis_.stride; }
  Index tap_cell(Index k) const { return k * axis_.dilation / axis_.stride; }
  Index reach() const { return tap_cell(axis_.kernel - 1); }

 private:
  Axis axis_;
  Index extent_ = 1, blocks_ = 1, cells_ = 1, origin_ = 0;
  Index shift_ = 0;        // of the cells, from a block to the next
  Range x_{}, windows_{};  // of the first block, if it were not the first
};

// Sizes in elements, of lanes and all.
struct CellGrid {
  std::array<CellAxis, kSpatial> axis;
  Index lanes = 1, planes = 1;
  std::array<Index, kSpatial> step{};
  Index plane = 0;  // from one plane to the next
  Index reach = 0;  // of a window's last tap
  Index phases = 1;
  Index size = 0;  // of a phase, what its windows reach included

  CellGrid(const PoolProblem& p, const std::array<Index, kSpatial>& extent, Index lanes, Index planes, Index vector);
  Index phase(Index d, Index h, Index w) const {
    return ((d * axis[kHeight].stride() + h) * axis[kWidth].stride() + w) * size;
  }
};

}  // namespace fastconv
