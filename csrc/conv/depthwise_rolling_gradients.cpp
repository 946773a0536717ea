// The gradients of a depthwise convolution in one sweep, plane by plane, pixels in the lanes, each array where it lies:
// 3 x 3 (kernels/rolling_gradients.hpp), and 5 x 5 with stride 2 (kernels/strided_gradients.hpp).
//
// A vector is a strip of rows, or for 3 x 3 a row of each of two planes. Nothing is staged, transposed or added up
// between rows, so small planes, which would go into the lanes and back otherwise, take half of the time, and large
// ones two thirds.
//
// Sums are folded to doubles as in depthwise_grad_weight.cpp. Zeros of dY meet pixels here that no output has, and
// padding meets no output: where a sum is not finite, the group's are computed again, product by product. (Each
// element of dY has a tap that finds it beside a pixel, so none that is infinite or NaN goes unnoticed.) No gradient
// looks at whether others are wanted.
#include <cmath>

#include "../cpu.hpp"
#include "../workspace.hpp"
#include "depthwise_sweep.hpp"

namespace fastconv {
namespace {

constexpr Index kMostGroups = 16;         // of a task at a time
constexpr Index kMostBytes = 128 << 10;   // of a plane: it and the next one stay in L2
constexpr Index kRowsOfChain = 64;        // of dY, of several images one after the other, if all are short
constexpr Index kAdditionsPerFold = 256;  // in a chain of sums, each of which is a chain over the rows of a strip
constexpr double kLanesUsed = 0.5;        // of fewer, planes go through the lanes faster

// How planes go through a kernel, if one wants them.
template <class T>
struct PlaneVectors {
  void (*kernel)(const RollingGradients<T>&) = nullptr;
  Index together = 1;  // planes whose rows share a vector
  Index columns = 0;   // of x, or of dY without `paired`, in a row of each of them
  // Columns of taps of a vector of sums. The first one's are in the lower half of it, the second one's in the other.
  Index paired = 1;
};

// A tap in the middle finds each element of dY beside a pixel.
template <class T>
PlaneVectors<T> rows_of_3x3(const Problem& p) {
  const Axis &h = p.height(), &w = p.width();
  for (const Axis& a : {h, w}) {
    if (a.kernel != 3 || a.pad != 1 || a.out != ceil_div(a.in, a.stride)) return {};
  }
  const Kernels<T>& k = kernels().of<T>();
  for (Index planes = kMostRollingPlanes; planes > 0; --planes) {
    const Index lanes = k.lanes / planes;
    const auto kernel = k.rolling_gradients[h.stride - 1][planes - 1];
    if (kernel == nullptr || (planes > 1 && w.out > lanes)) continue;
    if (lane_use(w.out, lanes) > kLanesUsed) return {kernel, planes, w.out, 1};
  }
  return {};
}

// Some tap finds each element of dY beside a pixel: padding is less than the window.
template <class T>
PlaneVectors<T> strided_rows(const Problem& p) {
  for (const Axis& a : {p.height(), p.width()}) {
    if (a.kernel != 5 || a.stride != 2 || a.pad < 0 || a.pad >= a.kernel || a.input_of(a.out - 1, 0) >= a.in) return {};
  }
  const Kernels<T>& k = kernels().of<T>();
  if (lane_use(p.width().in, k.lanes) < kLanesUsed) return {};
  return {k.strided_gradients, 1, p.width().in, 2};
}

// Follows from the problem and from dY, whatever is wanted: the bits of a gradient do not depend on the others.
template <class T>
PlaneVectors<T> plane_vectors(const Problem& p) {
  const Axis &d = p.depth(), &h = p.height(), &w = p.width();
  if (p.flops() == 0 || p.groups == 1 || p.channels * p.outputs > 1) return {};
  if (d.kernel > 1 || d.in > 1 || d.out > 1 || d.pad != 0) return {};
  for (const Axis& a : {h, w}) {
    if (a.dilation != 1 || a.stride > kDepthwiseStrides || a.in > kMostBytes) return {};
  }
  if (h.stride != w.stride || h.in * w.in * static_cast<Index>(sizeof(T)) > kMostBytes) return {};
  if (p.y.space[kWidth] != 1 || p.y.group == 1) return {};
  const PlaneVectors<T> rows = rows_of_3x3<T>(p);
  return rows.kernel != nullptr ? rows : strided_rows<T>(p);
}

template <class T>
class RollingSweep {
 public:
  RollingSweep(const GradientProblem& p, const GradientOperands<T>& a, const PlaneVectors<T>& vectors)
      : p_(p.weight), dx_problem_(p.input), a_(a), vectors_(vectors) {}

  using Sum = double;
  class Task;

