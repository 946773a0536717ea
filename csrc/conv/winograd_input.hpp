// Which tiles a task owns, and the padded inputs of a run of them with a vector of channels in the lanes.
#pragma once

#include "stage.hpp"
#include "winograd_plan.hpp"

namespace fastconv {

// Neighbouring tiles of one row of tiles.
struct TileRun {
  Index n, od, row, column, count;

  Rectangle outputs(const Problem& p, const WinogradPlan& plan, Index g) const {
    const Index oh = row * plan.tile, ow = column * plan.tile;
    return {
        n, g, od, oh, ow, std::min(plan.tile, p.height().out - oh), std::min(count * plan.tile, p.width().out - ow)};
  }
};

// Calls f(run, its first tile counted from `first`) for all runs of tiles [first, first + count).
template <class F>
void for_each_run(const Problem& p, const WinogradPlan& plan, Index first, Index count, const F& f) {
  Index column = first % plan.tile_columns;
  Index row = first / plan.tile_columns;
  for (Index at = 0; at < count; column = 0, ++row) {
    const Index run = std::min(count - at, plan.tile_columns - column);
    const Index plane = row / plan.tile_rows;
    f(TileRun{plane / p.depth().out, plane % p.depth().out, row % plan.tile_rows, column, run}, at);
    at += run;
  }
}

// A ring of input rows, [row % span][column][lane], for tiles that are `tile` apart and read `span`. Tiles below each
// other share span - tile rows, which are staged once.
template <class T>
class StagedRows {
 public:
  StagedRows(const Problem& p, Index tile, Index span, const T* x, T* ring)
      : p_(p), tile_(tile), span_(span), x_(x), ring_(ring) {}

  static Index elements(Index tile, Index span, Index run, Index lanes) {
    return span * ((run - 1) * tile + span) * lanes;
  }

  // The rows of a run for channels [c, c + channels) of winograd_channels; lanes beyond hold anything.
  void stage(const TileRun& run, Index c, Index channels, const T* (&rows)[kMaxWinogradSpan]);

 private:
  bool below_last(const TileRun& run, Index c) const;
  void stage_row(const TileRun& run, Index ih, Index c, Index channels, T* to) const;
  void copy(const T* src, Index columns, Index channels, T* to) const;

  const Problem& p_;
  Index tile_, span_;
  const T* x_;
  T* ring_;
  TileRun last_{};
  Index last_channel_ = -1;
};

}  // namespace fastconv
