// What the next sweep of tiles will read, asked for line by line while this one computes.
//
// Rows of bytes at even distances: a packed panel is rows of one line each, a panel of pixels one row a channel. Each
// tile asks for one line of some rows (see Tile::ahead); the sweep goes on to the other rows, then to the next line.
#pragma once

#include "../kernels/table.hpp"
#include "../problem.hpp"

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

  template <class T>
  void give_share(Tile<T>& tile) {
    tile.ahead = nullptr;
    tile.ahead_step = 0;
    if (finished()) return;
    tile.ahead = first_ + row_ * step_ + line_ * kLine;
    tile.ahead_step = step_;
    row_ += tile.depth / 2;
    if (row_ < rows_) return;
    row_ = 0;
    ++line_;
  }

 private:
  static constexpr Index kLine = 64;
  const char* first_ = nullptr;
  Index rows_ = 0, lines_ = 0, step_ = 0;
  Index row_ = 0, line_ = 0;  // whose turn it is
};

}  // namespace fastconv
