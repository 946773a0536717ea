// The gradients of a depthwise convolution in one sweep, a group in each lane.
//
//     dx[i] = sum over taps of w[tap] * dy at i,    dW[tap] = sum over pixels of dY * x at tap
//
// Planes of VL groups, as small as they are here, stay in cache whole. Their transposes are most of the work, so dY is
// transposed once for all that read it: every stride phase of dx, and dW. It lies in one stage with the margins that
// any phase wants, in which a phase's tap is an offset.
//
// Sums are folded to doubles as in depthwise_grad_weight.cpp; images are cut into parts by the shape alone, and parts
// are added in order. No gradient looks at whether others are wanted. The bias's, for which alone no transpose pays, is
// summed here plane by plane as grad_bias.cpp does it, to the bit, while dY is in cache.
#include <algorithm>
#include <vector>

#include "../cpu.hpp"
#include "../workspace.hpp"
#include "conv.hpp"
#include "depthwise.hpp"
#include "depthwise_sweep.hpp"
#include "direct_plan.hpp"
#include "gradient_stage.hpp"
#include "gradients.hpp"
#include "image_parts.hpp"
#include "lane_stage.hpp"

namespace fastconv {
namespace {

constexpr Index kMostPhases = 16;
constexpr Index kMostBytes = Index{4} << 20;  // of what a thread holds of its groups

template <class T>
class LaneGradients {
 public:
  LaneGradients(const GradientProblem& p, const GradientOperands<T>& a)
      : p_(p.weight),
        dx_problem_(p.input),
        a_(a),
        phases_(gradient_phases(p.input)),
        dy_problem_(with_margins(p_, phases_)) {}

  // Whether the planes of a vector of groups stay in half of L2.
  bool fits() const {
    const Index most = std::min(static_cast<Index>(caches().l2) / 2, kMostBytes);
    return (x_stage_.elements(p_) + dy_stage_.elements(dy_problem_) + dx_elements()) * Index{sizeof(T)} <= most;
  }

  using Sum = double;
  // Of a vector of groups at a time.
  class Task;

 private:
  Index pixels() const { return p_.height().in * p_.width().in; }
  Index dx_elements() const { return pixels() * lanes_; }

  const Problem &p_, &dx_problem_;
  const GradientOperands<T>& a_;
  const std::vector<GradInputPhase> phases_;
  const Problem dy_problem_;
  const Kernels<T>& k_ = kernels().of<T>();
  const Index lanes_ = k_.lanes;
  const LaneStage x_stage_{p_, p_.height().out, lanes_};
  const LaneStage dy_stage_{dy_problem_, dy_problem_.height().out, lanes_};
};

template <class T>
class LaneGradients<T>::Task {
 public:
  explicit Task(const LaneGradients& all)
      : s_(all),
        taps_(s_.p_.taps()),
        workspace_(bytes()),
        x_(workspace_.template take<T>(s_.x_stage_.elements(s_.p_))),
        dy_(workspace_.template take<T>(s_.dy_stage_.elements(s_.dy_problem_))),
        dx_(workspace_.template take<T>(s_.dx_elements())),
        weights_(workspace_.template take<T>(taps_ * s_.lanes_)),
        zeros_(workspace_.template take<T>(s_.lanes_)),
        sums_(workspace_.template take<T>(sums())),
        totals_(workspace_.template take<double>(sums())),
        x_at_(workspace_.template take<Index>(s_.x_stage_.pixels(s_.p_))),
        dy_at_(workspace_.template take<Index>(s_.dy_stage_.pixels(s_.dy_problem_))),
        dx_at_(workspace_.template take<Index>(s_.pixels())),
        tap_(workspace_.template take<Index>(taps_)),
        phase_tap_(workspace_.template take<Index>(taps_)) {
    std::fill_n(x_, s_.x_stage_.elements(s_.p_), T(0));
    std::fill_n(dy_, s_.dy_stage_.elements(s_.dy_problem_), T(0));
    std::fill_n(dx_, s_.dx_elements(), T(0));  // where no tap leads, it stays so
    std::fill_n(zeros_, s_.lanes_, T(0));
    s_.x_stage_.pixel_offsets(s_.p_, x_at_);
    s_.dy_stage_.pixel_offsets(s_.dy_problem_, dy_at_);
    for (Index i = 0; i < s_.pixels(); ++i) dx_at_[i] = i * s_.lanes_;
    s_.x_stage_.tap_offsets(s_.p_, tap_);
    prepare_phases();
  }

