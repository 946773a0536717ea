// Where the windows of a rectangle of output pixels are read from.
//
// Either the input array itself, or a padded copy of the rectangle's input in the workspace. Both are
// the same to the kernel: element (pixel, channel, tap) lies at pixel offset + tap offset. Padding
// is resolved here and in pixel_panel.hpp, and nowhere else.
#pragma once

#include <algorithm>

#include "../kernels/table.hpp"
#include "../problem.hpp"
#include "blocking.hpp"

namespace fastconv {

// Output pixels [oh, oh + height) x [ow, ow + width) of one depth slice of one image and group.
struct Rectangle {
  Index n, g, od, oh, ow, height, width;
  Index pixels() const { return height * width; }
};

// Windows, addressed: data[pixel offset + tap offset].
template <class T>
struct Windows {
  const T* data;
  Index channel;      // from a channel to the next
  Index depth_tap;    // from a depth tap to the next
  Index row, column;  // from an input row, column to the next

  // Where the products of block b lie, counted from its first channel.
  void tap_offsets(const Problem& p, const Reduction::Block& b, Index* offset) const {
    const Index kw = p.width().kernel, kh = p.height().kernel;
    Index column_tap = b.tap % kw, row_tap = b.tap / kw % kh, slice = b.tap / (kw * kh);
    for (Index i = 0; i < b.taps; ++i) {
      offset[i] = slice * depth_tap + row_tap * p.height().dilation * row + column_tap * p.width().dilation * column;
      if (++column_tap < kw) continue;
      column_tap = 0;
      if (++row_tap < kh) continue;
      row_tap = 0;
      ++slice;
    }
    for (Index i = b.taps; i < b.depth(); ++i) offset[i] = offset[i - b.taps] + channel;
  }

  // Where the pixels of r start, all moved by `start`.
  void pixel_offsets(const Problem& p, const Rectangle& r, Index start, Index* offset) const {
    const Index down = p.height().stride * row, right = p.width().stride * column;
    for (Index i = 0; i < r.height; ++i) {
      for (Index j = 0; j < r.width; ++j) *offset++ = start + i * down + j * right;
    }
  }
};

class Stage {
 public:
  // Whether windows should be copied. They must be where they meet padding. Where they do not, a copy
  // pays if planes would be read from many places at once: windows of several taps, or a plane so
  // large (or so evenly placed) that a tile's channels would share few cache sets.
  static bool wanted(const Problem& p) {
    if (p.padded()) return true;
    if (p.x.channel == 1) return false;
    if (p.taps() > 1) return true;
    return p.x.channel > 1024 || p.x.channel % 256 == 0;
  }

  // The size of the copy, or kUnbounded where it does not fit 64 bits, for a rectangle of height x width output pixels,
  // all channels; and a vector behind them, which is written but not read.
  static Index elements(const Problem& p, Index height, Index width) {
    Index all;
    const bool huge = __builtin_mul_overflow(p.channels, plane(p, height, width), &all);
    return huge ? kUnbounded : std::min(all, kUnbounded) + kBehind;
  }
  static constexpr Index kUnbounded = Index{1} << 60;

  template <class T>
  static Windows<T> windows(const Problem& p, const T* x, const Rectangle& r);

  // Copies and pads; `to` has room for elements(). Returns windows into the copy.
  template <class T>
  static Windows<T> copy(const Problem& p, const T* x, const Rectangle& r, T* to);

 private:
  static constexpr Index kBehind = 16;
  static Index rows(const Problem& p, Index height) { return (height - 1) * p.height().stride + p.height().span(); }
  static Index columns(const Problem& p, Index width) { return (width - 1) * p.width().stride + p.width().span(); }
  // An odd number of cache lines, so that the channels of a tile spread over all cache sets.
  static Index plane(const Problem& p, Index height, Index width) {
    Index elements;
    if (__builtin_mul_overflow(rows(p, height), columns(p, width), &elements) ||
        __builtin_mul_overflow(elements, p.depth().kernel, &elements) || elements > kUnbounded) {
      return kUnbounded;
    }
    return round_up(elements, 16) | 16;
  }
};

}  // namespace fastconv
