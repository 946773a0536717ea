#include "channel_lanes.hpp"

namespace fastconv {
namespace {

// Whether each row of outputs ends where the next one starts.
bool dense_rows(const PoolProblem& p, const ImageStrides& s, const PoolBlock& b) {
  return s.space[kWidth] == b.lanes.size() && s.space[kHeight] == p.width().out * s.space[kWidth] &&
         b.columns.size() == p.width().out;
}

}  // namespace

template <class T>
void pool_channel_lanes(const PoolProblem& p, const PoolPlan& plan, const PoolArrays<T>& a, const PoolBlock& b,
                        Workspace& workspace) {
  LaneArrays<T> arrays{};
  arrays.axis = p.axis;
  arrays.lanes = b.lanes.size();
  arrays.x = a.x + b.batch * p.x.batch + b.lanes.first;
  arrays.x_space = p.x.space;
  arrays.x_end = a.x_end;
  arrays.y = a.y + b.batch * p.y.batch + b.lanes.first;
  arrays.y_space = p.y.space;
  arrays.y_end = dense_rows(p, p.y, b) ? arrays.y + offset_of(p.y, b.od, b.rows.last, 0) : nullptr;
  if (a.indices != nullptr) {
    arrays.indices = a.indices + b.batch * p.indices.batch + b.lanes.first;
    if (dense_rows(p, p.indices, b)) arrays.indices_end = arrays.indices + offset_of(p.indices, b.od, b.rows.last, 0);
  }
  arrays.indices_space = p.indices.space;
  arrays.place_space = {p.height().in * p.width().in, p.width().in, 1};
  RowFactors<T> factors(p, b.columns, workspace.take<T>(a.kind == kFoldSum ? b.columns.size() : 0), a.whole);
  ChannelLanes<T> lanes(arrays, a.kind, b.od, b.rows, b.columns);
  lanes.run(plan.separable, workspace, [&](Index oh) { return factors.of(b.od, oh); });
}

template void pool_channel_lanes(const PoolProblem&, const PoolPlan&, const PoolArrays<float>&, const PoolBlock&,
                                 Workspace&);
template void pool_channel_lanes(const PoolProblem&, const PoolPlan&, const PoolArrays<double>&, const PoolBlock&,
                                 Workspace&);

}  // namespace fastconv
