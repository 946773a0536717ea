// A padded copy of the input of some rows of outputs, for a vector of channels: [row phase][column phase][row][column]
// [lane], apart by residue modulo the stride as in plane_stage.hpp, so that neighbouring outputs meet neighbouring
// vectors at every tap. Padding is resolved here.
#pragma once

#include "lane_stage.hpp"
#include "plane_stage.hpp"

namespace fastconv {

class NarrowStage {
 public:
  NarrowStage(const Problem& p, Index height, Index lanes)
      : p_(p),
        planes_(p, height, p.width().out, 1),
        lanes_(lanes),
        rows_((height - 1) * p.height().stride + p.height().span()),
        first_(std::max<Index>(0, -p.width().pad)),
        columns_(std::max<Index>(
            0, std::min(p.width().in, p.width().input_of(p.width().out - 1, p.width().kernel - 1) + 1) - first_)) {}

  Index pitch() const { return planes_.pitch(); }
  Index elements() const { return planes_.plane() * lanes_; }
  Index pixels() const { return rows_ * columns_; }
  void tap_offsets(Index* to) const {
    Problem plane = p_;
    plane.channels = 1;
    planes_.tap_offsets(plane, to);
    for (Index i = 0; i < p_.taps(); ++i) to[i] *= lanes_;
  }
  // Where input pixels lie, row by row.
  void pixel_offsets(Index* to) const {
    for (Index r = 0; r < rows_; ++r) {
      for (Index j = 0; j < columns_; ++j) {
        const Index column = first_ + j + p_.width().pad, stride = p_.width().stride;
        *to++ = row(r) + (column % stride * planes_.phase() + column / stride) * lanes_;
      }
    }
  }

  // For the outputs from row oh on; `at` as pixel_offsets made it.
  template <class T>
  void copy(const Kernels<T>& k, const T* x, Index oh, Index channels, const Index* at, T* to) const;

 private:
  Index row(Index r) const {
    const Index stride = p_.height().stride;
    return (r % stride * planes_.phase_h() + r / stride * pitch()) * lanes_;
  }
  template <class T>
  void clear_row(Index r, T* to) const {
    for (Index f = 0; f < std::min(p_.width().stride, p_.width().span()); ++f) {
      std::fill_n(to + row(r) + f * planes_.phase() * lanes_, pitch() * lanes_, T(0));
    }
  }
  // Channels side by side: every stride-th column belongs to the same residue.
  template <class T>
  void copy_interleaved(const Kernels<T>& k, const T* x, Index channels, const Index* at, T* to) const {
    const Index stride = p_.width().stride, step = p_.x.space[kWidth];
    for (Index f = 0; f < std::min(stride, columns_); ++f) {
      k.copy({x + f * step, stride * step, ceil_div(columns_ - f, stride), channels, to + at[f], lanes_});
    }
  }

  const Problem& p_;
  PlaneStage planes_;
  Index lanes_, rows_, first_, columns_;
};

template <class T>
void NarrowStage::copy(const Kernels<T>& k, const T* x, Index oh, Index channels, const Index* at, T* to) const {
  const Index top = p_.height().input_of(oh, 0), step = p_.x.space[kWidth];
  const Index begin = std::clamp<Index>(-top, 0, rows_), end = std::clamp<Index>(p_.height().in - top, begin, rows_);
  for (Index r = 0; r < begin; ++r) clear_row(r, to);
  for (Index r = end; r < rows_; ++r) clear_row(r, to);
  if (columns_ == 0) return;
  const ImageStrides planes = channels_as_groups(p_.x);
  const bool joined = step == 1 && columns_ == p_.x.space[kHeight];
  const Index together = joined ? end - begin : 1;
  for (Index r = begin; r < end; r += together) {
    const T* const from = x + (top + r) * p_.x.space[kHeight] + first_ * step;
    if (p_.x.channel == 1) {
      copy_interleaved(k, from, channels, at + r * columns_, to);
    } else if (step == 1) {
      k.planes_to_lanes({planes.group, channels, together * columns_, at + r * columns_}, from, to);
    } else {
      for (Index i = 0; i < columns_ * channels; ++i) {
        const Index j = i / channels, c = i % channels;
        to[at[r * columns_ + j] + c] = from[c * planes.group + j * step];
      }
    }
  }
}

}  // namespace fastconv
