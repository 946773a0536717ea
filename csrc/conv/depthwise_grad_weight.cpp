// The weight gradient of depthwise and narrow-group convolutions: dW[o, c, tap] = sum over pixels of dY[o] * x[c] at
// tap.
//
// x is staged as for the forward convolution, dY beside it in the same geometry, so that a tap is an offset again, and
// kernels/tap_sums.hpp adds up the products: vectors of sums for each tap, of which a block adds a short chain. They
// are reduced to doubles every few blocks. A group's images are cut into parts by the shape alone, and parts are added
// in order.
//
// Pixels in the lanes run over the gaps between the rows of the stage, where dY is zero. A zero times an infinite or
// NaN input is NaN, though: where a sum comes out as NaN, the group is computed again without gaps.
#include <algorithm>

#include "../cpu.hpp"
#include "../memory.hpp"
#include "../parallel.hpp"
#include "../workspace.hpp"
#include "depthwise.hpp"
#include "direct_plan.hpp"
#include "image_parts.hpp"
#include "lane_stage.hpp"
#include "plane_stage.hpp"

namespace fastconv {
namespace {

// Of channels in and out: 16 a side have sums beyond L1, and enough to reuse for a GEMM.
constexpr Index kMostPairs = 64;

template <class T>
struct GradWeightCall {
  const Problem& p;
  const DepthwisePlan& plan;
  const T* x;
  const T* dy;
  const Kernels<T>& kernels;

  Index products() const { return p.channels * p.taps(); }
};

// ---- pixels in the lanes ------------------------------------------------------------------------

template <class T>
class PlaneGradWeight {
 public:
  explicit PlaneGradWeight(const GradWeightCall<T>& call)
      : call_(call),
        p_(call.p),
        stage_(p_, call.plan.block_height, call.plan.block_width, 1),
        lanes_(call.kernels.lanes),
        dy_plane_(round_up(call.plan.block_height * stage_.pitch(), lanes_)),
        workspace_(bytes()),
        x_(workspace_.template take<T>(x_elements())),
        dy_(workspace_.template take<T>(p_.outputs * dy_plane_)),
        sums_(workspace_.template take<T>(p_.outputs * call.products() * lanes_)),
        lane_totals_(workspace_.template take<T>(p_.outputs * call.products())),
        totals_(workspace_.template take<double>(p_.outputs * call.products())),
        offset_(workspace_.template take<Index>(call.products())) {
    std::fill_n(x_, x_elements(), T(0));
    stage_.tap_offsets(p_, offset_);
  }

  // gradient: [output][channel, tap] of group g.
  void run(Index g, Images images, double* gradient) {
    const DepthwisePlan& plan = call_.plan;
    std::fill_n(totals_, p_.outputs * call_.products(), 0.0);
    std::fill_n(sums_, p_.outputs * call_.products() * lanes_, T(0));
    for (Index n = images.first; n < images.end; ++n) {
      for (Index od = 0; od < p_.depth().out; ++od) {
        for (Index i = 0; i < plan.blocks_h; ++i) {
          for (Index j = 0; j < plan.blocks_w; ++j) add({n, g, od, i * plan.block_height, j * plan.block_width});
        }
      }
    }
    fold();
    for (Index i = 0; i < p_.outputs * call_.products(); ++i) {
      if (totals_[i] != totals_[i]) {
        totals_[i] = exact_tap_sum(p_, call_.x, call_.dy, g, images, i / call_.products(), i % call_.products());
      }
      gradient[i] = totals_[i];
    }
  }

 private:
  struct Block {
    Index n, g, od, oh, ow;
  };

  Index x_elements() const { return p_.channels * p_.depth().kernel * stage_.plane() + lanes_; }
  std::size_t bytes() const {
    return Workspace::piece_bytes<T>(x_elements()) + Workspace::piece_bytes<T>(p_.outputs * dy_plane_) +
           Workspace::piece_bytes<T>(p_.outputs * call_.products() * lanes_) +
           Workspace::piece_bytes<T>(p_.outputs * call_.products()) +
           Workspace::piece_bytes<double>(p_.outputs * call_.products()) +
           Workspace::piece_bytes<Index>(call_.products());
  }

