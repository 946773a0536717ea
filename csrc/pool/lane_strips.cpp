// Gradients of maxima of 3x3 windows with stride 2 and channels in the lanes (NHWC), of whole vectors: one row of
// windows after the other finds its maxima and adds to dx at once.
#include <atomic>
#include <limits>

#include "../parallel.hpp"
#include "backward.hpp"

namespace fastconv {
namespace {

constexpr Index kTaps = 3, kStride = 2;
constexpr Index kFewSets = 1024;  // bytes of a pixel whose neighbours, at any multiple of it, share a few sets of L1

// Rows [first, last) of dx, of all channels of an image; rows of windows at their ends give to others, too.
template <class T>
class LaneStripRows {
 public:
  static std::size_t bytes(const PoolProblem& p) { return 3 * Workspace::piece_bytes<T>(p.channels); }

  LaneStripRows(const PoolProblem& p, const GradientArrays<T>& a, Index batch, const Range& rows)
      : p_(p),
        rows_(rows),
        x_(a.x + batch * p.x.batch),
        dy_(a.dy + batch * p.y.batch),
        dx_(a.dx + batch * p.gradient.batch),
        workspace_(bytes(p)) {
    const auto pixel = [&](T value) {
      T* const v = workspace_.take<T>(p.channels);
      std::fill_n(v, p.channels, value);
      return v;
    };
    padding_ = pixel(-std::numeric_limits<T>::infinity()), nothing_ = pixel(0), unwanted_ = pixel(0);
  }

  // False if there is NaN.
  bool run() {
    const Axis& h = p_.height();
    const Holders holders{h};
    const Range windows{std::max<Index>(holders.first(rows_.first), 0), std::min(holders.last(rows_.last - 1), h.out)};
    Index done = rows_.first;  // rows before these have been given something
    for (Index oh = windows.first; oh < windows.last; ++oh) {
      if (!give(oh, done)) return false;
      done = std::max(done, std::min(h.input_of(oh, kTaps), rows_.last));
    }
    for (; done < rows_.last; ++done) zero(done, 0);
    for (Index row = rows_.first; row < rows_.last; ++row) zero(row, p_.width().input_of(p_.width().out - 1, kTaps));
    return true;
  }

 private:
  bool give(Index oh, Index done) const {
    const Axis &h = p_.height(), &w = p_.width();
    LaneStrips<T> s{};
    for (Index r = 0; r < kTaps; ++r) {
      const Index row = h.input_of(oh, r);
      const bool exists = row >= 0 && row < h.in, wanted = row >= rows_.first && row < rows_.last;
      s.x[r] = exists ? x_ + row * p_.x.space[kHeight] : padding_;
      s.x_step[r] = exists ? p_.x.space[kWidth] : 0;
      s.dx[r] = wanted ? dx_ + row * p_.gradient.space[kHeight] : unwanted_;
      s.dx_step[r] = wanted ? p_.gradient.space[kWidth] : 0;
    }
    const Index top = h.input_of(oh, 0);
    const bool given = top >= rows_.first && top < done;
    s.above = top < 0 ? std::numeric_limits<T>::quiet_NaN() : 0;
    s.known = given ? s.dx[0] : nothing_, s.known_step = given ? s.dx_step[0] : 0;
    s.dy = dy_ + oh * p_.y.space[kHeight], s.dy_step = p_.y.space[kWidth];
    s.windows = w.out, s.width = w.in, s.pad = w.pad, s.lanes = p_.channels;
    return kernels().of<T>().lane_strips(s);
  }

  // What no window holds.
  void zero(Index row, Index column) const {
    for (; column < p_.width().in; ++column) {
      std::fill_n(dx_ + offset_of(p_.gradient, 0, row, column), p_.channels, T(0));
    }
  }

  const PoolProblem& p_;
  Range rows_;
  const T *x_, *dy_;
  T* dx_;
  Workspace workspace_;
  T *padding_, *nothing_, *unwanted_;
};

template <class T>
bool applies(const PoolProblem& p, const GradientArrays<T>& a) {
  const Axis& d = p.depth();
  const auto fits = [](const Axis& x) {
    return x.dilation == 1 && x.kernel == kTaps && x.stride == kStride && (x.pad == 0 || x.pad == 1);
  };
  const bool lanes = p.y.channel == 1 && p.gradient.channel == 1 && p.x.channel == 1;
  // A walk along pixels wants its lines to stay in L1.
  if (p.channels * static_cast<Index>(sizeof(T)) % kFewSets == 0) return false;
  return a.indices == nullptr && kernels().of<T>().lane_strips != nullptr && lanes && p.channels > 1 &&
         p.channels % kernels().of<T>().lanes == 0 && d.in == 1 && d.out == 1 && d.kernel == 1 && fits(p.height()) &&
         fits(p.width());
}

}  // namespace

template <class T>
bool lane_strips_gradient(const PoolProblem& p, const GradientArrays<T>& a, int threads) {
  if (!applies(p, a) || LaneStripRows<T>::bytes(p) > kMaxWorkspace) return false;
  const Index wanted = threads == 1 ? 1 : 4 * threads, least = 4 * kTaps;
  const Panels rows(p.height().in, std::min(p.height().in, std::max(ceil_div(p.height().in * p.batch, wanted), least)));
  std::atomic<bool> valid{true};
  parallel_for(threads, p.batch * rows.count, [&](Index task) {
    const Index row = task % rows.count;
    const Range range{rows.start(row), rows.start(row) + rows.size(row)};
    if (!LaneStripRows<T>(p, a, task / rows.count, range).run()) valid.store(false, std::memory_order_relaxed);
  });
  return valid.load();
}

template bool lane_strips_gradient(const PoolProblem&, const GradientArrays<float>&, int);
template bool lane_strips_gradient(const PoolProblem&, const GradientArrays<double>&, int);

}  // namespace fastconv
