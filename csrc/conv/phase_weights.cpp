#include "phase_weights.hpp"

#include "../cpu.hpp"
#include "../parallel.hpp"
#include "conv.hpp"
#include "weights.hpp"

namespace fastconv {
namespace {

constexpr Index kFewPixels = 128;       // of all images: to transform weights for them does not pay
constexpr Index kTaskBytes = 64 << 10;  // of weights

// The phase with most taps.
GradInputPhase largest_phase(const Problem& forward) {
  GradInputPhase largest = grad_input_phase(forward, 0);
  for (Index i = 1; i < count_phases(forward); ++i) {
    const GradInputPhase phase = grad_input_phase(forward, i);
    if (phase.problem.taps() > largest.problem.taps()) largest = phase;
  }
  return largest;
}

template <class T>
bool without_winograd(const Problem& turned, int threads) {
  const Problem p = simplified(largest_phase(turned).problem);
  return p.batch * p.pixels() <= kFewPixels || plan_conv<T>(p, false, threads).algorithm == Algorithm::kDirect;
}

}  // namespace

template <class T>
PhaseWeights<T>::PhaseWeights(const Problem& turned, int threads) : p_(turned), threads_(threads) {
  if (!without_winograd<T>(p_, threads)) return;
  const Index phases = count_phases(p_);
  phases_.resize(static_cast<std::size_t>(phases));
  Index elements = 0;
  for (Index i = 0; i < phases; ++i) {
    Phase& phase = phases_[static_cast<std::size_t>(i)];
    const GradInputPhase gradient = grad_input_phase(p_, i);
    if (gradient.problem.flops() == 0) continue;
    phase.first = elements;
    if (!plan_phase(gradient, phase)) return;
    elements += packed_elements<T>(phase.problem, phase.plan);
  }
  elements_ = elements;
}

template <class T>
bool PhaseWeights<T>::plan_phase(const GradInputPhase& gradient, Phase& phase) {
  const auto& step = gradient.problem.w.space;
  const std::array<Axis, kSpatial>& axis = gradient.problem.axis;
  for (Index d = 0; d < axis[kDepth].kernel; ++d) {
    for (Index r = 0; r < axis[kHeight].kernel; ++r) {
      for (Index s = 0; s < axis[kWidth].kernel; ++s) {
        const Index offset = gradient.w_offset + d * step[kDepth] + r * step[kHeight] + s * step[kWidth];
        phase.tap.push_back(offset / p_.channels);
      }
    }
  }
  phase.problem = simplified(gradient.problem);
  phase.plan = plan_conv<T>(phase.problem, true, threads_, Algorithm::kDirect);
  return phase.plan.algorithm == Algorithm::kDirect && phase.plan.direct.lanes == Orientation::kChannelLanes &&
         phase.plan.direct.reduction.tap_blocks.count == 1;
}

// Of one output: all taps of a vector of channels at a time, each to its row of a panel.
template <class T>
void PhaseWeights<T>::pack_output(const T* w, Index g, Index o) const {
  const Kernels<T>& k = kernels().of<T>();
  std::ptrdiff_t place[kMostTurned];
  std::fill_n(place, p_.taps(), elements_);  // of taps that lead to no pixel
  const Panels panels(ceil_div(p_.channels, k.lanes), k.tile_vectors);
  for (Index panel = 0; panel < panels.count; ++panel) {
    const Index start = panels.start(panel) * k.lanes, wide = panels.size(panel) * k.lanes;
    for (const Phase& phase : phases_) {
      if (phase.tap.empty()) continue;
      const Reduction& reduction = phase.plan.direct.reduction;
      const WeightLayout layout(phase.problem, phase.plan.direct, k.lanes);
      const Reduction::Block b = reduction.block(reduction.channel_blocks.panel_of(o));
      Index at = phase.first + g * layout.group + layout.panel(phase.problem, phase.plan.direct, b, panel) +
                 (o - b.channel) * b.taps * wide;
      for (const Index tap : phase.tap) {
        place[tap] = at;
        at += wide;
      }
    }
    for (Index c = start; c < std::min(start + wide, p_.channels); c += k.lanes) {
      const Index channels = std::min<Index>(k.lanes, p_.channels - c);
      const T* const from = w + c * p_.taps();
      ask_for_kernels(from, channels * p_.taps());
      k.interleave({from, p_.taps(), channels, p_.taps(), packed_->template as<T>() + (c - start), place});
    }
  }
}

template <class T>
void PhaseWeights<T>::pack(const T* w, const WeightStrides& from) {
  const Kernels<T>& k = kernels().of<T>();
  packed_.emplace(static_cast<std::size_t>(elements_ + k.tile_vectors * k.lanes) * sizeof(T));
  const Index each = std::max<Index>(1, kTaskBytes / static_cast<Index>(sizeof(T)) / (p_.channels * p_.taps()));
  const Index outputs = p_.groups * p_.outputs, tasks = ceil_div(outputs, each);
  const int useful = useful_threads(8 * static_cast<double>(elements_), tasks, threads_);
  parallel_for(useful, tasks, [&](Index i) {
    for (Index o = i * each; o < std::min(outputs, (i + 1) * each); ++o) {
      const Index g = o / p_.outputs;
      pack_output(w + g * from.group + o % p_.outputs * from.out, g, o % p_.outputs);
    }
  });
}

template <class T>
void PhaseWeights<T>::convolve(Index phase, const T* grad_output, const T* bias, T* dx) const {
  const Phase& one = phases_[static_cast<std::size_t>(phase)];
  const T* const packed = packed_->template as<const T>() + one.first;
  conv_forward<T>(one.problem, one.plan, {grad_output, nullptr, bias, dx}, packed);
}

template class PhaseWeights<float>;
template class PhaseWeights<double>;

}  // namespace fastconv