  void add(const Block& b) {
    const Index height = std::min(call_.plan.block_height, p_.height().out - b.oh);
    const Index width = std::min(call_.plan.block_width, p_.width().out - b.ow);
    if (height <= 0 || width <= 0) return;
    const T* x = call_.x + b.n * p_.x.batch + b.g * p_.x.group;
    stage_.copy_all(p_, call_.kernels, x, b.od, b.oh, b.ow, x_);
    const Index length = (height - 1) * stage_.pitch() + width;
    const T* dy = call_.dy + b.n * p_.y.batch + b.g * p_.y.group + b.od * p_.y.space[kDepth] +
                  b.oh * p_.y.space[kHeight] + b.ow * p_.y.space[kWidth];
    TapSums<T> t{};
    t.depth = call_.products();
    t.x = x_;
    t.offset = offset_;
    t.x_step = lanes_;
    t.dy_step = lanes_;
    t.dy_output = dy_plane_;
    t.rows = 1;
    t.width = ceil_div(length, lanes_);
    t.sums_row = t.depth * lanes_;
    for (Index o = 0; o < p_.outputs; ++o) stage_gradient(dy + o * p_.y.channel, height, width, dy_ + o * dy_plane_);
    const Panels panels(p_.outputs, kMaxTapOutputs);
    for (Index i = 0; i < panels.count; ++i) {
      t.dy = dy_ + panels.start(i) * dy_plane_;
      t.sums = sums_ + panels.start(i) * t.sums_row;
      call_.kernels.tap_sums[panels.size(i) - 1](t);
    }
    vectors_ += t.width;
    if (vectors_ > kVectorsPerFold) fold();
  }

  void stage_gradient(const T* dy, Index height, Index width, T* to) const {
    StageRows<T> t{};
    t.src = dy;
    t.step = width > 1 ? p_.y.space[kWidth] : 1;
    t.src_row = p_.y.space[kHeight];
    t.rows = height;
    t.count = width;
    t.dst = to;
    t.dst_row = stage_.pitch();
    call_.kernels.stage_rows(t);
    std::fill(to + height * stage_.pitch(), to + dy_plane_, T(0));
  }

  void fold() {
    vectors_ = 0;
    const Index n = p_.outputs * call_.products();
    call_.kernels.sum_lanes(sums_, n, lane_totals_);
    for (Index i = 0; i < n; ++i) totals_[i] += static_cast<double>(lane_totals_[i]);
    std::fill_n(sums_, n * lanes_, T(0));
  }

  const GradWeightCall<T>& call_;
  const Problem& p_;
  PlaneStage stage_;
  Index lanes_, dy_plane_;
  Workspace workspace_;
  T* x_;
  T* dy_;
  T* sums_;
  T* lane_totals_;
  double* totals_;
  Index* offset_;
  Index vectors_ = 0;  // since the last fold
};

// ---- groups in the lanes ------------------------------------------------------------------------

template <class T>
class LaneGradWeight {
 public:
  explicit LaneGradWeight(const GradWeightCall<T>& call)
      : call_(call),
        p_(call.p),
        lanes_(call.kernels.lanes),
        stage_(p_, call.plan.block_height, lanes_),
        workspace_(bytes()),
        x_(workspace_.template take<T>(stage_.elements(p_))),
        dy_(workspace_.template take<T>(pixels() * lanes_)),
        sums_(workspace_.template take<T>(sums())),
        totals_(workspace_.template take<double>(sums())),
        offset_(workspace_.template take<Index>(call.products())),
        at_(workspace_.template take<Index>(stage_.pixels(p_))),
        dy_at_(workspace_.template take<Index>(pixels())) {
    stage_.tap_offsets(p_, offset_);
    stage_.pixel_offsets(p_, at_);
    for (Index i = 0; i < pixels(); ++i) dy_at_[i] = i * lanes_;
    std::fill_n(x_, stage_.elements(p_), T(0));
  }

  // gradient: [group][output][channel, tap] from group g on.
  void run(Index g, Images images, double* gradient) {
    const Index groups = std::min(lanes_, p_.groups - g), each = p_.outputs * call_.products();
    std::fill_n(totals_, sums(), 0.0);
    std::fill_n(sums_, sums(), T(0));
    for (Index n = images.first; n < images.end; ++n) {
      for (Index oh = 0; oh < p_.height().out; oh += call_.plan.block_height) add(n, g, groups, oh);
    }
    fold();
    for (Index l = 0; l < groups; ++l) {
      for (Index i = 0; i < each; ++i) gradient[l * each + i] = totals_[i * lanes_ + l];
    }
  }

 private:
  Index pixels() const { return call_.plan.block_height * p_.width().out; }
  Index sums() const { return p_.outputs * call_.products() * lanes_; }
  std::size_t bytes() const {
    return Workspace::piece_bytes<T>(stage_.elements(p_)) + Workspace::piece_bytes<T>(pixels() * lanes_) +
           Workspace::piece_bytes<T>(sums()) + Workspace::piece_bytes<double>(sums()) +
           Workspace::piece_bytes<Index>(call_.products()) + Workspace::piece_bytes<Index>(stage_.pixels(p_)) +
           Workspace::piece_bytes<Index>(pixels());
  }

