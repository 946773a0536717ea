// Pooling of planes whose rows are contiguous (NCHW), by windows so small that registers hold what they share.
#include <limits>

#include "forward.hpp"

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

template void pool_rolling(const PoolProblem&, const PoolPlan&, const PoolArrays<float>&, const PoolBlock&, Workspace&);
template void pool_rolling(const PoolProblem&, const PoolPlan&, const PoolArrays<double>&, const PoolBlock&,
                           Workspace&);

}  // namespace fastconv
