// Which tiles a task owns, and the padded inputs of a run of them with a vector of channels in the lanes.
#pragma once

#include "stage.hpp"
#include "winograd_plan.hpp"

namespace fastconv {

// Neighbouring tiles of one row of tiles, of the grid whose first output is (grid_h, grid_w). `grids`: how many grids'
// inputs are copied together with its own, which is then a whole row.
struct TileRun {
  Index n, od, grid_h, grid_w, row, column, count, grids;

  // In coordinates of the grid; empty where the grid is smaller than the first one and ends before.
  Rectangle outputs(const Problem& p, const WinogradPlan& plan, Index g) const {
    const Index tile_h = plan.form.height.tile, tile_w = plan.form.width.tile;
    const Index oh = row * tile_h, ow = column * tile_w;
    const auto left = [](const Axis& a, Index grid, Index at) {
      return ceil_div(a.out - grid, winograd_grids(a)) - at;
    };
    return {n,
            g,
            od,
            oh,
            ow,
            std::min(tile_h, left(p.height(), grid_h, oh)),
            std::min(count * tile_w, left(p.width(), grid_w, ow))};
  }
};

// Calls f(run, its first tile counted from `first`) for all runs of tiles [first, first + count).
template <class F>
void for_each_run(const Problem& p, const WinogradPlan& plan, Index first, Index count, const F& f) {
  Index column = first % plan.tile_columns;
  Index row = first / plan.tile_columns;
  const Index grids_h = winograd_grids(p.height()), grids_w = winograd_grids(p.width());
  for (Index at = 0; at < count; column = 0, ++row) {
    TileRun run{};
    run.count = std::min(count - at, plan.tile_columns - column);
    run.column = column;
    run.grids = run.count == plan.tile_columns ? plan.grids_across : 1;
    Index plane = plan.grids_across > 1 ? row / plan.grids_across : row;  // divisions would be felt
    run.row = plane % plan.tile_rows;
    plane /= plan.tile_rows;
    if (grids_h * grids_w > 1) {
      run.grid_w = row % plan.grids_across;
      if (plan.grids_across == 1) {
        run.grid_w = plane % grids_w;
        plane /= grids_w;
      }
      run.grid_h = plane % grids_h;
      plane /= grids_h;
    }
    run.n = plane / p.depth().out;
    run.od = plane % p.depth().out;
    f(run, at);
    at += run.count;
  }
}

// A ring of input rows, [row % span][grid][column][lane], for tiles that are `step` apart and read `span`. Tiles below
// each other share span - step rows, which are staged once.
template <class T>
class StagedRows {
 public:
  StagedRows(const Problem& p, const WinogradAxis& height, const WinogradAxis& width, const T* x, T* ring)
      : p_(p), height_(height), width_(width), x_(x), ring_(ring) {}

  // For runs of up to so many tiles.
  static Index elements(const WinogradPlan& plan, const WinogradAxis& height, const WinogradAxis& width, Index run,
                        Index lanes) {
    return height.span() * columns(width, run) * plan.grids_across * lanes;
  }

  // The rows of a run for channels [c, c + channels) of winograd_channels, and its tiles; lanes beyond hold anything.
  WinogradInput<T> stage(const TileRun& run, Index c, Index channels);

 private:
  static Index columns(const WinogradAxis& width, Index run) { return (run - 1) * width.step() + width.span(); }
  Index rows_held(const TileRun& run, Index c) const;
  void stage_row(const TileRun& run, Index ih, Index c, Index channels, T* to) const;
  void copy(const T* src, Index columns, Index channels, T* to) const;
  void copy_grids(const T* src, Index columns, Index channels, T* to) const;

  const Problem& p_;
  WinogradAxis height_, width_;
  const T* x_;
  T* ring_;
  TileRun last_{};
  Index last_channel_ = -1;
};

}  // namespace fastconv
