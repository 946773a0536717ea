// The gradients of a depthwise 3 x 3 convolution in one sweep, plane by plane, pixels in the lanes, each array where it
// lies (kernels/rolling_gradients.hpp).
//
// A vector is a strip of rows, or a row of each of two planes. Nothing is staged, transposed or added up between rows,
// so small planes, which would go into the lanes and back otherwise, take half of the time, and large ones two thirds.
//
// Sums are folded to doubles as in depthwise_grad_weight.cpp. Zeros of dY meet pixels here that no output has, and
// padding meets no output: where a sum is not finite, the group's are computed again, product by product. (The tap in
// the middle finds each element of dY beside a pixel, so none that is infinite or NaN goes unnoticed.) No gradient
// looks at whether others are wanted.
#include <cmath>

#include "../cpu.hpp"
#include "../workspace.hpp"
#include "depthwise_sweep.hpp"

namespace fastconv {
namespace {

constexpr Index kTaps = 9;
constexpr Index kMostGroups = 16;         // of a task at a time
constexpr Index kMostBytes = 128 << 10;   // of a plane: it and the next one stay in L2
constexpr Index kAdditionsPerFold = 256;  // in a chain of sums, each of which is a chain over the rows of a strip
constexpr double kLanesUsed = 0.5;        // of fewer, planes go through the lanes faster

// Planes whose rows share a vector: 1 or 2; 0 where no kernel wants them. Follows from the problem and from dY,
// whatever is wanted: the bits of a gradient do not depend on the others.
template <class T>
Index planes_of_vector(const Problem& p) {
  const Axis &d = p.depth(), &h = p.height(), &w = p.width();
  if (p.groups == 1 || p.channels * p.outputs > 1) return 0;
  if (d.kernel > 1 || d.in > 1 || d.out > 1 || d.pad != 0) return 0;
  for (const Axis& a : {h, w}) {
    if (a.kernel != 3 || a.dilation != 1 || a.pad != 1 || a.stride > kDepthwiseStrides) return 0;
    if (a.out != ceil_div(a.in, a.stride) || a.in > kMostBytes) return 0;
  }
  if (h.stride != w.stride || h.in * w.in * static_cast<Index>(sizeof(T)) > kMostBytes) return 0;
  if (p.y.space[kWidth] != 1 || p.y.group == 1) return 0;
  const Kernels<T>& k = kernels().of<T>();
  for (Index planes = kMostRollingPlanes; planes > 0; --planes) {
    const Index lanes = k.lanes / planes;
    if (k.rolling_gradients[h.stride - 1][planes - 1] == nullptr || (planes > 1 && w.out > lanes)) continue;
    if (lane_use(w.out, lanes) > kLanesUsed) return planes;
  }
  return 0;
}

template <class T>
class RollingSweep {
 public:
  RollingSweep(const GradientProblem& p, const GradientOperands<T>& a, Index together)
      : p_(p.weight), dx_problem_(p.input), a_(a), together_(together) {}

  using Sum = double;
  class Task;

 private:
  // x and dx, where they are wanted.
  bool in_place() const {
    return (a_.dw == nullptr || p_.x.space[kWidth] == 1) && (a_.dx == nullptr || dx_problem_.x.space[kWidth] == 1);
  }

  const Problem &p_, &dx_problem_;
  const GradientOperands<T>& a_;
  const Kernels<T>& k_ = kernels().of<T>();
  const Index together_;  // planes whose rows share a vector
  const Index pixels_ = p_.height().in * p_.width().in;
};

template <class T>
class RollingSweep<T>::Task {
 public:
  explicit Task(const RollingSweep& all)
      : s_(all),
        p_(s_.p_),
        k_(s_.k_),
        workspace_(bytes()),
        weights_(workspace_.template take<T>(kSums)),
        sums_(workspace_.template take<T>(kSums * k_.lanes)),
        lane_totals_(workspace_.template take<T>(kSums)),
        totals_(workspace_.template take<double>(kSums)),
        x_(workspace_.template take<T>(staged())),
        dx_(workspace_.template take<T>(staged())) {
    std::fill_n(sums_, kSums * k_.lanes, T(0));
  }

  // From group g on; gradient: [group][tap]; plane_sums: [image][group] of the problem, or null.
  void run(Index g, Images images, double* gradient, T* plane_sums) {
    const Index groups = std::min(kMostGroups, p_.groups - g);
    if (s_.a_.dx != nullptr) pack_weights(g, groups);
    std::fill_n(totals_, kSums, 0.0);
    const bool small = groups * s_.pixels_ * static_cast<Index>(sizeof(T)) < caches().l2 / 4;  // all planes stay
    const Index step = small && s_.in_place() ? groups : s_.together_;
    for (Index n = images.first; n < images.end; ++n) {
      for (Index i = 0; i < groups; i += step) {
        const Index planes = std::min(step, groups - i);
        if (plane_sums != nullptr) {
          k_.sum_rows(dy(n, g + i), p_.y.group, planes, p_.pixels(), plane_sums + n * p_.groups + g + i);
        }
        sweep(n, g + i, i, planes);
      }
      if ((chains_ += ceil_div(p_.width().out, k_.lanes)) > kAdditionsPerFold) fold();
    }
    if (s_.a_.dw != nullptr) store(g, groups, images, gradient);
  }

 private:
  static constexpr Index kSums = kMostGroups * kTaps;

