// A convolution of VL groups at a time, groups in the lanes (kernels/depthwise_lanes.hpp): stages its input, packs its
// weights, computes rows. Forward and the gradient of the input differ in what they do with those rows.
#pragma once

#include "../cpu.hpp"
#include "../workspace.hpp"
#include "lane_stage.hpp"

namespace fastconv {

// Where rows of results go: vectors of which `lanes` exist.
template <class T>
struct LaneTarget {
  T* y;
  Index step, row, lanes;
};

template <class T>
class LaneConvolver {
 public:
  // Takes its memory, bytes(), from the workspace.
  LaneConvolver(const Problem& p, Index block_height, const Operands<T>& a, Workspace& workspace)
      : p_(p),
        a_(a),
        k_(kernels().of<T>()),
        stage_(p, block_height, k_.lanes),
        x_(workspace.take<T>(stage_.elements(p))),
        weights_(workspace.take<T>(p.outputs * padded_products(p) * k_.lanes)),
        raw_weights_(workspace.take<T>(padded_products(p) * k_.lanes)),
        bias_(workspace.take<T>(p.outputs * k_.lanes)),
        tap_(workspace.take<Index>(products())),
        at_(workspace.take<Index>(stage_.pixels(p))),
        weight_at_(workspace.take<Index>(padded_products(p))) {
    stage_.tap_offsets(p, tap_);
    for (Index c = 0; flipped() && c < p.channels; ++c) std::reverse(tap_ + c * p.taps(), tap_ + (c + 1) * p.taps());
    stage_.pixel_offsets(p, at_);
    for (Index i = 0; i < padded_products(p); ++i) weight_at_[i] = i * k_.lanes;
    std::fill_n(raw_weights_, padded_products(p) * k_.lanes, T(0));
    std::fill_n(bias_, p.outputs * k_.lanes, T(0));
    std::fill_n(x_, stage_.elements(p), T(0));
  }

  static std::size_t bytes(const Problem& p, Index block_height) {
    const Index lanes = kernels().of<T>().lanes, padded = padded_products(p);
    const LaneStage stage(p, block_height, lanes);
    return Workspace::piece_bytes<T>(stage.elements(p)) + Workspace::piece_bytes<T>(p.outputs * padded * lanes) +
           Workspace::piece_bytes<T>(padded * lanes) + Workspace::piece_bytes<T>(p.outputs * lanes) +
           Workspace::piece_bytes<Index>(p.channels * p.taps()) + Workspace::piece_bytes<Index>(stage.pixels(p)) +
           Workspace::piece_bytes<Index>(padded);
  }

  // Image n, groups from g on, outputs from row oh on.
  void stage(Index n, Index g, Index oh, Index groups) {
    if (g != packed_) pack_weights(g, groups);
    stage_.copy(p_, k_, a_.x + n * p_.x.batch + g * p_.x.group, oh, groups, at_, x_);
  }

  // Rows of output channel o of what is staged.
  void convolve(Index o, Index height, const LaneTarget<T>& to) const {
    const Index lanes = k_.lanes;
    LaneRows<T> t{};
    t.depth = products();
    t.x = x_;
    t.offset = tap_;
    t.x_step = p_.width().stride * lanes;
    t.x_row = p_.height().stride * stage_.row();
    t.w = weights_ + o * padded_products(p_) * lanes;
    t.y = to.y;
    t.y_step = to.step;
    t.y_row = to.row;
    t.rows = height;
    t.width = p_.width().out;
    t.lanes = to.lanes;
    t.bias = bias_ + o * lanes;
    t.relu = p_.relu;
    k_.lane_rows(t);
  }

 private:
  static Index padded_products(const Problem& p) { return round_up(p.channels * p.taps(), kernels().of<T>().lanes); }
  Index products() const { return p_.channels * p_.taps(); }

  // Dense windows are copied as they lie in memory, flipped ones backwards: the order of the taps is the offsets'
  // affair.
  bool flipped() const {
    const Index kh = p_.height().kernel, kw = p_.width().kernel;
    return p_.taps() > 1 && (kw == 1 || p_.w.space[kWidth] == -1) && (kh == 1 || p_.w.space[kHeight] == -kw);
  }
  bool dense() const {
    const Index kh = p_.height().kernel, kw = p_.width().kernel;
    return (kw == 1 || p_.w.space[kWidth] == 1) && (kh == 1 || p_.w.space[kHeight] == kw);
  }

  // Weights of one output channel, [group][products], rounded up to whole vectors; then transposed.
  void pack_weights(Index g, Index groups) {
    packed_ = g;
    const Index lanes = k_.lanes, row = padded_products(p_);
    for (Index o = 0; o < p_.outputs; ++o) {
      for (Index l = 0; a_.bias != nullptr && l < groups; ++l) bias_[o * lanes + l] = a_.bias[(g + l) * p_.outputs + o];
      for (Index c = 0; c < p_.channels; ++c) {
        gather_weights(a_.w + g * p_.w.group + o * p_.w.out + c * p_.w.in, groups, raw_weights_ + c * p_.taps());
      }
      k_.planes_to_lanes({row, groups, row, weight_at_}, raw_weights_, weights_ + o * row * lanes);
    }
  }

  // One window of each group.
  void gather_weights(const T* w, Index groups, T* to) const {
    const Index row = padded_products(p_);
    if (dense() || flipped()) {
      k_.copy({flipped() ? w - (p_.taps() - 1) : w, p_.w.group, groups, p_.taps(), to, row});
      return;
    }
    for (Index l = 0; l < groups; ++l, w += p_.w.group, to += row) {
      T* next = to;
      for (Index r = 0; r < p_.height().kernel; ++r) {
        for (Index s = 0; s < p_.width().kernel; ++s) *next++ = w[r * p_.w.space[kHeight] + s * p_.w.space[kWidth]];
      }
    }
  }

  const Problem& p_;
  Operands<T> a_;
  const Kernels<T>& k_;
  LaneStage stage_;
  T* x_;
  T* weights_;
  T* raw_weights_;
  T* bias_;
  Index* tap_;
  Index* at_;
  Index* weight_at_;
  Index packed_ = -1;  // whose weights are in weights_
};

}  // namespace fastconv
