// What the sweeps over the gradients of depthwise convolutions and narrow groups share (depthwise_plane_gradients.cpp,
// depthwise_lane_gradients.cpp, narrow_gradients.cpp): tasks of some groups and some images, whose sums are added in
// order, and the bias's gradient on the way.
//
// That gradient, for which alone no sweep pays, is summed plane by plane as grad_bias.cpp does it, to the bit, while dY
// is in cache.
#pragma once

#include <algorithm>
#include <type_traits>

#include "../memory.hpp"
#include "../parallel.hpp"
#include "conv.hpp"
#include "direct_plan.hpp"
#include "gradients.hpp"
#include "image_parts.hpp"

namespace fastconv {

// As grad_bias.cpp sums in one run.
inline bool in_whole_planes(const Problem& p) {
  return p.y.space[kWidth] == 1 && p.y.space[kHeight] == p.width().out && p.y.group != 1 &&
         (p.outputs == 1 || p.y.channel != 1);
}

// The sums of the planes of all images, in order.
template <class T>
void add_images(const Problem& p, const T* plane_sums, T* db) {
  const Index channels = p.groups * p.outputs;
  for (Index i = 0; i < channels; ++i) {
    double total = 0;
    for (Index n = 0; n < p.batch; ++n) total += static_cast<double>(plane_sums[n * channels + i]);
    db[i] = static_cast<T>(total);
  }
}

// Whether dW lies as sums do.
inline bool is_dense(const Problem& p) {
  return p.w.in == p.taps() && p.w.out == p.channels * p.w.in && p.w.group == p.outputs * p.w.out;
}

// sums: [group][output][channel, tap]
template <class S, class T>
void store_gradient(const Problem& p, const S* sums, T* dw) {
  for (Index g = 0; g < p.groups; ++g) {
    for (Index o = 0; o < p.outputs; ++o) {
      for (Index c = 0; c < p.channels; ++c) {
        T* const to = dw + g * p.w.group + o * p.w.out + c * p.w.in;
        for (Index i = 0; i < p.taps(); ++i) to[i] = static_cast<T>(*sums++);
      }
    }
  }
}

// Sweep::Task(sweep).run(g, images, sums, plane_sums) takes `block` groups from g on; its sums are of type Sweep::Sum.
template <class Sweep, class T>
void run_sweep(const Sweep& sweep, const Problem& p, const GradientOperands<T>& a, Index block, int threads) {
  using Sum = typename Sweep::Sum;
  const Index blocks = ceil_div(p.groups, block), each = p.outputs * p.channels * p.taps();
  const Panels parts = image_parts(p, blocks);
  const Index size = p.groups * each, tasks = blocks * parts.count;
  Sum* sums = nullptr;
  if constexpr (std::is_same_v<Sum, T>) {
    if (parts.count == 1 && is_dense(p)) sums = a.dw;
  }
  const bool in_place = sums != nullptr;
  const RecycledBlock partial(in_place ? 0 : static_cast<std::size_t>(parts.count * size) * sizeof(Sum));
  if (!in_place) sums = partial.as<Sum>();
  const bool with_bias = a.db != nullptr && in_whole_planes(p);
  const RecycledBlock planes(static_cast<std::size_t>(with_bias ? p.batch * p.groups * p.outputs : 0) * sizeof(T));
  T* const plane_sums = with_bias ? planes.as<T>() : nullptr;
  const int useful = useful_threads(2 * p.flops(), tasks, threads);
  const Panels shares = thread_shares(tasks, useful);
  parallel_for(useful, shares.count, [&](Index i) {
    typename Sweep::Task task(sweep);
    for (Index j = shares.start(i); j < shares.start(i) + shares.size(i); ++j) {
      const Index part = j / blocks, g = j % blocks * block;
      task.run(g, {parts.start(part), parts.start(part) + parts.size(part)}, sums + part * size + g * each, plane_sums);
    }
  });
  if (a.dw != nullptr && !in_place) {
    add_image_parts(sums, parts.count, size);
    store_gradient(p, sums, a.dw);
  }
  if (with_bias) {
    add_images(p, plane_sums, a.db);
  } else if (a.db != nullptr) {
    conv_grad_bias(p, a.dy, a.db, threads);
  }
}

}  // namespace fastconv