 private:
  // Whose sums are one chain.
  Index images() const {
    const bool one_vector = vectors_.columns <= k_.lanes && vectors_.paired == 1;
    return !one_vector ? 1 : std::clamp<Index>(kRowsOfChain / p_.height().out, 1, std::max<Index>(1, p_.batch));
  }
  // x and dx, where they are wanted.
  bool in_place() const {
    return (a_.dw == nullptr || p_.x.space[kWidth] == 1) && (a_.dx == nullptr || dx_problem_.x.space[kWidth] == 1);
  }

  const Problem &p_, &dx_problem_;
  const GradientOperands<T>& a_;
  const Kernels<T>& k_ = kernels().of<T>();
  const PlaneVectors<T> vectors_;
  const Index together_ = vectors_.together;
  const Index taps_ = p_.taps(), columns_ = p_.width().kernel;
  const Index sums_ = p_.height().kernel * ceil_div(columns_, vectors_.paired);  // vectors of them
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
        weights_(workspace_.template take<T>(kMostGroups * s_.taps_)),
        sums_(workspace_.template take<T>(kMostGroups * s_.sums_ * k_.lanes)),
        lane_totals_(workspace_.template take<T>(lane_totals())),
        totals_(workspace_.template take<double>(kMostGroups * s_.taps_)),
        x_(workspace_.template take<T>(staged())),
        dx_(workspace_.template take<T>(staged())) {
    std::fill_n(sums_, kMostGroups * s_.sums_ * k_.lanes, T(0));
  }

  // From group g on; gradient: [group][tap]; plane_sums: [image][group] of the problem, or null.
  void run(Index g, Images images, double* gradient, T* plane_sums) {
    const Index groups = std::min(kMostGroups, p_.groups - g);
    if (s_.a_.dx != nullptr) pack_weights(g, groups);
    std::fill_n(totals_, kMostGroups * s_.taps_, 0.0);
    const Index most = s_.images(), bytes = most * s_.pixels_ * static_cast<Index>(sizeof(T));
    const bool small = groups * bytes < caches().l2 / 4;  // all planes stay
    const Index step = small && s_.in_place() ? groups : s_.together_;
    for (Index n = images.first; n < images.end; n += most) {
      const Images some{n, std::min(n + most, images.end)};
      for (Index i = 0; i < groups; i += step) {
        const Index planes = std::min(step, groups - i);
        if (plane_sums != nullptr) add_planes(some, g + i, planes, plane_sums);
        sweep(some, g + i, i, planes);
      }
      if ((chains_ += ceil_div(s_.vectors_.columns, k_.lanes)) > kAdditionsPerFold) fold();
    }
    if (s_.a_.dw != nullptr) store(g, groups, images, gradient);
  }

 private:
  Index lane_totals() const { return kMostGroups * s_.sums_ * s_.vectors_.paired; }
  Index staged() const { return s_.in_place() ? 0 : s_.images() * s_.together_ * s_.pixels_; }
  std::size_t bytes() const {
    const Index taps = kMostGroups * s_.taps_;
    return Workspace::piece_bytes<T>(taps) + Workspace::piece_bytes<T>(kMostGroups * s_.sums_ * k_.lanes) +
           Workspace::piece_bytes<T>(lane_totals()) + Workspace::piece_bytes<double>(taps) +
           2 * Workspace::piece_bytes<T>(staged());
  }

  const T* dy(Index n, Index g) const { return s_.a_.dy + n * p_.y.batch + g * p_.y.group; }
  const T* x(Index n, Index g) const { return s_.a_.x + n * p_.x.batch + g * p_.x.group; }
  T* dx(Index n, Index g) const { return s_.a_.dx + n * s_.dx_problem_.x.batch + g * s_.dx_problem_.x.group; }

  void pack_weights(Index g, Index groups) {
    const auto& w = s_.dx_problem_.w;
    T* to = weights_;
    for (Index i = 0; i < groups; ++i) {
      const T* const from = s_.a_.w + (g + i) * w.group;
      for (Index r = 0; r < p_.height().kernel; ++r) {
        for (Index s = 0; s < s_.columns_; ++s) *to++ = from[r * w.space[kHeight] + s * w.space[kWidth]];
      }
    }
  }

  void add_planes(Images images, Index g, Index planes, T* plane_sums) const {
    for (Index n = images.first; n < images.end; ++n) {
      k_.sum_rows(dy(n, g), p_.y.group, planes, p_.pixels(), plane_sums + n * p_.groups + g);
    }
  }

