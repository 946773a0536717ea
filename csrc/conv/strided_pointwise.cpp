// The gradient of the input of a strided pointwise convolution, which meets every second pixel, say: that of a plain
// pointwise one over these pixels alone, computed side by side in a scratch array as such a convolution likes to find
// them. It is then written once, whole rows at a time, with the zeros in between.
#include <algorithm>

#include "../cpu.hpp"
#include "../memory.hpp"
#include "../parallel.hpp"
#include "conv.hpp"
#include "plan.hpp"
#include "strided_pointwise.hpp"

namespace fastconv {
namespace {

constexpr Index kScratchBytes = Index{1} << 20;      // as many images as that many bytes hold,
constexpr Index kMostScratchBytes = Index{8} << 20;  // and no image beyond so many

bool strided_pointwise(const Problem& forward) {
  bool strided = false;
  for (const Axis& a : forward.axis) {
    if (a.kernel != 1 || a.pad != 0) return false;
    strided = strided || (a.stride > 1 && a.in > 1);
  }
  return strided && forward.x.space[kWidth] == 1 && forward.flops() > 0;
}

template <class T>
void spread_row(const T* from, Index count, Index step, T* to, Index width) {
  if (step == 1) {
    std::copy_n(from, count, to);
    return;
  }
  if (step == 2) {
    const Index pairs = std::min(count, width / 2);
    for (Index j = 0; j < pairs; ++j) {
      to[2 * j] = from[j];
      to[2 * j + 1] = T(0);
    }
    if (pairs < count) to[2 * pairs] = from[pairs];
    std::fill(to + std::min(2 * count, width), to + width, T(0));
    return;
  }
  std::fill_n(to, width, T(0));
  for (Index j = 0; j < count; ++j) to[j * step] = from[j];
}

// Plane i of dx, of the phase's pixels.
template <class T>
void spread_plane(const Problem& forward, const Problem& phase, const T* from, T* plane) {
  const Axis &d = forward.depth(), &h = forward.height(), &w = forward.width();
  const Index rows = phase.height().out, columns = phase.width().out;
  for (Index k = 0; k < d.in; ++k) {
    for (Index i = 0; i < h.in; ++i) {
      T* const row = plane + k * forward.x.space[kDepth] + i * forward.x.space[kHeight];
      if (k % d.stride == 0 && i % h.stride == 0) {
        spread_row(from + (k / d.stride * rows + i / h.stride) * columns, columns, w.stride, row, w.in);
      } else {
        std::fill_n(row, w.in, T(0));
      }
    }
  }
}

}  // namespace

template <class T>
bool strided_pointwise_grad_input(const Problem& forward, const T* grad_output, const T* w, T* grad_input,
                                  int threads) {
  if (!strided_pointwise(forward)) return false;
  Problem phase = grad_input_phase(forward, 0).problem;
  const Index channels = phase.groups * phase.outputs, pixels = phase.pixels();
  if (pixels > kMostScratchBytes / static_cast<Index>(sizeof(T)) / channels) return false;
  const Index image = channels * pixels;
  // Parts of the batch that hold the same, or nearly.
  const Index most = std::max<Index>(1, kScratchBytes / static_cast<Index>(sizeof(T)) / image);
  const Index images = ceil_div(forward.batch, ceil_div(forward.batch, most)), parts = ceil_div(forward.batch, images);
  phase.y =
      dense_strides(phase.groups, phase.outputs, {phase.depth().out, phase.height().out, phase.width().out}, false);
  phase.batch = images;
  const Problem whole = simplified(phase);
  const bool again = images < forward.batch;  // then the weights are packed once
  const ConvPlan plan = plan_conv<T>(whole, again, threads);
  const Index packed_size = again && packed_form(plan) >= 0 ? packed_elements<T>(whole, plan) : 0;
  const RecycledBlock packed(static_cast<std::size_t>(packed_size) * sizeof(T));
  if (packed_size > 0) pack<T>(whole, plan, w, packed.as<T>());
  // Where that gives every thread the same, each takes some parts as a whole: while one computes, another writes dx,
  // and nobody waits.
  const bool small = image <= 2 * kScratchBytes / static_cast<Index>(sizeof(T));  // as each of them has its own
  const bool apart = small && ((parts % threads == 0 && forward.batch % parts == 0) || parts >= 4 * threads);
  const int team = apart ? useful_threads(whole.flops() * static_cast<double>(parts), parts, threads) : 1;
  const int inside = team > 1 ? 1 : threads;
  parallel_for(team, parts, [&](Index part) {
    const RecycledBlock scratch(static_cast<std::size_t>(images * image) * sizeof(T));
    const Index first = part * images;
    Problem mine = phase;
    mine.batch = std::min(images, forward.batch - first);
    const Problem p = simplified(mine);
    conv_forward<T>(p, again ? plan_part<T>(p, plan, inside) : plan,
                    {grad_output + first * phase.x.batch, w, nullptr, scratch.as<T>()}, packed.as<const T>());
    const Index planes = mine.batch * channels;
    const double cost = static_cast<double>(planes) * static_cast<double>(pixels);
    parallel_for(useful_threads(cost, planes, inside), planes, [&](Index i) {
      const Index n = first + i / channels, c = i % channels;
      T* const plane = grad_input + n * forward.x.batch + c / forward.channels * forward.x.group +
                       c % forward.channels * forward.x.channel;
      spread_plane<T>(forward, phase, scratch.as<T>() + i * pixels, plane);
    });
  });
  return true;
}

template bool strided_pointwise_grad_input(const Problem&, const float*, const float*, float*, int);
template bool strided_pointwise_grad_input(const Problem&, const double*, const double*, double*, int);

}  // namespace fastconv
