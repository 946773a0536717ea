// Pooling of planes whose rows make poor vectors: short ones, strides beyond 2. As many planes as a vector has
// lanes are transposed, pooled with planes in the lanes, and the result is transposed back.
#include "channel_lanes.hpp"

namespace fastconv {
namespace {

// The box of the input that a block's windows reach, as axes of their own: the same windows, cut at its ends.
Axis cut(const Axis& a, const Range& out, const Range& in) {
  Axis box = a;
  box.in = in.size();
  box.out = out.size();
  box.pad = in.first - a.input_of(out.first, 0);
  return box;
}

}  // namespace

template <class T>
void pool_plane_lanes(const PoolProblem& p, const PoolPlan& plan, const PoolArrays<T>& a, const PoolBlock& b,
                      Workspace& workspace) {
  const Kernels<T>& k = kernels().of<T>();
  const Index lanes = k.lanes, planes = b.lanes.size();
  const Range d = reach_of(p.depth(), b.od, b.od + 1), h = reach_of(p.height(), b.rows.first, b.rows.last),
              w = reach_of(p.width(), b.columns.first, b.columns.last);
  const Index outputs = b.rows.size() * b.columns.size();
  T* const x = workspace.take<T>((d.size() * h.size() * w.size() + lanes) * lanes);
  T* const to = a.y + b.batch * p.y.batch + b.lanes.first * p.y.channel;
  const bool in_place = outputs == 1 && p.y.channel == 1 && p.depth().out == 1;  // one output of each plane
  T* const y = in_place ? to : workspace.take<T>(outputs * lanes);
  Index* const indices = a.indices == nullptr ? nullptr : workspace.take<Index>(outputs * lanes);
  RowFactors<T> factors(p, b.columns, workspace.take<T>(a.kind == kFoldSum ? b.columns.size() : 0), a.whole);

  const T* from = a.x + b.batch * p.x.batch + b.lanes.first * p.x.channel;
  const bool whole_rows = w.size() == p.width().in && p.x.space[kHeight] == w.size();
  const Index rows = whole_rows ? 1 : h.size();
  const Index columns = whole_rows ? h.size() * w.size() : w.size();
  for (Index id = 0; id < d.size(); ++id) {
    for (Index row = 0; row < rows; ++row) {
      k.interleave({from + offset_of(p.x, d.first + id, h.first + row, w.first), p.x.channel, planes, columns,
                    x + (id * h.size() * w.size() + row * w.size()) * lanes});
    }
  }

  LaneArrays<T> arrays{};
  arrays.axis = {cut(p.depth(), {b.od, b.od + 1}, d), cut(p.height(), b.rows, h), cut(p.width(), b.columns, w)};
  arrays.lanes = in_place ? planes : lanes;
  arrays.x = x;
  arrays.x_space = {h.size() * w.size() * lanes, w.size() * lanes, lanes};
  arrays.y = y;
  arrays.y_space = {0, b.columns.size() * lanes, lanes};
  arrays.indices = indices;
  arrays.indices_space = arrays.y_space;
  arrays.place = (d.first * p.height().in + h.first) * p.width().in + w.first;
  arrays.place_space = {p.height().in * p.width().in, p.width().in, 1};
  ChannelLanes<T> pool(arrays, a.kind, 0, {0, b.rows.size()}, {0, b.columns.size()});
  pool.run(plan.separable, workspace, [&](Index oh) { return factors.of(b.od, b.rows.first + oh); });

  for (Index row = 0; row < b.rows.size(); ++row) {
    if (!in_place)
      k.transpose({y + row * b.columns.size() * lanes, lanes, b.columns.size(), planes,
                   to + offset_of(p.y, b.od, b.rows.first + row, b.columns.first), p.y.channel, nullptr, false});
    if (a.indices == nullptr) continue;
    Index* const index = a.indices + b.batch * p.indices.batch + b.lanes.first * p.indices.channel +
                         offset_of(p.indices, b.od, b.rows.first + row, b.columns.first);
    for (Index lane = 0; lane < planes; ++lane) {
      for (Index i = 0; i < b.columns.size(); ++i) {
        index[lane * p.indices.channel + i] = indices[(row * b.columns.size() + i) * lanes + lane];
      }
    }
  }
}

template void pool_plane_lanes(const PoolProblem&, const PoolPlan&, const PoolArrays<float>&, const PoolBlock&,
                               Workspace&);
template void pool_plane_lanes(const PoolProblem&, const PoolPlan&, const PoolArrays<double>&, const PoolBlock&,
                               Workspace&);

}  // namespace fastconv