  // `planes` planes from group g on, which is the task's i-th.
  void sweep(Images images, Index g, Index i, Index planes) {
    const Axis &h = p_.height(), &w = p_.width();
    const bool in_place = s_.in_place();
    const Index n = images.first, staged = planes * s_.pixels_;
    RollingGradients<T> t{};
    t.planes = planes, t.images = images.end - n;
    t.pad_rows = h.pad, t.pad_columns = w.pad;
    t.dy = {dy(n, g), p_.y.group, p_.y.space[kHeight], h.out, w.out, p_.y.batch};
    t.x = {nullptr, s_.pixels_, w.in, h.in, w.in, staged};
    t.dx = {nullptr, s_.pixels_, w.in, h.in, w.in, staged};
    if (s_.a_.dw != nullptr) {
      t.sums = sums_ + i / s_.together_ * s_.sums_ * k_.lanes;
      if (in_place) {
        t.x = {x(n, g), p_.x.group, p_.x.space[kHeight], h.in, w.in, p_.x.batch};
      } else {
        t.x.first = read_x(images, g, planes);
      }
    }
    if (s_.a_.dx != nullptr) {
      const ImageStrides& to = s_.dx_problem_.x;
      t.w = weights_ + i * s_.taps_;
      t.dx.first = dx_;
      if (in_place) t.dx = {dx(n, g), to.group, to.space[kHeight], h.in, w.in, to.batch};
    }
    s_.vectors_.kernel(t);
    if (s_.a_.dx != nullptr && !in_place) write_dx(images, g, planes);
  }

  const T* read_x(Images images, Index g, Index planes) {
    const ImageStrides& s = p_.x;
    T* to = x_;
    for (Index i = 0; i < planes * (images.end - images.first); ++i) {
      for (Index r = 0; r < p_.height().in; ++r) {
        const T* const row = x(images.first + i / planes, g + i % planes) + r * s.space[kHeight];
        for (Index c = 0; c < p_.width().in; ++c) *to++ = row[c * s.space[kWidth]];
      }
    }
    return x_;
  }
  void write_dx(Images images, Index g, Index planes) const {
    const ImageStrides& s = s_.dx_problem_.x;
    const T* from = dx_;
    for (Index i = 0; i < planes * (images.end - images.first); ++i) {
      for (Index r = 0; r < p_.height().in; ++r) {
        T* const row = dx(images.first + i / planes, g + i % planes) + r * s.space[kHeight];
        for (Index c = 0; c < p_.width().in; ++c) row[c * s.space[kWidth]] = *from++;
      }
    }
  }

  // totals_ is [plane][tap].
  void fold() {
    const Index paired = s_.vectors_.paired, together = s_.together_, count = kMostGroups / together * s_.sums_;
    const bool halves = paired > 1 || together > 1;
    chains_ = 0;
    if (halves) {
      k_.sum_half_lanes(sums_, count, lane_totals_, lane_totals_ + count);
    } else {
      k_.sum_lanes(sums_, count, lane_totals_);
    }
    if (paired > 1) {
      add_pairs(lane_totals_, lane_totals_ + count);
    } else {
      for (Index i = 0; i < together; ++i) add_taps(lane_totals_ + i * count, i);
    }
    std::fill_n(sums_, count * k_.lanes, T(0));
  }
  // [vector of planes][tap], of the i-th plane of each vector.
  void add_taps(const T* from, Index i) {
    for (Index g = i; g < kMostGroups; g += s_.together_) {
      for (Index k = 0; k < s_.taps_; ++k) totals_[g * s_.taps_ + k] += static_cast<double>(*from++);
    }
  }
  // [plane][row][pair of columns], of their first columns and of their second ones.
  void add_pairs(const T* first, const T* second) {
    double* to = totals_;
    for (Index row = 0; row < kMostGroups * p_.height().kernel; ++row) {
      for (Index s = 0; s < s_.columns_; ++s) *to++ += static_cast<double>((s % 2 == 0 ? first : second)[s / 2]);
      first += ceil_div(s_.columns_, 2);
      second += ceil_div(s_.columns_, 2);
    }
  }

  void store(Index g, Index groups, Images images, double* gradient) {
    fold();
    std::copy_n(totals_, groups * s_.taps_, gradient);
    if (finite(totals_, kMostGroups * s_.taps_)) return;
    const double* from = totals_;
    for (Index i = 0; i < groups; ++i, from += s_.taps_, gradient += s_.taps_) {
      if (finite(from, s_.taps_)) continue;
      for (Index k = 0; k < s_.taps_; ++k) gradient[k] = exact_tap_sum(p_, s_.a_.x, s_.a_.dy, g + i, images, 0, k);
    }
  }

  static bool finite(const double* v, Index n) {
    double zeros[4] = {};  // or NaN
    Index i = 0;
    for (; i + 4 <= n; i += 4) {
      for (Index j = 0; j < 4; ++j) zeros[j] += v[i + j] - v[i + j];
    }
    for (; i < n; ++i) zeros[0] += v[i] - v[i];
    return zeros[0] + zeros[1] + zeros[2] + zeros[3] == 0.0;
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
  const PlaneVectors<T> vectors = plane_vectors<T>(p.weight);
  if (vectors.kernel == nullptr) return false;
  run_sweep(RollingSweep<T>(p, a, vectors), p.weight, a, kMostGroups, threads);
  return true;
}

template bool depthwise_rolling_gradients(const GradientProblem&, const GradientOperands<float>&, int);
template bool depthwise_rolling_gradients(const GradientProblem&, const GradientOperands<double>&, int);

}  // namespace fastconv
