// U = G g G^T: weights are packed to [channel][tap][width] as for the direct convolution, a few channels at a time, and
// transformed while they lie in the cache.
#include "../cpu.hpp"
#include "../parallel.hpp"
#include "weights.hpp"
#include "winograd.hpp"

namespace fastconv {
namespace {

constexpr Index kChannelsAtOnce = 16;  // whole vectors, whatever the number of taps

}  // namespace

template <class T>
void transform_weights(const Problem& p, const WinogradPlan& plan, const T* w, const WeightRange& range, T* u,
                       Index point) {
  const Kernels<T>& k = kernels().of<T>();
  const Index width = plan.panels.size(range.panel) * k.lanes;
  const T* group = w + range.g * p.w.group;
  DirectPlan packing;
  packing.lanes = Orientation::kChannelLanes;
  packing.panels = plan.panels;
  alignas(kCacheLine) T packed[kChannelsAtOnce * 25 * kMaxTileVectors * kCacheLine / sizeof(T)];
  for (Index c = range.channel; c < range.end_channel; c += kChannelsAtOnce, u += kChannelsAtOnce * width) {
    const Index channels = std::min(kChannelsAtOnce, range.end_channel - c);
    pack_weight_panel(p, packing, group, {c, channels, 0, p.taps()}, range.panel, packed);
    if (c + channels < p.channels) {  // rows of weights lie pages apart, where no prefetcher of the CPU's follows
      const Reduction::Block next{c + channels, std::min(kChannelsAtOnce, p.channels - c - channels), 0, p.taps()};
      weight_panel_ahead(p, packing, group, next, range.panel).ask();
    }
    k.winograd[plan.form].weights({packed, channels, width, u, point});
  }
}

template <class T>
void pack_winograd(const Problem& p, const WinogradPlan& plan, const T* w, T* u) {
  const WinogradWeightLayout<T> layout(p, plan, kernels().of<T>().lanes);
  const Index panels = plan.panels.count;
  parallel_for(plan.threads, p.groups * panels, [&](Index i) {
    const Index g = i / panels, panel = i % panels;
    transform_weights(p, plan, w, {g, panel, 0, p.channels}, u + g * layout.group() + layout.panel(panel),
                      layout.point(panel));
  });
}

template void transform_weights(const Problem&, const WinogradPlan&, const float*, const WeightRange&, float*, Index);
template void transform_weights(const Problem&, const WinogradPlan&, const double*, const WeightRange&, double*, Index);
template void pack_winograd(const Problem&, const WinogradPlan&, const float*, float*);
template void pack_winograd(const Problem&, const WinogradPlan&, const double*, double*);

}  // namespace fastconv
