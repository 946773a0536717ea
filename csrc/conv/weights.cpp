#include "weights.hpp"

#include <algorithm>

#include "../cpu.hpp"
#include "../parallel.hpp"

namespace fastconv {

bool reduction_contiguous(const Problem& p) {
  const auto& s = p.w.space;
  const Index kw = p.width().kernel, kh = p.height().kernel, kd = p.depth().kernel;
  return (kw == 1 || s[kWidth] == 1) && (kh == 1 || s[kHeight] == kw) && (kd == 1 || s[kDepth] == kw * kh) &&
         (p.channels == 1 || p.w.in == kw * kh * kd);
}

namespace {

constexpr Index kMostBackwards = 64;  // taps of a kernel that is packed by whole vectors

}  // namespace

bool kernels_backwards(const Problem& p) {
  const auto& s = p.w.space;
  const Index kw = p.width().kernel, kh = p.height().kernel, kd = p.depth().kernel;
  return (kw == 1 || s[kWidth] == -1) && (kh == 1 || s[kHeight] == -kw) && (kd == 1 || s[kDepth] == -kw * kh) &&
         p.w.out == p.taps() && p.taps() > 1 && p.taps() <= kMostBackwards;
}

namespace {

// Calls f(step of the block, offset of the weight within its output channel).
template <class F>
void for_each_step(const Problem& p, const Reduction::Block& b, F&& f) {
  const Index kw = p.width().kernel, kh = p.height().kernel;
  Index step = 0;
  for (Index c = b.channel; c < b.channel + b.channels; ++c) {
    for (Index t = b.tap; t < b.tap + b.taps; ++t) {
      f(step++,
        c * p.w.in + t / (kw * kh) * p.w.space[kDepth] + t / kw % kh * p.w.space[kHeight] + t % kw * p.w.space[kWidth]);
    }
  }
}

// A vector of outputs and all taps of a channel at a time.
template <class T>
void pack_backwards(const Problem& p, const T* w, const Reduction::Block& b, Index outputs, Index width, T* dst) {
  const Kernels<T>& k = kernels().of<T>();
  const Index taps = p.taps(), lanes = k.lanes;
  alignas(64) T piece[kMostBackwards * 64 / sizeof(T)];
  for (Index c = 0; c < b.channels; ++c, dst += taps * width) {
    const T* last = w + (b.channel + c) * p.w.in - (taps - 1);
    for (Index o = 0; o < outputs; o += lanes) {
      k.interleave({last + o * p.w.out, p.w.out, std::min(lanes, outputs - o), taps, piece});
      k.copy({piece + (taps - 1) * lanes, -lanes, taps, lanes, dst + o, width});
    }
  }
}

// Outputs lie side by side: whole vectors of them, a tap of all channels at a time.
template <class T>
void pack_vectors(const Problem& p, const T* w, const Reduction::Block& b, Index outputs, Index width, T* dst) {
  const Index kw = p.width().kernel, kh = p.height().kernel;
  const T* const from = w + b.channel * p.w.in;
  for (Index t = 0; t < b.taps; ++t) {
    const Index tap = b.tap + t;
    const T* const src =
        from + tap / (kw * kh) * p.w.space[kDepth] + tap / kw % kh * p.w.space[kHeight] + tap % kw * p.w.space[kWidth];
    kernels().of<T>().copy({src, p.w.in, b.channels, outputs, dst + t * width, b.taps * width});
  }
}

template <class T>
void pack_lanes(const Problem& p, const T* w, const Reduction::Block& b, Index outputs, Index width, T* dst) {
  if (reduction_contiguous(p)) {
    kernels().of<T>().transpose({w + b.first(p.taps()), p.w.out, outputs, b.depth(), dst, width, nullptr, false});
  } else if (p.w.out == 1) {
    pack_vectors(p, w, b, outputs, width, dst);
  } else if (b.taps == p.taps() && kernels_backwards(p)) {
    pack_backwards(p, w, b, outputs, width, dst);
  } else {
    for_each_step(p, b, [&](Index step, Index offset) {
      for (Index o = 0; o < outputs; ++o) dst[step * width + o] = w[offset + o * p.w.out];
    });
  }
  if (outputs == width) return;
  for (Index i = 0; i < b.depth(); ++i) std::fill(dst + i * width + outputs, dst + (i + 1) * width, T(0));
}

template <class T>
void pack_rows(const Problem& p, const T* w, const Reduction::Block& b, Index outputs, T* dst) {
  const Index depth = b.depth();
  if (reduction_contiguous(p)) {
    kernels().of<T>().copy({w + b.first(p.taps()), p.w.out, outputs, depth, dst, depth});
  } else if (p.w.out == 1 && p.taps() == 1) {  // the transpose of a dense matrix
    kernels().of<T>().transpose({w + b.channel * p.w.in, p.w.in, depth, outputs, dst, depth, nullptr, false});
  } else if (kernels_backwards(p)) {
    for (Index c = 0; c < b.channels; ++c) {
      const T* tap = w + (b.channel + c) * p.w.in - b.tap;
      T* row = dst + c * b.taps;
      for (Index o = 0; o < outputs; ++o, tap += p.w.out, row += depth) {
        for (Index t = 0; t < b.taps; ++t) row[t] = tap[-t];
      }
    }
  } else {
    for_each_step(p, b, [&](Index step, Index offset) {
      for (Index o = 0; o < outputs; ++o) dst[o * depth + step] = w[offset + o * p.w.out];
    });
  }
}

}  // namespace

template <class T>
void pack_weight_panel(const Problem& p, const DirectPlan& plan, const T* w, const Reduction::Block& b, Index panel,
                       T* dst) {
  const Kernels<T>& k = kernels().of<T>();
  const Index unit = plan.lanes == Orientation::kChannelLanes ? k.lanes : 1;
  const Index first = plan.panels.start(panel) * unit;
  const Index width = plan.panels.size(panel) * unit;
  const Index outputs = std::min(width, p.outputs - first);
  const T* src = w + first * p.w.out;
  if (plan.lanes == Orientation::kChannelLanes) {
    pack_lanes(p, src, b, outputs, width, dst);
  } else {
    pack_rows(p, src, b, outputs, dst);
  }
}

template <class T>
Ahead weight_panel_ahead(const Problem& p, const DirectPlan& plan, const T* w, const Reduction::Block& b, Index panel) {
  const Index unit = plan.lanes == Orientation::kChannelLanes ? kernels().of<T>().lanes : 1;
  const Index start = plan.panels.start(panel) * unit;
  const Index outputs = std::min(plan.panels.size(panel) * unit, p.outputs - start);
  if (p.w.out == 1 && p.taps() == 1) {  // the transpose of a dense matrix: the outputs of one channel follow each other
    return {w + b.channel * p.w.in + start, b.channels, outputs, p.w.in};
  }
  if (p.w.in > p.w.out && p.w.out > 0) {  // the gradient's: a channel's kernels lie together, backwards
    Index first = start * p.w.out + b.channel * p.w.in;
    for (std::size_t s = 0; s < kSpatial; ++s) first += std::min<Index>(0, p.w.space[s]) * (p.axis[s].kernel - 1);
    return {w + first, b.channels, outputs * p.w.out, p.w.in};
  }
  if (!reduction_contiguous(p)) return {};
  return {w + start * p.w.out + b.first(p.taps()), outputs, b.depth(), p.w.out};
}

template <class T>
void pack_weights(const Problem& p, const DirectPlan& plan, const T* w, T* dst, int threads) {
  const WeightLayout layout(p, plan, kernels().of<T>().lanes);
  const Index blocks = plan.reduction.count(), panels = plan.panels.count;
  parallel_for(threads, p.groups * panels, [&](Index task) {
    const Index g = task / panels, panel = task % panels;
    for (Index i = 0; i < blocks; ++i) {
      const Reduction::Block b = plan.reduction.block(i);
      pack_weight_panel(p, plan, w + g * p.w.group, b, panel, dst + g * layout.group + layout.panel(p, plan, b, panel));
    }
  });
}

template void pack_weight_panel(const Problem&, const DirectPlan&, const float*, const Reduction::Block&, Index,
                                float*);
template void pack_weight_panel(const Problem&, const DirectPlan&, const double*, const Reduction::Block&, Index,
                                double*);
template Ahead weight_panel_ahead(const Problem&, const DirectPlan&, const float*, const Reduction::Block&, Index);
template Ahead weight_panel_ahead(const Problem&, const DirectPlan&, const double*, const Reduction::Block&, Index);
template void pack_weights(const Problem&, const DirectPlan&, const float*, float*, int);
template void pack_weights(const Problem&, const DirectPlan&, const double*, double*, int);

}  // namespace fastconv
