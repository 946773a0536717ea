// The gradient of the bias: the sum of each channel of dY, in double precision beyond a run.
#include <algorithm>

#include "../parallel.hpp"
#include "conv.hpp"
#include "grad_parts.hpp"

namespace fastconv {
namespace {

constexpr Index kChannelChunk = 64;

// Channels innermost, as in NHWC and behind dense layers: pixel after pixel, many channels at a time.
template <class T>
void sum_interleaved(const Problem& p, const T* dy, Index first, Index count, T* sums) {
  double total[kChannelChunk] = {};
  for (Index n = 0; n < p.batch; ++n) {
    for (Index d = 0; d < p.depth().out; ++d) {
      for (Index h = 0; h < p.height().out; ++h) {
        const T* row = dy + n * p.y.batch + d * p.y.space[kDepth] + h * p.y.space[kHeight] + first;
        for (Index w = 0; w < p.width().out; ++w, row += p.y.space[kWidth]) {
          for (Index c = 0; c < count; ++c) total[c] += static_cast<double>(row[c]);
        }
      }
    }
  }
  for (Index c = 0; c < count; ++c) sums[c] = static_cast<T>(total[c]);
}

// Some channels of a group, image by image and row by row.
template <class T>
void sum_planar(const Problem& p, const T* dy, Index count, T* sums) {
  const Index step = p.y.space[kWidth];
  const bool joined = p.y.space[kHeight] == p.width().out * step;
  const Index rows = joined ? 1 : p.height().out, run = joined ? p.height().out * p.width().out : p.width().out;
  double total[kChannelChunk] = {};
  for (Index n = 0; n < p.batch; ++n) {
    for (Index d = 0; d < p.depth().out; ++d) {
      for (Index h = 0; h < rows; ++h) {
        const T* src = dy + n * p.y.batch + d * p.y.space[kDepth] + h * p.y.space[kHeight];
        if (step == 1) {
          add_row_sums(src, p.y.channel, count, run, total);
          continue;
        }
        for (Index c = 0; c < count; ++c) {
          for (Index i = 0; i < run; ++i) total[c] += static_cast<double>(src[c * p.y.channel + i * step]);
        }
      }
    }
  }
  for (Index c = 0; c < count; ++c) sums[c] = static_cast<T>(total[c]);
}

}  // namespace

template <class T>
void conv_grad_bias(const Problem& p, const T* grad_output, T* grad_bias, int threads) {
  const Index channels = p.groups * p.outputs;
  const double elements = static_cast<double>(p.batch * channels * p.pixels());
  const bool interleaved = p.y.channel == 1 && p.y.group == p.outputs;
  threads = useful_threads(4 * elements, threads, threads);
  if (interleaved) {
    parallel_for(threads, ceil_div(channels, kChannelChunk), [&](Index task) {
      const Index first = task * kChannelChunk;
      sum_interleaved(p, grad_output, first, std::min(kChannelChunk, channels - first), grad_bias + first);
    });
    return;
  }
  // (Depthwise channels are groups of one.)
  const Index groups = p.y.group == p.outputs * p.y.channel ? 1 : p.groups, outputs = channels / groups;
  const Panels chunks(outputs, std::clamp<Index>(channels / (4 * threads), 1, kChannelChunk));
  parallel_for(threads, groups * chunks.count, [&](Index task) {
    const Index group = task / chunks.count, first = chunks.start(task % chunks.count);
    sum_planar(p, grad_output + group * p.y.group + first * p.y.channel, chunks.size(task % chunks.count),
               grad_bias + group * outputs + first);
  });
}

template void conv_grad_bias(const Problem&, const float*, float*, int);
template void conv_grad_bias(const Problem&, const double*, double*, int);

}  // namespace fastconv
