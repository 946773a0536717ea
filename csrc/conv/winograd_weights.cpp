// U = G g G^T: a few channels and a vector of outputs at a time are brought to [channel][tap][lane], where they are
// transformed while they lie in L1.
#include <algorithm>

#include "../cpu.hpp"
#include "../parallel.hpp"
#include "winograd.hpp"

namespace fastconv {
namespace {

constexpr Index kChannelsAtOnce = kWinogradUnit;
constexpr Index kMostTaps = 25;

// How the taps of one kernel follow each other in memory: 1, -1 (the gradient's flipped kernels), or 0, neither.
Index tap_order(const Problem& p) {
  const Index step = p.w.space[kWidth];
  return (step == 1 || step == -1) && p.w.space[kHeight] == step * p.width().kernel ? step : 0;
}

// The weights of channels [c, c + channels) of winograd_channels and outputs [o, o + outputs); lanes beyond them hold
// any numbers.
struct Piece {
  Index c, channels, o, outputs;

  Index first(const Problem& p) const {
    return o * p.w.out + c % p.channels * p.w.in + c / p.channels * p.w.space[kDepth];
  }
};

template <class T>
const T* tap_of(const Problem& p, const T* kernel, Index t) {
  return kernel + t / p.width().kernel * p.w.space[kHeight] + t % p.width().kernel * p.w.space[kWidth];
}

// A row is what lies together: an output's channels in OIHW arrays, a channel's outputs in the gradient's, those of one
// tap where its kernels were turned.
template <class T>
void prefetch(const Problem& p, const T* w, const Piece& piece) {
  constexpr Index line = 64 / static_cast<Index>(sizeof(T));
  const T* const first = w + piece.first(p);
  if (p.w.out == 1) {
    for (Index c = 0; c < piece.channels; ++c) {
      for (Index t = 0; t < plane_taps(p); ++t) __builtin_prefetch(tap_of(p, first + c * p.w.in, t), 0, 2);
    }
    return;
  }
  const bool by_output = p.w.in < p.w.out;
  const Index rows = by_output ? piece.outputs : piece.channels, step = by_output ? p.w.out : p.w.in;
  const Index length = plane_taps(p) * (by_output ? piece.channels : piece.outputs);
  const T* row = first + std::min<Index>(0, tap_order(p)) * (plane_taps(p) - 1);
  for (Index i = 0; i < rows; ++i, row += step) {
    for (Index j = 0; j < length; j += line) __builtin_prefetch(row + j, 0, 2);
  }
}

// to[channel][tap][lane]; taps in the order of memory.
template <class T>
void gather(const Problem& p, const T* w, const Piece& piece, T* to) {
  const Kernels<T>& k = kernels().of<T>();
  const Index order = tap_order(p), taps = plane_taps(p), lanes = k.lanes;
  const T* from = w + piece.first(p);
  if (order == 1 && p.w.in == taps) {
    k.interleave({from, p.w.out, piece.outputs, piece.channels * taps, to});
  } else if (order != 0) {
    from += std::min<Index>(0, order) * (taps - 1);
    for (Index c = 0; c < piece.channels; ++c) {
      k.interleave({from + c * p.w.in, p.w.out, piece.outputs, taps, to + c * taps * lanes});
    }
  } else {
    for (Index c = 0; c < piece.channels; ++c, from += p.w.in) {
      for (Index t = 0; t < taps; ++t, to += lanes) {
        const T* const tap = tap_of(p, from, t);
        if (p.w.out == 1) {
          std::copy_n(tap, piece.outputs, to);
          continue;
        }
        for (Index o = 0; o < lanes; ++o) to[o] = o < piece.outputs ? tap[o * p.w.out] : T(0);
      }
    }
  }
}

}  // namespace

template <class T>
void transform_weights(const Problem& p, const WinogradPlan& plan, const T* w, const WeightRange& range, T* u,
                       Index point) {
  const Kernels<T>& k = kernels().of<T>();
  const Index lanes = k.lanes, width = plan.panels.size(range.panel) * lanes, taps = plane_taps(p);
  const Index first = plan.panels.start(range.panel) * lanes;
  const T* group = w + range.g * p.w.group;
  alignas(kCacheLine) T piece[kChannelsAtOnce * kMostTaps * kCacheLine / sizeof(T)];
  const bool backwards = tap_order(p) < 0;
  for (Index c = range.channel; c < range.end_channel; c += kChannelsAtOnce, u += kChannelsAtOnce * width) {
    const Index channels = std::min(kChannelsAtOnce, range.end_channel - c);
    for (Index v = 0; v < width; v += lanes) {
      const Index outputs = std::min(lanes, p.outputs - first - v);
      gather(p, group, {c, channels, first + v, outputs}, piece);
      const Index next = c + channels;
      if (next < range.end_channel)
        prefetch(p, group, {next, std::min(kChannelsAtOnce, range.end_channel - next), first + v, outputs});
      k.winograd[plan.form.kernels].weights({piece + (backwards ? (taps - 1) * lanes : 0), taps * lanes,
                                             backwards ? -lanes : lanes, channels, u + v, point, width});
    }
  }
}

template <class T>
void transform_pass(const Problem& p, const WinogradPlan& plan, const T* w, const Pass& pass, T* u) {
  const WinogradWeightLayout<T> layout(p, plan, kernels().of<T>().lanes);
  const Index channels = winograd_channels(p), units = ceil_div(channels, kWinogradUnit);
  const Index panels = pass.end_panel - pass.panel, all = pass.groups * panels;
  // Parts of the channels, so that the threads have as much to do.
  Index wanted = 1;
  while (all * wanted % plan.threads != 0 && all * wanted < 4 * plan.threads) ++wanted;
  const Panels parts(units, ceil_div(units, std::min(wanted, units)));
  parallel_for(plan.threads, all * parts.count, [&](Index i) {
    const Index part = i % parts.count, panel = pass.panel + i / parts.count % panels, g = i / parts.count / panels;
    const Index first = parts.start(part) * kWinogradUnit;
    const Index end = std::min(channels, first + parts.size(part) * kWinogradUnit);
    T* const to = u + g * layout.group() + layout.panel(panel) - layout.panel(pass.panel);
    transform_weights(p, plan, w, {pass.group + g, panel, first, end}, to + first * layout.width(panel),
                      layout.point(panel));
  });
}

template <class T>
void pack_winograd(const Problem& p, const WinogradPlan& plan, const T* w, T* u) {
  transform_pass(p, plan, w, {0, p.groups, 0, plan.panels.count}, u);
}

template void transform_weights(const Problem&, const WinogradPlan&, const float*, const WeightRange&, float*, Index);
template void transform_weights(const Problem&, const WinogradPlan&, const double*, const WeightRange&, double*, Index);
template void transform_pass(const Problem&, const WinogradPlan&, const float*, const Pass&, float*);
template void transform_pass(const Problem&, const WinogradPlan&, const double*, const Pass&, double*);
template void pack_winograd(const Problem&, const WinogradPlan&, const float*, float*);
template void pack_winograd(const Problem&, const WinogradPlan&, const double*, double*);

}  // namespace fastconv
