// What the sweeps with channels or groups in the lanes share: the stride phases of dX, and dY's padding that serves all
// of them.
#pragma once

#include <algorithm>
#include <vector>

#include "../problem.hpp"

namespace fastconv {

inline std::vector<GradInputPhase> gradient_phases(const Problem& forward) {
  std::vector<GradInputPhase> phases;
  for (Index i = 0; i < count_phases(forward); ++i) phases.push_back(grad_input_phase(forward, i));
  return phases;
}

// dY as a stage holds it: a window of one tap and so much padding that the taps of all phases lie inside.
inline Problem with_margins(const Problem& forward, const std::vector<GradInputPhase>& phases) {
  Problem p = forward;
  p.x = forward.y;
  for (const SpatialAxis s : {kHeight, kWidth}) {
    const Index size = forward.axis[s].out;
    Index before = 0, end = size;
    for (const GradInputPhase& phase : phases) {
      const Axis& a = phase.problem.axis[s];
      if (phase.problem.taps() == 0 || a.out == 0) continue;
      before = std::max(before, a.pad);
      end = std::max(end, a.input_of(a.out - 1, a.kernel - 1) + 1);
    }
    p.axis[s] = {};
    p.axis[s].in = size;
    p.axis[s].pad = before;
    p.axis[s].out = before + end;
  }
  return p;
}

}  // namespace fastconv