  Index staged() const { return s_.in_place() ? 0 : s_.together_ * s_.pixels_; }
  std::size_t bytes() const {
    return 2 * Workspace::piece_bytes<T>(kSums) + Workspace::piece_bytes<T>(kSums * k_.lanes) +
           Workspace::piece_bytes<double>(kSums) + 2 * Workspace::piece_bytes<T>(staged());
  }

  const T* dy(Index n, Index g) const { return s_.a_.dy + n * p_.y.batch + g * p_.y.group; }
  const T* x(Index n, Index g) const { return s_.a_.x + n * p_.x.batch + g * p_.x.group; }
  T* dx(Index n, Index g) const { return s_.a_.dx + n * s_.dx_problem_.x.batch + g * s_.dx_problem_.x.group; }

  void pack_weights(Index g, Index groups) {
    const auto& w = s_.dx_problem_.w;
    T* to = weights_;
    for (Index i = 0; i < groups; ++i) {
      const T* const from = s_.a_.w + (g + i) * w.group;
      for (Index r = 0; r < 3; ++r) {
        for (Index s = 0; s < 3; ++s) *to++ = from[r * w.space[kHeight] + s * w.space[kWidth]];
      }
    }
  }

  // Image n, `planes` planes from group g on, which is the task's i-th.
  void sweep(Index n, Index g, Index i, Index planes) {
    const Axis &h = p_.height(), &w = p_.width();
    const bool in_place = s_.in_place();
    RollingGradients<T> t{};
    t.planes = planes;
    t.dy = {dy(n, g), p_.y.group, p_.y.space[kHeight], h.out, w.out};
    t.x = {nullptr, s_.pixels_, w.in, h.in, w.in};
    t.dx = {nullptr, s_.pixels_, w.in, h.in, w.in};
    if (s_.a_.dw != nullptr) {
      t.sums = sums_ + i / s_.together_ * kTaps * k_.lanes;
      if (in_place) {
        t.x = {x(n, g), p_.x.group, p_.x.space[kHeight], h.in, w.in};
      } else {
        t.x.first = read_x(n, g, planes);
      }
    }
    if (s_.a_.dx != nullptr) {
      const ImageStrides& to = s_.dx_problem_.x;
      t.w = weights_ + i * kTaps;
      t.dx.first = dx_;
      if (in_place) t.dx = {dx(n, g), to.group, to.space[kHeight], h.in, w.in};
    }
    k_.rolling_gradients[h.stride - 1][s_.together_ - 1](t);
    if (s_.a_.dx != nullptr && !in_place) write_dx(n, g, planes);
  }

  const T* read_x(Index n, Index g, Index planes) {
    const ImageStrides& s = p_.x;
    T* to = x_;
    for (Index i = 0; i < planes; ++i) {
      for (Index r = 0; r < p_.height().in; ++r) {
        const T* const row = x(n, g + i) + r * s.space[kHeight];
        for (Index c = 0; c < p_.width().in; ++c) *to++ = row[c * s.space[kWidth]];
      }
    }
    return x_;
  }
  void write_dx(Index n, Index g, Index planes) const {
    const ImageStrides& s = s_.dx_problem_.x;
    const T* from = dx_;
    for (Index i = 0; i < planes; ++i) {
      for (Index r = 0; r < p_.height().in; ++r) {
        T* const row = dx(n, g + i) + r * s.space[kHeight];
        for (Index c = 0; c < p_.width().in; ++c) row[c * s.space[kWidth]] = *from++;
      }
    }
  }

  // sums_ is [vector of planes][tap][lane], totals_ [plane][tap].
  void fold() {
    const Index together = s_.together_, count = kSums / together;
    chains_ = 0;
    if (together == 1) {
      k_.sum_lanes(sums_, count, lane_totals_);
    } else {
      k_.sum_half_lanes(sums_, count, lane_totals_, lane_totals_ + count);
    }
    const T* from = lane_totals_;
    for (Index i = 0; i < together; ++i) {
      for (Index g = i; g < kMostGroups; g += together) {
        for (Index k = 0; k < kTaps; ++k) totals_[g * kTaps + k] += static_cast<double>(*from++);
      }
    }
    std::fill_n(sums_, count * k_.lanes, T(0));
  }

  void store(Index g, Index groups, Images images, double* gradient) {
    fold();
    const double* from = totals_;
    for (Index i = 0; i < groups; ++i, from += kTaps) {
      const bool finite = std::all_of(from, from + kTaps, [](double total) { return std::isfinite(total); });
      for (Index k = 0; k < kTaps; ++k) {
        *gradient++ = finite ? from[k] : exact_tap_sum(p_, s_.a_.x, s_.a_.dy, g + i, images, 0, k);
      }
    }
  }

  const RollingSweep& s_;
  const Problem& p_;
  const Kernels<T>& k_;
  Workspace workspace_;
  T *weights_, *sums_, *lane_totals_;
  double* totals_;
  T *x_, *dx_;        // planes that the kernel cannot read or write where they are
  Index chains_ = 0;  // since the last fold
};

}  // namespace

template <class T>
bool depthwise_rolling_gradients(const GradientProblem& p, const GradientOperands<T>& a, int threads) {
  const Index together = p.weight.flops() == 0 ? 0 : planes_of_vector<T>(p.weight);
  if (together == 0) return false;
  run_sweep(RollingSweep<T>(p, a, together), p.weight, a, kMostGroups, threads);
  return true;
}

template bool depthwise_rolling_gradients(const GradientProblem&, const GradientOperands<float>&, int);
template bool depthwise_rolling_gradients(const GradientProblem&, const GradientOperands<double>&, int);

}  // namespace fastconv
