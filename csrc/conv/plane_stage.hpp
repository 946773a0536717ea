// A padded, deinterleaved copy of the input of a rectangle of outputs, in which every tap is an offset.
//
// For stride s, the input rows (and columns) that outputs meet at step r of the kernel are those with the residue
// r * d mod s. Kept apart by residue, they follow each other as the outputs do:
//
//     x[i * sh + r * dh, j * sw + q * dw]  =  stage[phase_h(r), phase_w(q)][i + r * dh / sh][j + q * dw / sw]
//
// so a vector of outputs along a row meets a vector of inputs, for every stride and dilation. Padding is resolved here.
#pragma once

#include <algorithm>

#include "../kernels/table.hpp"
#include "../problem.hpp"
#include "blocking.hpp"

namespace fastconv {

class PlaneStage {
 public:
  // For up to height x width outputs; rows that hold at least `lanes` elements behind every tap.
  PlaneStage(const Problem& p, Index height, Index width, Index lanes)
      : phases_h_(std::min(p.height().stride, p.height().span())),
        phases_w_(std::min(p.width().stride, p.width().span())),
        rows_(height + reach(p.height())),
        pitch_(std::max(width, lanes) + reach(p.width())) {}

  Index rows() const { return rows_; }
  Index pitch() const { return pitch_; }                 // from a row to the next
  Index phase() const { return rows_ * pitch_; }         // from a column phase to the next
  Index phase_h() const { return phases_w_ * phase(); }  // from a row phase to the next
  // One input plane; false where it is beyond `most` elements, or beyond counting.
  Index plane() const { return phases_h_ * phase_h(); }
  bool fits(Index planes, Index most) const {
    Index size = planes;
    for (const Index factor : {phases_h_, phases_w_, rows_, pitch_}) {
      if (__builtin_mul_overflow(size, factor, &size) || size > most) return false;
    }
    return true;
  }

  // Where the taps of the first output's window lie, channel by channel.
  void tap_offsets(const Problem& p, Index* to) const {
    const Index taps = p.height().kernel * p.width().kernel, all = p.channels * p.depth().kernel * taps;
    Index* next = to;
    for (Index r = 0; r < p.height().kernel; ++r) {
      const Index row = axis_offset(p.height(), r, phase_h(), pitch_);
      for (Index s = 0; s < p.width().kernel; ++s) *next++ = row + axis_offset(p.width(), s, phase(), 1);
    }
    for (Index i = taps; i < all; ++i) to[i] = to[i - taps] + plane();
  }

  // Copies the planes of all channels and depth taps of a group, whose first starts at x, for the outputs from (oh,
  // ow).
  template <class T>
  void copy_all(const Problem& p, const Kernels<T>& k, const T* x, Index od, Index oh, Index ow, T* to) const {
    for (Index c = 0; c < p.channels; ++c) {
      for (Index d = 0; d < p.depth().kernel; ++d, to += plane()) {
        const Index id = p.depth().input_of(od, d);
        const bool inside = id >= 0 && id < p.depth().in;
        copy(p, k, inside ? x + c * p.x.channel + id * p.x.space[kDepth] : nullptr, oh, ow, to);
      }
    }
  }

 private:
  static Index axis_offset(const Axis& a, Index tap, Index phase, Index step) {
    const Index at = tap * a.dilation;
    return a.stride == 1 ? at * step : at % a.stride * phase + at / a.stride * step;
  }
  // Copies the input plane at x (null: all of it is padding) for the outputs from (oh, ow).
  template <class T>
  void copy(const Problem& p, const Kernels<T>& k, const T* x, Index oh, Index ow, T* to) const;

  // Outputs between the one that meets an input at its first tap and the one that meets it at its last.
  static Index reach(const Axis& a) { return (a.span() - 1) / a.stride; }

  // Of `count` positions first, first + stride, ...: those inside [0, in).
  struct Inside {
    Index before, count, first;
    Inside(Index start, Index stride, Index positions, Index in)
        : before(std::min(start < 0 ? quotient(stride - 1 - start, stride) : 0, positions)),
          count(0),
          first(start + before * stride) {
      if (before < positions && first < in) count = std::min(positions - before, quotient(in - 1 - first, stride) + 1);
    }
    // Small planes would spend their time in divisions.
    static Index quotient(Index n, Index stride) { return stride == 1 ? n : stride == 2 ? n >> 1 : n / stride; }
  };

  Index phases_h_, phases_w_, rows_, pitch_;
};

template <class T>
void PlaneStage::copy(const Problem& p, const Kernels<T>& k, const T* x, Index oh, Index ow, T* to) const {
  const Axis &h = p.height(), &w = p.width();
  const Index step_h = p.x.space[kHeight], step_w = p.x.space[kWidth];
  for (Index a = 0; a < phases_h_; ++a) {
    const Inside rows(oh * h.stride - h.pad + a, h.stride, rows_, x == nullptr ? 0 : h.in);
    for (Index b = 0; b < phases_w_; ++b, to += phase()) {
      const Inside columns(ow * w.stride - w.pad + b, w.stride, pitch_, w.in);
      StageRows<T> t{};
      t.dst = to;
      t.dst_row = pitch_;
      t.rows = rows.count > 0 ? rows.before : rows_;
      k.stage_rows(t);
      if (rows.count == 0) continue;
      if (columns.count > 0) {
        t.src = x + rows.first * step_h + columns.first * step_w;
        t.src_row = rows.count > 1 ? h.stride * step_h : 0;  // steps never taken may be huge
        t.step = columns.count > 1 ? w.stride * step_w : 1;
        t.count = columns.count;
        t.left = columns.before;
      }
      t.dst = to + rows.before * pitch_;
      t.rows = rows.count;
      k.stage_rows(t);
      t = {};
      t.dst = to + (rows.before + rows.count) * pitch_;
      t.dst_row = pitch_;
      t.rows = rows_ - rows.before - rows.count;
      k.stage_rows(t);
    }
  }
}

}  // namespace fastconv
