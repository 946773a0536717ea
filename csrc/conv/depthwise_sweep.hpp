// What both sweeps over the gradients of a depthwise convolution share (depthwise_plane_gradients.cpp,
// depthwise_lane_gradients.cpp): tasks of some groups and some images, whose sums are added in order, and the bias's
// gradient on the way.
//
// That gradient, for which alone no sweep pays, is summed plane by plane as grad_bias.cpp does it, to the bit, while dY
// is in cache.
#pragma once

#include <algorithm>

#include "../memory.hpp"
#include "../parallel.hpp"
#include "conv.hpp"
#include "direct_plan.hpp"
#include "gradients.hpp"
#include "image_parts.hpp"

namespace fastconv {

// As grad_bias.cpp sums in one run.
inline bool in_whole_planes(const Problem& p) {
  return p.y.space[kWidth] == 1 && p.y.space[kHeight] == p.width().out && p.y.group != 1;
}

// The sums of the planes of all images, in order.
template <class T>
void add_images(const Problem& p, const T* plane_sums, T* db) {
  for (Index g = 0; g < p.groups; ++g) {
    double total = 0;
    for (Index n = 0; n < p.batch; ++n) total += static_cast<double>(plane_sums[n * p.groups + g]);
    db[g] = static_cast<T>(total);
  }
}

// Sweep::Task(sweep).run(g, images, sums, plane_sums) takes `block` groups from g on.
template <class Sweep, class T>
void run_sweep(const Sweep& sweep, const Problem& p, const GradientOperands<T>& a, Index block, int threads) {
  const Index blocks = ceil_div(p.groups, block), each = p.taps();
  const Panels parts = image_parts(p, blocks);
  const Index size = p.groups * each, tasks = blocks * parts.count;
  const RecycledBlock partial(static_cast<std::size_t>(parts.count * size) * sizeof(double));
  double* const sums = partial.as<double>();
  const bool with_bias = a.db != nullptr && in_whole_planes(p);
  const RecycledBlock planes(static_cast<std::size_t>(with_bias ? p.batch * p.groups : 0) * sizeof(T));
  T* const plane_sums = with_bias ? planes.as<T>() : nullptr;
  const int useful = useful_threads(2 * p.flops(), tasks, threads);
  const Panels shares(tasks, ceil_div(tasks, useful > 1 ? std::min<Index>(tasks, 8 * useful) : 1));
  parallel_for(useful, shares.count, [&](Index i) {
    typename Sweep::Task task(sweep);
    for (Index j = shares.start(i); j < shares.start(i) + shares.size(i); ++j) {
      const Index part = j / blocks, g = j % blocks * block;
      task.run(g, {parts.start(part), parts.start(part) + parts.size(part)}, sums + part * size + g * each, plane_sums);
    }
  });
  add_image_parts(sums, parts.count, size);
  for (Index g = 0; a.dw != nullptr && g < p.groups; ++g) {
    for (Index i = 0; i < each; ++i) a.dw[g * p.w.group + i] = static_cast<T>(sums[g * each + i]);
  }
  if (with_bias) {
    add_images(p, plane_sums, a.db);
  } else if (a.db != nullptr) {
    conv_grad_bias(p, a.dy, a.db, threads);
  }
}

}  // namespace fastconv
