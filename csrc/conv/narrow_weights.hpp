// The weights of a narrow group as tiles of pixels read them (kernels/narrow_tile.hpp): vectors of the channels that
// lie in the lanes, for each channel that is summed over.
#pragma once

#include <algorithm>

#include "../cpu.hpp"
#include "../problem.hpp"
#include "blocking.hpp"

namespace fastconv {

inline Index most(const Panels& panels) { return panels.base + (panels.extra > 0 ? 1 : 0); }

// Of `kernel` taps along a row, how many a tile takes at a time: only where there is one vector, and all alike.
inline Index taps_together(Index vectors, Index kernel) {
  if (vectors > 1) return 1;
  return kernel % 3 == 0 ? 3 : kernel % 2 == 0 ? 2 : 1;
}
// Rows of pixels in a stage whose rows are `pitch` pixels: each for itself, or in one run with the gaps between them,
// whichever takes fewer tiles.
template <class T>
void set_rows(const Kernels<T>& k, Index vectors, Index rows, Index width, Index pitch, NarrowTile<T>& t) {
  const Index tile = k.narrow_rows[vectors - 1], whole = (rows - 1) * pitch + width;
  const bool apart = rows * ceil_div(width, tile) < ceil_div(whole, tile);
  t.rows = apart ? width : whole;
  t.runs = apart ? rows : 1;
  t.a_run = pitch * k.lanes;
  t.sums_run = pitch * t.sums_row;
}
template <class T>
void run_narrow_pixels(const Kernels<T>& k, Index vectors, Index taps, const NarrowTile<T>& t) {
  taps > 1 ? k.narrow_taps[taps - 2](t) : k.narrow_pixels[vectors - 1](t);
}

// [panel of vectors][block of rows][row][vector][tap][lane]; rows are what is summed over.
template <class T>
class NarrowWeights {
 public:
  NarrowWeights(Index channels, const Panels& rows, Index taps)
      : channels_(channels),
        taps_(taps),
        rows_(rows),
        k_(kernels().of<T>()),
        panels_(ceil_div(channels, k_.lanes), kMaxPixelVectors) {}

  const Panels& panels() const { return panels_; }
  Index elements() const { return panel(panels_.count); }
  Index panel(Index i) const { return block(rows_.count, panels_.start(i)); }
  // Where a block's tap starts, in a panel of so many vectors.
  Index at(Index i, Index vectors, Index tap) const { return block(i, vectors) + tap * k_.lanes; }
  Index row() const { return taps_ * k_.lanes; }  // of one vector

  // Of a group: channel c of row r starts at w + c * channel + r * row, its taps lie as `space` says.
  void pack(const Problem& p, const T* w, Index channel, Index row, T* to) const {
    for (Index i = 0; i < panels_.count; ++i) {
      for (Index j = 0; j < rows_.count; ++j) {
        T* dst = to + panel(i) + at(j, panels_.size(i), 0);
        for (Index r = rows_.start(j); r < rows_.start(j + 1); ++r) {
          for (Index v = panels_.start(i); v < panels_.start(i + 1); ++v, dst += this->row()) {
            const Index c = v * k_.lanes;
            pack_vector(p, w + c * channel + r * row, channel, std::min<Index>(k_.lanes, channels_ - c), dst);
          }
        }
      }
    }
  }

  // Taps that follow each other backwards in memory are packed as they lie there.
  static Index place(const Problem& p, Index tap) { return backwards(p) ? p.taps() - 1 - tap : tap; }

 private:
  Index block(Index i, Index vectors) const { return i * most(rows_) * vectors * row(); }

  static bool backwards(const Problem& p) {
    const Index kh = p.height().kernel, kw = p.width().kernel;
    return p.taps() > 1 && (kw == 1 || p.w.space[kWidth] == -1) && (kh == 1 || p.w.space[kHeight] == -kw);
  }
  static bool forwards(const Problem& p) {
    const Index kh = p.height().kernel, kw = p.width().kernel;
    return (kw == 1 || p.w.space[kWidth] == 1) && (kh == 1 || p.w.space[kHeight] == kw);
  }

  void pack_vector(const Problem& p, const T* w, Index channel, Index channels, T* to) const {
    if (forwards(p) || backwards(p)) {
      k_.interleave({forwards(p) ? w : w - (taps_ - 1), channel, channels, taps_, to});
      return;
    }
    for (Index r = 0; r < p.height().kernel; ++r) {
      for (Index s = 0; s < p.width().kernel; ++s, to += k_.lanes) {
        const T* const tap = w + r * p.w.space[kHeight] + s * p.w.space[kWidth];
        for (Index c = 0; c < k_.lanes; ++c) to[c] = c < channels ? tap[c * channel] : T(0);
      }
    }
  }

  Index channels_, taps_;
  Panels rows_;
  const Kernels<T>& k_;
  Panels panels_;
};

}  // namespace fastconv