  // From group g on; gradient: [group][tap]; plane_sums: [image][group] of the problem, or null.
  void run(Index g, Images images, double* gradient, T* plane_sums) {
    const Index groups = std::min(s_.lanes_, s_.p_.groups - g);
    if (s_.a_.dx != nullptr) pack_weights(g, groups);
    std::fill_n(totals_, sums(), 0.0);
    std::fill_n(sums_, sums(), T(0));
    vectors_ = 0;
    for (Index n = images.first; n < images.end; ++n) {
      const T* const dy = s_.a_.dy + n * s_.p_.y.batch + g * s_.p_.y.group;
      if (plane_sums != nullptr) {
        s_.k_.sum_rows(dy, s_.p_.y.group, groups, s_.p_.pixels(), plane_sums + n * s_.p_.groups + g);
      }
      s_.dy_stage_.copy(s_.dy_problem_, s_.k_, dy, 0, groups, dy_at_, dy_);
      if (s_.a_.dx != nullptr) grad_input(n, g, groups);
      if (s_.a_.dw != nullptr) grad_weight(n, g, groups);
    }
    fold();
    for (Index l = 0; l < groups; ++l) {
      for (Index i = 0; i < taps_; ++i) gradient[l * taps_ + i] = totals_[i * s_.lanes_ + l];
    }
  }

 private:
  Index sums() const { return taps_ * s_.lanes_; }
  std::size_t bytes() const {
    return Workspace::piece_bytes<T>(s_.x_stage_.elements(s_.p_)) +
           Workspace::piece_bytes<T>(s_.dy_stage_.elements(s_.dy_problem_)) +
           Workspace::piece_bytes<T>(s_.dx_elements()) + Workspace::piece_bytes<T>(s_.lanes_) +
           Workspace::piece_bytes<T>(taps_ * s_.lanes_) + Workspace::piece_bytes<T>(sums()) +
           Workspace::piece_bytes<double>(sums()) + Workspace::piece_bytes<Index>(s_.x_stage_.pixels(s_.p_)) +
           Workspace::piece_bytes<Index>(s_.dy_stage_.pixels(s_.dy_problem_)) +
           Workspace::piece_bytes<Index>(s_.pixels()) + 2 * Workspace::piece_bytes<Index>(taps_);
  }

  // Rows of a phase land between those of the others. All pointers stay what they are for every image.
  void prepare_phases() {
    const Axis &h = s_.p_.height(), &w = s_.p_.width();
    const Index lanes = s_.lanes_, step_h = std::min(h.stride, h.in), step_w = std::min(w.stride, w.in);
    Index first = 0;
    for (std::size_t i = 0; i < s_.phases_.size(); ++i) {
      const Problem& phase = s_.phases_[i].problem;
      const Index at = static_cast<Index>(i);
      if (phase.pixels() == 0) continue;
      LaneRows<T> t{};
      t.depth = phase.taps();
      t.x = dy_;
      t.offset = phase_tap_ + first;
      t.x_step = lanes;
      t.x_row = s_.dy_stage_.row();
      t.w = weights_ + first * lanes;
      t.y = dx_ + (at / step_w * w.in + at % step_w) * lanes;
      t.y_step = step_w * lanes;
      t.y_row = step_h * w.in * lanes;
      t.rows = phase.height().out;
      t.width = phase.width().out;
      t.lanes = lanes;
      t.bias = zeros_;
      phase_offsets(phase, phase_tap_ + first);
      first += t.depth;
      if (t.depth > 0) rows_.push_back(t);
    }
  }
  void phase_offsets(const Problem& phase, Index* to) const {
    const Index top = s_.dy_problem_.height().pad, left = s_.dy_problem_.width().pad;
    for (Index r = 0; r < phase.height().kernel; ++r) {
      for (Index s = 0; s < phase.width().kernel; ++s) {
        *to++ = (top + phase.height().input_of(0, r)) * s_.dy_stage_.row() +
                (left + phase.width().input_of(0, s)) * s_.lanes_;
      }
    }
  }

  // [phase, its taps][lane]
  void pack_weights(Index g, Index groups) {
    T* to = weights_;
    for (const GradInputPhase& phase : s_.phases_) {
      const Problem& p = phase.problem;
      if (p.pixels() == 0) continue;
      const T* const w = s_.a_.w + g * p.w.group + phase.w_offset;
      for (Index r = 0; r < p.height().kernel; ++r) {
        for (Index s = 0; s < p.width().kernel; ++s, to += s_.lanes_) {
          const T* const tap = w + r * p.w.space[kHeight] + s * p.w.space[kWidth];
          for (Index l = 0; l < s_.lanes_; ++l) to[l] = l < groups ? tap[l * p.w.group] : T(0);
        }
      }
    }
  }

