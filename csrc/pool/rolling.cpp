// Pooling of planes whose rows are contiguous (NCHW), by windows so small that registers hold what they share.
#include <limits>
#include <vector>

#include "../parallel.hpp"
#include "backward.hpp"

namespace fastconv {

std::optional<RollWindow> roll_window(const PoolProblem& p) {
  const Axis &d = p.depth(), &h = p.height(), &w = p.width();
  const bool square =
      h.kernel == w.kernel && (h.stride == w.stride || h.out == 1) && h.dilation == 1 && w.dilation == 1;
  const bool upwards = p.x.batch >= 0 && p.x.channel >= 0 && p.x.space[kHeight] >= 0;
  if (!square || !upwards || d.in != 1 || d.kernel != 1) return std::nullopt;
  if (w.kernel == 2 && w.stride == 2) return kRoll2x2Stride2;
  if (w.kernel == 3 && w.stride == 1) return kRoll3x3;
  if (w.kernel == 3 && w.stride == 2) return kRoll3x3Stride2;
  return std::nullopt;
}

template <class T>
void pool_rolling(const PoolProblem& p, const PoolPlan&, const PoolArrays<T>& a, const PoolBlock& b, Workspace&) {
  const Axis &h = p.height(), &w = p.width();
  const auto dense = [&](const ImageStrides& s) {
    return s.space[kHeight] == w.out && (b.lanes.size() == 1 || s.channel == b.rows.size() * w.out);
  };
  Roll<T> t{};
  t.x = a.x + b.batch * p.x.batch + b.lanes.first * p.x.channel;
  t.x_plane = p.x.channel;
  t.x_row = p.x.space[kHeight];
  t.height = h.in;
  t.width = w.in;
  t.pad_top = h.pad;
  t.pad_left = w.pad;
  t.x_begin = a.x;
  t.x_end = a.x_end;
  t.y = a.y + b.batch * p.y.batch + b.lanes.first * p.y.channel + b.rows.first * p.y.space[kHeight];
  t.y_plane = p.y.channel;
  t.y_row = p.y.space[kHeight];
  t.planes = b.lanes.size();
  t.first = b.rows.first;
  t.rows = b.rows.size();
  t.n = w.out;
  t.padding = a.kind == kFoldSum ? T(-0.0) : -std::numeric_limits<T>::infinity();
  t.scale = a.kind == kFoldSum ? a.rows + b.rows.first : nullptr;
  if (dense(p.y)) t.y_end = t.y + t.planes * t.rows * t.n;
  if (a.indices != nullptr) {
    t.indices = a.indices + b.batch * p.indices.batch + b.lanes.first * p.indices.channel +
                b.rows.first * p.indices.space[kHeight];
    t.indices_plane = p.indices.channel;
    t.indices_row = p.indices.space[kHeight];
    if (dense(p.indices)) t.indices_end = t.indices + t.planes * t.rows * t.n;
  }
  kernels().of<T>().roll[a.kind][*roll_window(p)](t);
}

namespace {

constexpr Index kTaskElements = 1 << 14;

// The gradient of some planes of 3x3 averages with stride 1: what forward does, over dy times its factors.
template <class T>
struct RollingGradient {
  const PoolProblem& p;
  const T* const* factors;  // of dy's rows
  const T* const* ones;     // of dx's
  const T* dy_end;          // of what may be read, if it is known

  Index size() const { return p.height().out * p.width().out; }
  std::size_t bytes(Index planes) const { return Workspace::piece_bytes<T>(planes * size() + kernels().of<T>().lanes); }

  void run(const T* dy, T* dx, Index planes) const {
    const Axis &h = p.height(), &w = p.width();
    const Kernels<T>& k = kernels().of<T>();
    Workspace workspace(bytes(planes));
    T* const scaled = workspace.take<T>(planes * size() + k.lanes);
    k.pad_rows({dy,
                planes,
                1,
                {p.y.channel, 0, p.y.space[kHeight]},
                h.out,
                w.out,
                dy_end,
                scaled,
                0,
                w.out,
                size(),
                T(0),
                factors});
    Roll<T> t{};
    t.x = t.x_begin = scaled;
    t.x_end = scaled + planes * size();
    t.x_plane = size(), t.x_row = w.out, t.height = h.out, t.width = w.out;
    t.pad_top = h.kernel - 1 - h.pad, t.pad_left = w.kernel - 1 - w.pad;
    t.y = dx, t.y_plane = p.gradient.channel, t.y_row = p.gradient.space[kHeight];
    t.planes = planes, t.rows = h.in, t.n = w.in;
    t.padding = T(-0.0), t.scale = ones;
    if (t.y_row == w.in && (planes == 1 || t.y_plane == h.in * w.in)) t.y_end = dx + planes * h.in * w.in;
    k.roll[kFoldSum][kRoll3x3](t);
  }
};

}  // namespace

template <class T>
bool rolling_average_gradient(const PoolProblem& p, const GradientArrays<T>& a, int threads) {
  const Axis &h = p.height(), &w = p.width();
  const auto small = [](const Axis& axis) {
    return axis.kernel == 3 && axis.stride == 1 && axis.dilation == 1 && axis.pad >= 0 && axis.pad < axis.kernel;
  };
  const bool rows = (w.out == 1 || p.y.space[kWidth] == 1) && (w.in == 1 || p.gradient.space[kWidth] == 1);
  if (p.depth().in != 1 || p.depth().kernel != 1 || !small(h) || !small(w) || !rows) return false;
  const Index planes = std::clamp<Index>(kTaskElements / p.plane_size(), 1, p.channels);
  const PlaneFactors<T> factors(p);
  const std::vector<T> ones(static_cast<std::size_t>(w.in + kernels().of<T>().lanes), T(1));
  const std::vector<const T*> one_rows(static_cast<std::size_t>(h.in), ones.data());
  const bool dense = p.batch == 1 && p.y.channel == p.pixels() && dense_planes(p.y, 1, h.out, w.out);
  const T* const dy_end = dense ? a.dy + p.channels * p.pixels() : nullptr;
  const RollingGradient<T> gradient{p, factors.rows(), one_rows.data(), dy_end};
  if (gradient.bytes(planes) > kMaxWorkspace / 2) return false;
  const Index groups = ceil_div(p.channels, planes);
  parallel_for(threads, p.batch * groups, [&](Index task) {
    const Index batch = task / groups, first = task % groups * planes;
    gradient.run(a.dy + batch * p.y.batch + first * p.y.channel,
                 a.dx + batch * p.gradient.batch + first * p.gradient.channel, std::min(planes, p.channels - first));
  });
  return true;
}

template bool rolling_average_gradient(const PoolProblem&, const GradientArrays<float>&, int);
template bool rolling_average_gradient(const PoolProblem&, const GradientArrays<double>&, int);
template void pool_rolling(const PoolProblem&, const PoolPlan&, const PoolArrays<float>&, const PoolBlock&, Workspace&);
template void pool_rolling(const PoolProblem&, const PoolPlan&, const PoolArrays<double>&, const PoolBlock&,
                           Workspace&);

}  // namespace fastconv