  void add(Index n, Index g, Index groups, Index oh) {
    const Index height = std::min(call_.plan.block_height, p_.height().out - oh), width = p_.width().out;
    stage_.copy(p_, call_.kernels, call_.x + n * p_.x.batch + g * p_.x.group, oh, groups, at_, x_);
    const T* dy = call_.dy + n * p_.y.batch + g * p_.y.group + oh * p_.y.space[kHeight];
    const bool in_place = p_.y.group == 1 && groups == lanes_;
    TapSums<T> t{};
    t.depth = call_.products();
    t.x = x_;
    t.offset = offset_;
    t.x_step = p_.width().stride * lanes_;
    t.x_row = p_.height().stride * stage_.row();
    t.dy_step = in_place ? p_.y.space[kWidth] : lanes_;
    t.dy_row = in_place ? p_.y.space[kHeight] : width * lanes_;
    t.rows = height;
    t.width = width;
    for (Index o = 0; o < p_.outputs; ++o, dy += p_.y.channel) {
      if (!in_place)
        LaneBlock<T>{p_.y, groups, height, width, width * lanes_, lanes_, dy_at_}.gather(call_.kernels, dy, dy_);
      t.dy = in_place ? dy : dy_;
      t.sums = sums_ + o * t.depth * lanes_;
      call_.kernels.tap_sums[0](t);
    }
    vectors_ += height * width;
    if (vectors_ > kVectorsPerFold) fold();
  }

  void fold() {
    vectors_ = 0;
    fold_sums(sums_, sums(), totals_);
  }

  const GradWeightCall<T>& call_;
  const Problem& p_;
  Index lanes_;
  LaneStage stage_;
  Workspace workspace_;
  T* x_;
  T* dy_;
  T* sums_;
  double* totals_;
  Index* offset_;
  Index* at_;
  Index* dy_at_;
  Index vectors_ = 0;
};

template <class Task, class T>
void run_tasks(const GradWeightCall<T>& call, Index block_groups, T* gradient, int threads) {
  const Problem& p = call.p;
  const Index each = p.outputs * call.products(), blocks = call.plan.group_blocks;
  const Panels parts = image_parts(p, blocks);
  const RecycledBlock partial(static_cast<std::size_t>(parts.count * p.groups * each) * sizeof(double));
  double* const sums = partial.as<double>();
  const Panels shares = thread_shares(blocks * parts.count, threads);
  parallel_for(threads, shares.count, [&](Index i) {
    Task task(call);
    for (Index j = shares.start(i); j < shares.start(i) + shares.size(i); ++j) {
      const Index part = j / blocks, g = j % blocks * block_groups;
      task.run(g, {parts.start(part), parts.start(part) + parts.size(part)}, sums + (part * p.groups + g) * each);
    }
  });
  add_image_parts(sums, parts.count, p.groups * each);
  const double* from = sums;
  for (Index g = 0; g < p.groups; ++g) {
    for (Index o = 0; o < p.outputs; ++o) {
      for (Index c = 0; c < p.channels; ++c, from += p.taps()) {
        T* to = gradient + g * p.w.group + o * p.w.out + c * p.w.in;
        for (Index i = 0; i < p.taps(); ++i) to[i] = static_cast<T>(from[i]);
      }
    }
  }
}

}  // namespace

template <class T>
bool plan_depthwise_grad_weight(const Problem& p, int threads, DepthwisePlan& plan) {
  return p.channels * p.outputs <= kMostPairs && plan_depthwise<T>(p, threads, plan, false);
}

template <class T>
bool depthwise_grad_weight(const Problem& p, const T* x, const T* grad_output, T* grad_weight, int threads) {
  DepthwisePlan plan;
  if (!plan_depthwise_grad_weight<T>(p, threads, plan)) return false;
  const GradWeightCall<T> call{p, plan, x, grad_output, kernels().of<T>()};
  if (plan.kernel == DepthwiseKernel::kLanes) {
    run_tasks<LaneGradWeight<T>>(call, call.kernels.lanes, grad_weight, plan.threads);
  } else {
    run_tasks<PlaneGradWeight<T>>(call, 1, grad_weight, plan.threads);
  }
  return true;
}

template bool plan_depthwise_grad_weight<float>(const Problem&, int, DepthwisePlan&);
template bool plan_depthwise_grad_weight<double>(const Problem&, int, DepthwisePlan&);
template bool depthwise_grad_weight(const Problem&, const float*, const float*, float*, int);
template bool depthwise_grad_weight(const Problem&, const double*, const double*, double*, int);

}  // namespace fastconv
