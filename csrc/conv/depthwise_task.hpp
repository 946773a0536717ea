// What one thread does for depthwise_forward: block after block of one group's output planes.
#pragma once

#include <optional>

#include "../cpu.hpp"
#include "../workspace.hpp"
#include "depthwise.hpp"
#include "plane_rows.hpp"
#include "plane_stage.hpp"

namespace fastconv {

template <class T>
class DepthwiseTask {
 public:
  DepthwiseTask(const Problem& p, const DepthwisePlan& plan, const Operands<T>& a)
      : p_(p),
        plan_(plan),
        a_(a),
        k_(kernels().of<T>()),
        stage_geometry_(stage_geometry(p, plan)),
        workspace_(bytes(p, plan)),
        weights_(workspace_.template take<T>(weights(p))),
        sums_(workspace_.template take<T>(sums(p, plan))) {
    if (plan.kernel == DepthwiseKernel::kRows) {
      rows_.emplace(p, plan.block_height, plan.block_width, a.x, workspace_);
    } else {
      stage_ = workspace_.template take<T>(planes(p) * stage_geometry_.plane());
      offset_ = workspace_.template take<Index>(products(p));
      stage_geometry_.tap_offsets(p, offset_);
    }
  }

  void run(Index first, Index end);

  static bool dense_weights(const Problem& p);
  static void copy_weights(const Problem& p, const T* w, T* to);

  static std::size_t bytes(const Problem& p, const DepthwisePlan& plan) {
    const std::size_t own = Workspace::piece_bytes<T>(weights(p)) + Workspace::piece_bytes<T>(sums(p, plan));
    if (plan.kernel == DepthwiseKernel::kRows) {
      return own + PlaneRows<T>::bytes(p, plan.block_height, plan.block_width);
    }
    return own + Workspace::piece_bytes<T>(planes(p) * stage_geometry(p, plan).plane()) +
           Workspace::piece_bytes<Index>(products(p));
  }

 private:
  static PlaneStage stage_geometry(const Problem& p, const DepthwisePlan& plan) {
    return {p, plan.block_height, plan.block_width, 1};
  }
  static Index planes(const Problem& p) { return p.channels * p.depth().kernel; }
  static Index products(const Problem& p) { return p.channels * p.taps(); }
  static Index weights(const Problem& p) { return dense_weights(p) ? 0 : p.outputs * products(p); }
  // Of one output channel: the flattened stage, or the rows as they will be stored.
  static Index sums_of_channel(const Problem& p, const DepthwisePlan& plan);
  static Index sums(const Problem& p, const DepthwisePlan& plan);

  struct Block {
    Index n, g, od, oh, ow, height, width;
  };
  void convolve(const Block& b);
  const T* group_weights(Index g);
  T* output(const Block& b, Index o) const;
  void convolve_rows(const Block& b);
  void convolve_runs(const Block& b);
  void store(const Block& b, Index o, const T* sums, Index pitch) const;

  const Problem& p_;
  const DepthwisePlan& plan_;
  const Operands<T>& a_;
  const Kernels<T>& k_;
  PlaneStage stage_geometry_;
  Workspace workspace_;
  T* weights_;
  T* sums_;
  std::optional<PlaneRows<T>> rows_;  // of windows that have a row kernel
  T* stage_ = nullptr;                // of all others
  Index* offset_ = nullptr;
};

}  // namespace fastconv
