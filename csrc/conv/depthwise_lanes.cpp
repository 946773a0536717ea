// Depthwise convolution with groups in the lanes (kernels/depthwise_lanes.hpp): channels-last arrays, and planes so
// small that their rows would leave most of a vector empty.
#include "../cpu.hpp"
#include "../parallel.hpp"
#include "../workspace.hpp"
#include "depthwise.hpp"
#include "lane_stage.hpp"

namespace fastconv {
namespace {

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
        weights_(workspace_.template take<T>(p.outputs * products() * k_.lanes)),
        bias_(workspace_.template take<T>(p.outputs * k_.lanes)),
        tap_(workspace_.template take<Index>(products())),
        at_(workspace_.template take<Index>(geometry_.pixels(p))),
        out_at_(workspace_.template take<Index>(pixels())),
        sums_(workspace_.template take<T>(pixels() * k_.lanes)) {
    geometry_.tap_offsets(p, tap_);
    geometry_.pixel_offsets(p, at_);
    for (Index i = 0; i < pixels(); ++i) out_at_[i] = i * k_.lanes;
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

  void pack_weights(Index g, Index groups) {
    packed_ = g;
    const Index lanes = k_.lanes, kh = p_.height().kernel, kw = p_.width().kernel;
    std::fill_n(weights_, p_.outputs * products() * lanes, T(0));
    std::fill_n(bias_, p_.outputs * lanes, T(0));
    for (Index l = 0; l < groups; ++l) {
      T* to = weights_ + l;
      for (Index o = 0; o < p_.outputs; ++o) {
        if (a_.bias != nullptr) bias_[o * lanes + l] = a_.bias[(g + l) * p_.outputs + o];
        for (Index c = 0; c < p_.channels; ++c) {
          const T* w = a_.w + (g + l) * p_.w.group + o * p_.w.out + c * p_.w.in;
          for (Index i = 0; i < kh * kw; ++i, to += lanes) {
            *to = w[i / kw * p_.w.space[kHeight] + i % kw * p_.w.space[kWidth]];
          }
        }
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
      t.w = weights_ + o * t.depth * lanes;
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
  const Index products = p.channels * p.taps(), pixels = plan.block_height * p.width().out;
  return Workspace::piece_bytes<T>(stage.elements(p)) + Workspace::piece_bytes<T>(p.outputs * products * lanes) +
         Workspace::piece_bytes<T>(p.outputs * lanes) + Workspace::piece_bytes<Index>(products) +
         Workspace::piece_bytes<Index>(stage.pixels(p)) + Workspace::piece_bytes<Index>(pixels) +
         Workspace::piece_bytes<T>(pixels * lanes);
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
