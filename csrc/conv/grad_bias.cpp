// The gradient of the bias: the sum of each channel of dY, in double precision beyond a run.
#include <algorithm>

#include "../cpu.hpp"
#include "../parallel.hpp"
#include "conv.hpp"

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

// One channel, image by image and row by row.
template <class T>
T sum_planar(const Problem& p, const T* channel) {
  const Index step = p.y.space[kWidth];
  const bool joined = p.y.space[kHeight] == p.width().out * step;
  const Index rows = joined ? 1 : p.height().out, run = joined ? p.height().out * p.width().out : p.width().out;
  double total = 0;
  for (Index n = 0; n < p.batch; ++n) {
    for (Index d = 0; d < p.depth().out; ++d) {
      for (Index h = 0; h < rows; ++h) {
        const T* src = channel + n * p.y.batch + d * p.y.space[kDepth] + h * p.y.space[kHeight];
        if (step == 1) {
          total += static_cast<double>(kernels().of<T>().sum(src, run));
        } else {
          for (Index i = 0; i < run; ++i) total += static_cast<double>(src[i * step]);
        }
      }
    }
  }
  return static_cast<T>(total);
}

}  // namespace

template <class T>
void conv_grad_bias(const Problem& p, const T* grad_output, T* grad_bias, int threads) {
  const Index channels = p.groups * p.outputs;
  const double elements = static_cast<double>(p.batch * channels * p.pixels());
  const bool interleaved = p.y.channel == 1 && p.y.group == p.outputs;
  const Index chunk = interleaved ? kChannelChunk : 1;
  parallel_for(useful_threads(4 * elements, threads, threads), ceil_div(channels, chunk), [&](Index task) {
    const Index first = task * chunk;
    if (interleaved) {
      sum_interleaved(p, grad_output, first, std::min(chunk, channels - first), grad_bias + first);
    } else {
      grad_bias[first] = sum_planar(p, grad_output + first / p.outputs * p.y.group + first % p.outputs * p.y.channel);
    }
  });
}

template void conv_grad_bias(const Problem&, const float*, float*, int);
template void conv_grad_bias(const Problem&, const double*, double*, int);

}  // namespace fastconv
