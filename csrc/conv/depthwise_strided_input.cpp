// The gradient of the input of a depthwise convolution of stride 2, which is a transposed convolution that doubles rows
// and columns: plane after plane, rows of dY rolling by (kernels/strided_gradients.hpp). Otherwise planes would go into
// the lanes and back, or each of the four phases would be read and written with gaps.
#include "../cpu.hpp"
#include "../parallel.hpp"
#include "depthwise.hpp"
#include "direct_plan.hpp"

namespace fastconv {
namespace {

constexpr Index kGroups = 16;       // of a task at a time
constexpr double kLanesUsed = 0.4;  // of fewer, planes go through the lanes faster

template <class T>
auto strided_kernel(const Problem& p) -> void (*)(const RollingGradients<T>&) {
  const Axis &d = p.depth(), &h = p.height(), &w = p.width();
  if (p.channels * p.outputs != 1 || p.groups == 1 || p.flops() == 0) return nullptr;
  if (d.kernel > 1 || d.in > 1 || d.out > 1 || d.pad != 0) return nullptr;
  if (!columns_join(p.x) || !columns_join(p.y) || h.kernel != w.kernel) return nullptr;
  if (h.kernel < kFewestStridedTaps || h.kernel > kMostStridedTaps) return nullptr;
  for (const Axis& a : {h, w}) {
    if (a.stride != 2 || a.dilation != 1 || a.pad < 0 || a.pad >= a.kernel) return nullptr;
  }
  const Kernels<T>& k = kernels().of<T>();
  return lane_use(w.in, k.lanes) < kLanesUsed ? nullptr : k.strided_input[h.kernel - kFewestStridedTaps];
}

// Taps side by side, as the kernel reads them.
template <class T>
void copy_weights(const Problem& p, const T* w, Index groups, T* to) {
  const auto& step = p.w.space;
  for (Index g = 0; g < groups; ++g) {
    for (Index r = 0; r < p.height().kernel; ++r) {
      for (Index s = 0; s < p.width().kernel; ++s) *to++ = w[g * p.w.group + r * step[kHeight] + s * step[kWidth]];
    }
  }
}

}  // namespace

template <class T>
bool strided_grad_input(const Problem& p, const T* grad_output, const T* w, const T* bias, T* grad_input, int threads) {
  const auto kernel = strided_kernel<T>(p);
  if (kernel == nullptr) return false;
  const Axis &rows = p.height(), &columns = p.width();
  const Index blocks = ceil_div(p.groups, kGroups), tasks = p.batch * blocks;
  parallel_for(useful_threads(2 * p.flops(), tasks, threads), tasks, [&](Index i) {
    const Index n = i / blocks, g = i % blocks * kGroups;
    T weights[kGroups * kMostStridedTaps * kMostStridedTaps];
    RollingGradients<T> t{};
    t.planes = std::min(kGroups, p.groups - g);
    copy_weights(p, w + g * p.w.group, t.planes, weights);
    t.dy = {grad_output + n * p.y.batch + g * p.y.group, p.y.group, p.y.space[kHeight], rows.out, columns.out, 0};
    t.dx = {grad_input + n * p.x.batch + g * p.x.group, p.x.group, p.x.space[kHeight], rows.in, columns.in, 0};
    t.pad_rows = rows.pad, t.pad_columns = columns.pad;
    t.w = weights;
    t.bias = bias == nullptr ? nullptr : bias + g;
    kernel(t);
  });
  return true;
}

template bool strided_grad_input(const Problem&, const float*, const float*, const float*, float*, int);
template bool strided_grad_input(const Problem&, const double*, const double*, const double*, double*, int);

}  // namespace fastconv
