// A padded copy of rows of the input, in which each tap of a vector of outputs is one plain load:
//
//   stage[channel][kernel depth, input row][input column mod stride][input column / stride]
//
// An output (i, j) meets its tap at row_offset(i) + j + tap offset.
//
// Rows shorter than a few vectors leave much of their last one empty. Joined, a row of outputs begins where the last
// one ended, and a vector goes on from one to the next. For that, a copy for each column of the kernel holds what its
// taps meet, output by output:
//
//   stage[channel][kernel depth, kernel column][input row mod stride][input row / stride][output column]
#pragma once

#include "../problem.hpp"

namespace fastconv {

// The first of a block of outputs: rows oh.., columns ow.. of one depth slice of one image and group.
struct RawBlock {
  Index n, g, od, oh, ow;
};

// Whether what is saved in vectors exceeds the cost of more copies.
bool worth_joining(const Problem& p, Index lanes);

class RawStage {
 public:
  RawStage(const Problem& p, Index height, Index width, bool joined);

  // Of the copy for height x width outputs and all channels; huge where it does not fit 64 bits. Vectors that hang over
  // a row's end read up to a vector behind it.
  Index elements() const { return elements_; }
  Index row_offset(const Problem& p, Index i) const {
    return joined_ ? i * phase_ : i * p.height().stride * phases_ * phase_;
  }

  template <class T>
  void fill(const Problem& p, const T* x, const RawBlock& block, T* to) const;
  // By (channel, tap), tap fastest.
  void tap_offsets(const Problem& p, Index* offset) const;

 private:
  template <class T>
  void fill_rows(const Problem& p, const T* row, Index ow, T* to) const;
  template <class T>
  void fill_joined(const Problem& p, const T* x, const RawBlock& block, T* to) const;
  template <class T>
  void fill_column(const Problem& p, const T* plane, const RawBlock& block, Index column, T* to) const;

  bool joined_;
  Index rows_;            // of the input; joined, rounded up to the stride
  Index phases_, phase_;  // joined, the columns of the kernel and of the outputs
  Index channel_, elements_;
};

}  // namespace fastconv
