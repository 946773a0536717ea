// Depthwise convolution with groups in the lanes (kernels/depthwise_lanes.hpp): channels-last arrays, and planes so
// small that their rows would leave most of a vector empty.
#include "../cpu.hpp"
#include "../parallel.hpp"
#include "../workspace.hpp"
#include "depthwise.hpp"
#include "lane_stage.hpp"

namespace fastconv {
namespace {

Index padded_products(const Problem& p, Index lanes) { return round_up(p.channels * p.taps(), lanes); }

template <class T>
class LaneTask {
 public:
  LaneTask(const Problem& p, const DepthwisePlan& plan, const Operands<T>& a)
      : p_(p),
        plan_(plan),
        a_(a),
        k_(kernels().of<T>()),
        geometry_(p, plan.block_height, k_.lanes),
        workspace_(lane_workspace<T>(p, plan)),
        stage_(workspace_.template take<T>(geometry_.elements(p))),
        weights_(workspace_.template take<T>(p.outputs * padded_products(p, k_.lanes) * k_.lanes)),
        raw_weights_(workspace_.template take<T>(padded_products(p, k_.lanes) * k_.lanes)),
        weight_at_(workspace_.template take<Index>(padded_products(p, k_.lanes))),
        bias_(workspace_.template take<T>(p.outputs * k_.lanes)),
        tap_(workspace_.template take<Index>(products())),
        at_(workspace_.template take<Index>(geometry_.pixels(p))),
        out_at_(workspace_.template take<Index>(pixels())),
        sums_(workspace_.template take<T>(pixels() * k_.lanes)) {
    geometry_.tap_offsets(p, tap_);
    geometry_.pixel_offsets(p, at_);
    for (Index i = 0; i < pixels(); ++i) out_at_[i] = i * k_.lanes;
    for (Index i = 0; i < padded_products(p, k_.lanes); ++i) weight_at_[i] = i * k_.lanes;
    std::fill_n(raw_weights_, padded_products(p, k_.lanes) * k_.lanes, T(0));
    std::fill_n(bias_, p.outputs * k_.lanes, T(0));
    std::fill_n(stage_, geometry_.elements(p), T(0));
  }

  void run(Index block) {
    const Index oh = block % plan_.blocks_h * plan_.block_height;
    block /= plan_.blocks_h;
    const Index n = block % p_.batch, g = block / p_.batch * k_.lanes;
    const Index height = std::min(plan_.block_height, p_.height().out - oh);
    const Index groups = std::min<Index>(k_.lanes, p_.groups - g);
    if (height <= 0) return;
    if (g != packed_) pack_weights(g, groups);
    geometry_.copy(p_, k_, a_.x + n * p_.x.batch + g * p_.x.group, oh, groups, at_, stage_);
    convolve(a_.y + n * p_.y.batch + g * p_.y.group + oh * p_.y.space[kHeight], height, groups);
  }

 private:
  Index products() const { return p_.channels * p_.taps(); }
  Index pixels() const { return plan_.block_height * p_.width().out; }

  // Weights of one output channel, [group][products], rounded up to whole vectors; then transposed.
  void pack_weights(Index g, Index groups) {
    packed_ = g;
    const Index lanes = k_.lanes, row = round_up(products(), lanes);
    for (Index o = 0; o < p_.outputs; ++o) {
      for (Index l = 0; l < groups; ++l) {
        if (a_.bias != nullptr) bias_[o * lanes + l] = a_.bias[(g + l) * p_.outputs + o];
        gather_weights(a_.w + (g + l) * p_.w.group + o * p_.w.out, raw_weights_ + l * row);
      }
      k_.planes_to_lanes({row, groups, row, weight_at_}, raw_weights_, weights_ + o * row * lanes);
    }
  }

  void gather_weights(const T* w, T* to) const {
    for (Index c = 0; c < p_.channels; ++c) {
      for (Index r = 0; r < p_.height().kernel; ++r) {
        const T* row = w + c * p_.w.in + r * p_.w.space[kHeight];
        for (Index s = 0; s < p_.width().kernel; ++s) *to++ = row[s * p_.w.space[kWidth]];
      }
    }
  }

  void convolve(T* y, Index height, Index groups) {
    const Index lanes = k_.lanes, width = p_.width().out;
    const bool in_place = p_.y.group == 1;  // then there is one output channel a group, or one group
    LaneRows<T> t{};
    t.depth = products();
    t.x = stage_;
    t.offset = tap_;
    t.x_step = p_.width().stride * lanes;
    t.x_row = p_.height().stride * geometry_.row();
    t.rows = height;
    t.width = width;
    t.lanes = in_place ? groups : lanes;
    t.y_step = in_place ? p_.y.space[kWidth] : lanes;
    t.y_row = in_place ? p_.y.space[kHeight] : width * lanes;
    t.relu = p_.relu;
    for (Index o = 0; o < p_.outputs; ++o, y += p_.y.channel) {
      t.w = weights_ + o * round_up(t.depth, lanes) * lanes;
      t.bias = bias_ + o * lanes;
      t.y = in_place ? y : sums_;
      k_.lane_rows(t);
      if (!in_place) LaneBlock<T>{p_.y, groups, height, width, width * lanes, lanes, out_at_}.scatter(k_, sums_, y);
    }
  }

  const Problem& p_;
  const DepthwisePlan& plan_;
  const Operands<T>& a_;
  const Kernels<T>& k_;
  LaneStage geometry_;
  Workspace workspace_;
  T* stage_;
  T* weights_;
  T* raw_weights_;
  Index* weight_at_;
  T* bias_;
  Index* tap_;
  Index* at_;
  Index* out_at_;
  T* sums_;
  Index packed_ = -1;  // whose weights are in weights_
};

}  // namespace

template <class T>
std::size_t lane_workspace(const Problem& p, const DepthwisePlan& plan) {
  const Index lanes = kernels().of<T>().lanes;
  const LaneStage stage(p, plan.block_height, lanes);
  const Index products = p.channels * p.taps(), padded = padded_products(p, lanes),
              pixels = plan.block_height * p.width().out;
  return Workspace::piece_bytes<T>(stage.elements(p)) + Workspace::piece_bytes<T>((p.outputs + 1) * padded * lanes) +
         Workspace::piece_bytes<Index>(padded) + kCacheLine + Workspace::piece_bytes<T>(p.outputs * lanes) +
         Workspace::piece_bytes<Index>(products) + Workspace::piece_bytes<Index>(stage.pixels(p)) +
         Workspace::piece_bytes<Index>(pixels) + Workspace::piece_bytes<T>(pixels * lanes);
}

template <class T>
void lane_forward(const Problem& p, const DepthwisePlan& plan, const Operands<T>& a) {
  const Index blocks = plan.blocks(p);
  parallel_for(plan.threads, plan.tasks, [&](Index i) {
    LaneTask<T> task(p, plan, a);
    const Index first = i * plan.blocks_per_task;
    for (Index b = first; b < std::min(blocks, first + plan.blocks_per_task); ++b) task.run(b);
  });
}

template std::size_t lane_workspace<float>(const Problem&, const DepthwisePlan&);
template std::size_t lane_workspace<double>(const Problem&, const DepthwisePlan&);
template void lane_forward(const Problem&, const DepthwisePlan&, const Operands<float>&);
template void lane_forward(const Problem&, const DepthwisePlan&, const Operands<double>&);

}  // namespace fastconv
