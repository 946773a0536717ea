#include "weights.hpp"

#include <algorithm>

#include "../cpu.hpp"
#include "../parallel.hpp"

namespace fastconv {
namespace {

// Elements (channel, tap) of one output follow each other, as in a contiguous OIHW array.
bool reduction_contiguous(const Problem& p) {
  const auto& s = p.w.space;
  const Index kw = p.width().kernel, kh = p.height().kernel, kd = p.depth().kernel;
  return (kw == 1 || s[kWidth] == 1) && (kh == 1 || s[kHeight] == kw) &&
         (kd == 1 || s[kDepth] == kw * kh) && (p.channels == 1 || p.w.in == kw * kh * kd);
}

// Any strides, one step of the reduction at a time.
template <class T>
void pack_strided(const Problem& p, const T* w, const Reduction::Block& b, Index outputs, Index width,
                  T* dst) {
  const Index kw = p.width().kernel, kh = p.height().kernel;
  for (Index c = b.channel; c < b.channel + b.channels; ++c) {
    for (Index t = b.tap; t < b.tap + b.taps; ++t, dst += width) {
      const T* src = w + c * p.w.in + t / (kw * kh) * p.w.space[kDepth] +
                     t / kw % kh * p.w.space[kHeight] + t % kw * p.w.space[kWidth];
      if (p.w.out == 1) {
        std::copy_n(src, outputs, dst);
      } else {
        for (Index o = 0; o < outputs; ++o) dst[o] = src[o * p.w.out];
      }
    }
  }
}

}  // namespace

template <class T>
void pack_weight_panel(const Problem& p, const DirectPlan& plan, const T* w, const Reduction::Block& b,
                       Index panel, T* dst) {
  const Kernels<T>& k = kernels().of<T>();
  const Index unit = plan.lanes == Orientation::kChannelLanes ? k.lanes : 1;
  const Index first = plan.panels.start(panel) * unit;
  const Index width = plan.panels.size(panel) * unit;
  const Index outputs = std::min(width, p.outputs - first);
  const T* src = w + first * p.w.out;
  if (reduction_contiguous(p)) {
    k.transpose({src + b.first(p.taps()), p.w.out, outputs, b.depth(), dst, width, nullptr, false});
  } else {
    pack_strided(p, src, b, outputs, width, dst);
  }
  if (outputs == width) return;
  for (Index i = 0; i < b.depth(); ++i) {
    std::fill(dst + i * width + outputs, dst + (i + 1) * width, T(0));
  }
}

template <class T>
void pack_weights(const Problem& p, const DirectPlan& plan, const T* w, T* dst, int threads) {
  const WeightLayout layout(p, plan, kernels().of<T>().lanes);
  const Index blocks = plan.reduction.count(), panels = plan.panels.count;
  parallel_for(threads, p.groups * panels, [&](Index task) {
    const Index g = task / panels, panel = task % panels;
    for (Index i = 0; i < blocks; ++i) {
      const Reduction::Block b = plan.reduction.block(i);
      pack_weight_panel(p, plan, w + g * p.w.group, b, panel,
                        dst + g * layout.group + layout.panel(p, plan, b, panel));
    }
  });
}

template void pack_weight_panel(const Problem&, const DirectPlan&, const float*,
                                const Reduction::Block&, Index, float*);
template void pack_weight_panel(const Problem&, const DirectPlan&, const double*,
                                const Reduction::Block&, Index, double*);
template void pack_weights(const Problem&, const DirectPlan&, const float*, float*, int);
template void pack_weights(const Problem&, const DirectPlan&, const double*, double*, int);

}  // namespace fastconv
