// A padded copy of rows of the input, in which each tap of a vector of outputs is one plain load:
//
//   stage[channel][kernel depth, input row][input column mod stride][input column / stride]
//
// An output (i, j) meets its tap at row_offset(i) + j + tap offset.
#pragma once

#include "../problem.hpp"

namespace fastconv {

// The first of a block of outputs: rows oh.., columns ow.. of one depth slice of one image and group.
struct RawBlock {
  Index n, g, od, oh, ow;
};

class RawStage {
 public:
  RawStage(const Problem& p, Index height, Index width);

  // Of the copy for height x width outputs and all channels; huge where it does not fit 64 bits. Vectors that hang over
  // a row's end read up to a vector behind it.
  Index elements() const { return elements_; }
  Index row_offset(const Problem& p, Index i) const { return i * p.height().stride * phases_ * phase_; }

  template <class T>
  void fill(const Problem& p, const T* x, const RawBlock& block, T* to) const;
  // By (channel, tap), tap fastest.
  void tap_offsets(const Problem& p, Index* offset) const;

 private:
  template <class T>
  void fill_rows(const Problem& p, const T* row, Index ow, T* to) const;

  Index rows_, phases_, phase_, channel_, elements_;
};

}  // namespace fastconv