  void grad_input(Index n, Index g, Index groups) {
    const ImageStrides& to = s_.dx_problem_.x;
    T* const dx = s_.a_.dx + n * to.batch + g * to.group;
    if (to.group == 1 && rows_.size() == s_.phases_.size()) return grad_input_in_place(groups, dx);
    for (const LaneRows<T>& t : rows_) s_.k_.lane_rows(t);
    const Index height = s_.p_.height().in, width = s_.p_.width().in;
    LaneBlock<T>{to, groups, height, width, width * s_.lanes_, s_.lanes_, dx_at_}.scatter(s_.k_, dx_, dx);
  }
  // Channels lie side by side, and no pixel is left out.
  void grad_input_in_place(Index groups, T* dx) const {
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      const GradInputPhase& phase = s_.phases_[i];
      LaneRows<T> t = rows_[i];
      t.y = dx + phase.x_offset;
      t.y_step = phase.problem.y.space[kWidth];
      t.y_row = phase.problem.y.space[kHeight];
      t.lanes = groups;
      s_.k_.lane_rows(t);
    }
  }

  // Of dY, which is staged, and image n of x.
  void grad_weight(Index n, Index g, Index groups) {
    s_.x_stage_.copy(s_.p_, s_.k_, s_.a_.x + n * s_.p_.x.batch + g * s_.p_.x.group, 0, groups, x_at_, x_);
    const Axis &h = s_.dy_problem_.height(), &w = s_.dy_problem_.width();
    TapSums<T> t{};
    t.depth = taps_;
    t.x = x_;
    t.offset = tap_;
    t.x_step = s_.p_.width().stride * s_.lanes_;
    t.x_row = s_.p_.height().stride * s_.x_stage_.row();
    t.dy = dy_ + h.pad * s_.dy_stage_.row() + w.pad * s_.lanes_;
    t.dy_step = s_.lanes_;
    t.dy_row = s_.dy_stage_.row();
    t.rows = h.in;
    t.width = w.in;
    t.sums = sums_;
    s_.k_.tap_sums[0](t);
    vectors_ += t.rows * t.width;
    if (vectors_ > kVectorsPerFold) fold();
  }

  void fold() {
    vectors_ = 0;
    fold_sums(sums_, sums(), totals_);
  }

  const LaneGradients& s_;
  Index taps_;
  Workspace workspace_;
  T *x_, *dy_, *dx_;
  T *weights_, *zeros_;
  T* sums_;
  double* totals_;
  Index *x_at_, *dy_at_, *dx_at_;
  Index *tap_, *phase_tap_;
  std::vector<LaneRows<T>> rows_;  // of each phase
  Index vectors_ = 0;              // since the last fold
};

// Follows from the problem and from dY, whatever is wanted: the bits of a gradient do not depend on the others.
template <class T>
bool sweeps(const Problem& p) {
  constexpr Index kSide = 4096;  // beyond it no plane fits, and sizes might not fit 64 bits
  if (p.channels * p.outputs > 1 || !fills_lanes<T>(p) || count_phases(p) > kMostPhases) return false;
  for (const Axis& a : {p.height(), p.width()}) {
    if (std::max({a.in, a.out, a.span(), a.stride, a.pad}) > kSide) return false;
  }
  Problem like_dy = p;
  like_dy.x = p.y;
  DepthwisePlan plan;
  return plan_depthwise<T>(like_dy, 1, plan) && plan.kernel == DepthwiseKernel::kLanes;
}

}  // namespace

template <class T>
bool depthwise_lane_gradients(const GradientProblem& problems, const GradientOperands<T>& a, int threads) {
  const Problem& p = problems.weight;
  if (p.flops() == 0 || !sweeps<T>(p)) return false;
  const LaneGradients<T> gradients(problems, a);
  if (!gradients.fits()) return false;
  run_sweep(gradients, p, a, kernels().of<T>().lanes, threads);
  return true;
}

template bool depthwise_lane_gradients(const GradientProblem&, const GradientOperands<float>&, int);
template bool depthwise_lane_gradients(const GradientProblem&, const GradientOperands<double>&, int);

}  // namespace fastconv
