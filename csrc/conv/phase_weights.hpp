// The gradient of the input with a stride: each phase (grad_input_phase) takes every s-th tap of the weights,
// transposed. Here the weights of all phases are packed on one way over them, kernel after kernel as they lie.
#pragma once

#include <optional>
#include <vector>

#include "../memory.hpp"
#include "plan.hpp"

namespace fastconv {

constexpr Index kMostTurned = 64;               // taps
constexpr Index kTurnedAhead = Index{6} << 10;  // bytes: what comes next of kernels that lie one after the other

// Asks for `count` elements of weights that will be turned soon; w: those that are turned now.
template <class T>
inline void ask_for_kernels(const T* w, Index count) {
  const char* const next = reinterpret_cast<const char*>(w) + kTurnedAhead;
  for (Index i = 0; i < count * static_cast<Index>(sizeof(T)); i += 64) __builtin_prefetch(next + i);
}

template <class T>
class PhaseWeights {
 public:
  // turned: the forward problem with weights [output][tap][channel].
  PhaseWeights(const Problem& turned, int threads);

  // Whether that is the best way: channels of dx go into the lanes in all phases, and none that matters is one for
  // Winograd's algorithm.
  bool fit() const { return elements_ > 0; }
  // Of w, where a kernel is [channel][tap] and `from` tells where kernels lie.
  void pack(const T* w, const WeightStrides& from);
  // The phase's part of dx.
  void convolve(Index phase, const T* grad_output, const T* bias, T* dx) const;

 private:
  struct Phase {
    Problem problem;
    ConvPlan plan;
    Index first = 0;         // of its packed weights
    std::vector<Index> tap;  // of the forward problem, for each of its own
  };
  bool plan_phase(const GradInputPhase& gradient, Phase& phase);
  void pack_output(const T* w, Index g, Index o) const;

  const Problem& p_;
  int threads_;
  std::vector<Phase> phases_;
  Index elements_ = 0;
  std::optional<RecycledBlock> packed_;
};

}  // namespace fastconv
