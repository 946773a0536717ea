// Rows of the input of a pool with planes or channels in the lanes, and how places count there.
#pragma once

#include "forward.hpp"

namespace fastconv {

// How places count: from one row of the input, one pixel and one lane to the next.
struct PlaceSteps {
  Index row, pixel, lane;
};

// Rows of `pixels` whose `lanes` lie side by side, between an array and whole vectors.
template <class T>
CellRows lane_pixels(const ImageStrides& s, Index pixels, Index lanes, Index rows) {
  CellRows r{};
  r.planes = r.row_streams = r.streams = 1;
  r.rows = rows, r.pixels = pixels, r.lanes = kernels().of<T>().lanes, r.count = lanes;
  r.array_row = s.space[kHeight], r.array_pixel = s.space[kWidth];
  r.cell_row = r.pixels * r.lanes;
  return r;
}

// Rows of x with planes or channels in the lanes, some after the others. Channels lie so already, if they fill a
// vector.
template <class T>
class RowsInLanes {
 public:
  static bool applies(const PoolProblem& p) {
    return p.width().in == 1 || p.channels == 1 || p.x.space[kWidth] == 1 || p.x.channel == 1;
  }
  static std::size_t workspace_bytes(const PoolProblem& p) {
    return Workspace::piece_bytes<T>(staged_rows(p) * p.width().in * kernels().of<T>().lanes);
  }

  // Of `lanes` planes or channels, at most a vector's, from x on.
  RowsInLanes(const PoolProblem& p, const T* x, Index lanes, Workspace& workspace)
      : p_(p), x_(x), lanes_(lanes), kernels_(kernels().of<T>()) {
    stage_ = workspace.take<T>(staged_rows(p) * p.width().in * kernels_.lanes);
  }

  // Row `row`, and as many behind it as there are already, `step` apart.
  struct Rows {
    const T* x;
    Index pixel, step, count;
  };
  Rows rows(Index row) {
    const Index width = p_.width().in, lanes = kernels_.lanes, height = p_.height().in;
    const ImageStrides& s = p_.x;
    if (s.channel == 1 && lanes_ == lanes) {
      return {x_ + row * s.space[kHeight], s.space[kWidth], s.space[kHeight], height - row};
    }
    if (row >= staged_) {
      const Index rows = std::min(staged_rows(p_), height - row);
      const bool dense = s.space[kWidth] == 1 && s.space[kHeight] == width;
      for (Index i = 0; i < rows; i += dense ? rows : 1)
        stage(row + i, (dense ? rows : 1) * width, stage_ + i * width * lanes);
      first_staged_ = row, staged_ = row + rows;
    }
    return {stage_ + (row - first_staged_) * width * lanes, lanes, width * lanes, staged_ - row};
  }

 private:
  static constexpr Index kStagedPixels = 128;  // enough for the transpose
  static Index staged_rows(const PoolProblem& p) {
    return std::clamp<Index>(kStagedPixels / p.width().in, 1, p.height().in);
  }

  void stage(Index row, Index pixels, T* to) const {
    const ImageStrides& s = p_.x;
    const T* const from = x_ + row * s.space[kHeight];
    if (s.space[kWidth] == 1 || pixels == 1) {
      kernels_.interleave({from, s.channel, lanes_, pixels, to});
      return;
    }
    kernels_.to_cells(lane_pixels<T>(s, p_.width().in, lanes_, 1), from, nullptr, to);
  }

  const PoolProblem& p_;
  const T* x_;
  Index lanes_;
  const Kernels<T>& kernels_;
  Index first_staged_ = 0, staged_ = 0;
  T* stage_;
};

}  // namespace fastconv
