// What the next sweep of tiles will read, asked for line by line while this one computes.
//
// Rows of bytes at even distances: a packed panel is rows of one line each, a panel of pixels one row a channel. Each
// tile asks for one line of some rows (see Tile::ahead); the sweep goes on to their other lines, then to the next rows.
#pragma once

#include <algorithm>

#include "../kernels/table.hpp"
#include "blocking.hpp"

namespace fastconv {

class Ahead {
 public:
  Ahead() = default;  // nothing to ask for
  template <class T>
  Ahead(const T* first, Index rows, Index row_elements, Index step)
      : first_(reinterpret_cast<const char*>(first)),
        rows_(rows),
        lines_((row_elements * static_cast<Index>(sizeof(T)) + kLine - 1) / kLine),
        step_(step * static_cast<Index>(sizeof(T))) {
    // A row that starts within a line ends in one more.
    if ((reinterpret_cast<std::uintptr_t>(first) | static_cast<std::uintptr_t>(step_)) % kLine != 0) ++lines_;
  }
  // `elements` side by side.
  template <class T>
  Ahead(const T* first, Index elements)
      : Ahead(first, (elements * static_cast<Index>(sizeof(T)) + kLine - 1) / kLine, 1,
              kLine / static_cast<Index>(sizeof(T))) {}

  bool finished() const { return line_ >= lines_; }

  // For the first of `tiles` tiles and those that can go on at an even pace, whose number this returns; they ask for
  // `each` lines side by side at two steps.
  template <class T>
  Index give_share(Tile<T>& tile, Index each, Index tiles) {
    tile.ahead = nullptr;
    tile.ahead_step = tile.next.ahead = 0;
    if (finished()) return tiles;
    const Index share = std::max<Index>(tile.depth / 2, 1);
    tile.ahead = first_ + row_ * step_ + line_ * kLine;
    tile.ahead_step = step_;
    if (lines_ <= each) {
      tile.next.ahead = share * step_;
      tiles = std::min(tiles, ceil_div(rows_ - row_, share));
      row_ += tiles * share;
      if (row_ >= rows_) line_ = lines_;
    } else {
      tile.next.ahead = each * kLine;
      tiles = std::min(tiles, ceil_div(lines_ - line_, each));
      line_ += tiles * each;
      if (line_ >= lines_ && row_ + share < rows_) {
        line_ = 0;
        row_ += share;
      }
    }
    return tiles;
  }

  // The same of tiles that ask for runs of lines, row by row (see Tile::ahead_run): for `each` lines at two steps.
  template <class T>
  Index give_runs(Tile<T>& tile, Index each, Index tiles) {
    tile.ahead = nullptr;
    tile.ahead_step = tile.next.ahead = tile.ahead_run = tile.ahead_jump = 0;
    if (finished() || tile.depth < kShort) return tiles;
    const Index share = std::max<Index>(tile.depth / 2, 1), run = std::min(ceil_div(lines_, each), share);
    tile.ahead = first_ + row_ * step_ + line_ * kLine;
    tile.ahead_step = kLine;
    tile.ahead_run = run;
    tile.ahead_jump = step_ - run * each * kLine;
    const Index rows = share / run;  // of a tile
    if (run * each < lines_) {
      line_ += run * each;
      if (line_ >= lines_ && row_ + 1 < rows_) line_ = 0, ++row_;
      return 1;
    }
    tile.next.ahead = rows * step_;
    tiles = std::min(tiles, ceil_div(rows_ - row_, rows));
    row_ += tiles * rows;
    if (row_ >= rows_) line_ = lines_;
    return tiles;
  }

 private:
  static constexpr Index kLine = 64, kShort = 16;  // steps: fewer are over before a run is found
  const char* first_ = nullptr;
  Index rows_ = 0, lines_ = 0, step_ = 0;
  Index row_ = 0, line_ = 0;  // whose turn it is
};

}  // namespace fastconv
