// Winograd's convolution: see winograd_plan.hpp for what it computes, kernels/winograd_points.hpp for why.
#pragma once

#include "../workspace.hpp"
#include "winograd_plan.hpp"

namespace fastconv {

// Where transformed weights lie: [group][panel][point][channel][width]. A point's matrix ends with a cache line of
// nothing, or the points of a tile would all fall into one set of the cache.
template <class T>
struct WinogradWeightLayout {
  Index lanes, channels, points;
  const Panels& panels;

  WinogradWeightLayout(const Problem& p, const WinogradPlan& plan, Index vector_lanes)
      : lanes(vector_lanes), channels(winograd_channels(p)), points(plan.form.weights()), panels(plan.panels) {}

  static constexpr Index kGap = 64 / static_cast<Index>(sizeof(T));
  Index width(Index panel) const { return panels.size(panel) * lanes; }
  Index point(Index panel) const { return channels * width(panel) + kGap; }
  Index panel(Index i) const { return points * (panels.start(i) * lanes * channels + i * kGap); }
  Index group() const { return panel(panels.count); }
};

// What a task keeps, in elements; see Workspace.
template <class T>
struct WinogradRooms {
  Index channels, outputs;          // V's and M's rows
  Index u_point, v_point, m_point;  // from a point's matrix to the next
  Index u, v, m, staged, finished;  // in all

  explicit WinogradRooms(const WinogradPlan& plan);
  std::size_t bytes() const {
    std::size_t sum = 0;
    for (const Index room : {u, v, m, staged, finished}) sum += Workspace::piece_bytes<T>(room);
    return sum;
  }
};

// The weights of one pass: groups [group, group + groups), panels [panel, end_panel) of each.
struct Pass {
  Index group, groups, panel, end_panel;
};

struct WeightRange {
  Index g, panel, channel, end_channel;
};

// U = G g G^T of a panel's channels, u[point][channel][width]; `point` is the distance between matrices.
template <class T>
void transform_weights(const Problem& p, const WinogradPlan& plan, const T* w, const WeightRange& range, T* u,
                       Index point);

// Those of a pass, all channels, to u, on the plan's threads.
template <class T>
void transform_pass(const Problem& p, const WinogradPlan& plan, const T* w, const Pass& pass, T* u);

// All groups and panels, as in WinogradWeightLayout.
template <class T>
void pack_winograd(const Problem& p, const WinogradPlan& plan, const T* w, T* u);

// `packed` is what pack_winograd made, or null.
template <class T>
void winograd_forward(const Problem& p, const WinogradPlan& plan, const Operands<T>& a, const T* packed);

}  // namespace fastconv
