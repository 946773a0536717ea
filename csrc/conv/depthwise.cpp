#include "depthwise.hpp"

#include "../memory.hpp"
#include "../parallel.hpp"
#include "depthwise_task.hpp"

namespace fastconv {

// OIHW, dense: [output][channel, tap].
template <class T>
bool DepthwiseTask<T>::dense_weights(const Problem& p) {
  Index dense = 1;
  for (std::size_t s = kSpatial; s-- > 0;) {
    if (p.axis[s].kernel > 1 && p.w.space[s] != dense) return false;
    dense *= p.axis[s].kernel;
  }
  return p.channels == 1 || p.w.in == dense;
}

template <class T>
Index DepthwiseTask<T>::sums_of_channel(const Problem& p, const DepthwisePlan& plan) {
  const Index lanes = kernels().of<T>().lanes;
  return round_up(plan.block_height * stage_geometry(p, plan).pitch(), lanes);
}

template <class T>
Index DepthwiseTask<T>::sums(const Problem& p, const DepthwisePlan& plan) {
  if (plan.kernel == DepthwiseKernel::kRows) {
    return p.y.space[kWidth] == 1 ? 0 : plan.block_height * plan.block_width;
  }
  return std::min<Index>(p.outputs, kMaxRunOutputs) * sums_of_channel(p, plan);
}

// Counts up to the block instead of dividing for each: a small plane takes no longer than a few divisions.
template <class T>
void DepthwiseTask<T>::run(Index first, Index end) {
  const Index height = plan_.block_height, width = plan_.block_width;
  Index rest = first;
  const auto digit = [&](Index base) {
    const Index d = rest % base;
    rest /= base;
    return d;
  };
  Block b{};
  b.ow = digit(plan_.blocks_w) * width;
  b.oh = digit(plan_.blocks_h) * height;
  b.od = digit(p_.depth().out);
  b.g = digit(p_.groups);
  b.n = rest;
  for (Index i = first; i < end; ++i) {
    b.height = std::min(height, p_.height().out - b.oh);
    b.width = std::min(width, p_.width().out - b.ow);
    if (b.height > 0 && b.width > 0) convolve(b);
    if ((b.ow += width) < plan_.blocks_w * width) continue;
    b.ow = 0;
    if ((b.oh += height) < plan_.blocks_h * height) continue;
    b.oh = 0;
    if (++b.od < p_.depth().out) continue;
    b.od = 0;
    if (++b.g < p_.groups) continue;
    b.g = 0;
    ++b.n;
  }
}

template <class T>
void DepthwiseTask<T>::convolve(const Block& b) {
  if (plan_.kernel == DepthwiseKernel::kRows) {
    convolve_rows(b);
  } else {
    convolve_runs(b);
  }
}

// One group's, dense.
template <class T>
void DepthwiseTask<T>::copy_weights(const Problem& p, const T* w, T* to) {
  for (Index o = 0; o < p.outputs; ++o) {
    for (Index c = 0; c < p.channels; ++c) {
      for (Index d = 0; d < p.depth().kernel; ++d) {
        for (Index r = 0; r < p.height().kernel; ++r) {
          const T* row = w + o * p.w.out + c * p.w.in + d * p.w.space[kDepth] + r * p.w.space[kHeight];
          for (Index s = 0; s < p.width().kernel; ++s) *to++ = row[s * p.w.space[kWidth]];
        }
      }
    }
  }
}

// [output][channel, tap] of one group.
template <class T>
const T* DepthwiseTask<T>::group_weights(Index g) {
  const T* w = a_.w + g * p_.w.group;
  if (dense_weights(p_)) return w;
  copy_weights(p_, w, weights_);
  return weights_;
}

template <class T>
T* DepthwiseTask<T>::output(const Block& b, Index o) const {
  return a_.y + b.n * p_.y.batch + b.g * p_.y.group + o * p_.y.channel + b.od * p_.y.space[kDepth] +
         b.oh * p_.y.space[kHeight] + b.ow * p_.y.space[kWidth];
}

template <class T>
void DepthwiseTask<T>::convolve_rows(const Block& b) {
  const bool in_place = p_.y.space[kWidth] == 1;
  const auto kernel = k_.depthwise_rows[(p_.height().kernel - 3) / 2][p_.height().stride - 1];
  const T* w = group_weights(b.g);
  const Index id = p_.depth().input_of(b.od, 0);
  DepthwiseRows<T> t{};
  const bool inside = id >= 0 && id < p_.depth().in;
  rows_->meet(b.n * p_.x.batch + b.g * p_.x.group + id * p_.x.space[kDepth], inside, b.oh, b.ow, b.height, t);
  t.y_row = in_place ? p_.y.space[kHeight] : b.width;
  t.rows = b.height;
  t.width = b.width;
  t.overwritten = t.y_row == b.width ? b.height * b.width : 0;
  t.relu = p_.relu;
  for (Index o = 0; o < p_.outputs; ++o) {
    t.w = w + (dense_weights(p_) ? o * p_.w.out : o * p_.taps());
    t.bias = a_.bias == nullptr ? T(0) : a_.bias[b.g * p_.outputs + o];
    t.y = in_place ? output(b, o) : sums_;
    kernel(t);
    if (!in_place) store(b, o, sums_, t.y_row);
  }
}

template <class T>
void DepthwiseTask<T>::convolve_runs(const Block& b) {
  const Panels panels(p_.outputs, kMaxRunOutputs);
  const T* w = group_weights(b.g);
  stage_geometry_.copy_all(p_, k_, a_.x + b.n * p_.x.batch + b.g * p_.x.group, b.od, b.oh, b.ow, stage_);
  ShiftedRun<T> t{};
  t.depth = products(p_);
  t.x = stage_;
  t.offset = offset_;
  t.w_row = dense_weights(p_) ? p_.w.out : t.depth;
  t.sums = sums_;
  t.sums_row = sums_of_channel(p_, plan_);
  t.length = (b.height - 1) * stage_geometry_.pitch() + b.width;
  t.relu = p_.relu;
  for (Index i = 0; i < panels.count; ++i) {
    const Index first = panels.start(i);
    t.w = w + first * t.w_row;
    t.bias = a_.bias == nullptr ? nullptr : a_.bias + b.g * p_.outputs + first;
    k_.shifted_run[panels.size(i) - 1](t);
    for (Index o = 0; o < panels.size(i); ++o) store(b, first + o, sums_ + o * t.sums_row, stage_geometry_.pitch());
  }
}

template <class T>
void DepthwiseTask<T>::store(const Block& b, Index o, const T* sums, Index pitch) const {
  T* y = output(b, o);
  const Index step = p_.y.space[kWidth], row = p_.y.space[kHeight];
  if (step == 1) {
    k_.copy({sums, pitch, b.height, b.width, y, row});
    return;
  }
  for (Index i = 0; i < b.height; ++i) {
    for (Index j = 0; j < b.width; ++j) y[i * row + j * step] = sums[i * pitch + j];
  }
}

namespace {

constexpr Index kSharedWeights = Index{1} << 20;  // elements of weights that are copied once for all blocks

// OIHW, dense.
Problem with_dense_weights(Problem p) {
  p.w.space = {p.height().kernel * p.width().kernel, p.width().kernel, 1};
  p.w.in = p.taps();
  p.w.out = p.channels * p.w.in;
  p.w.group = p.outputs * p.w.out;
  return p;
}

}  // namespace

template <class T>
void depthwise_forward(const Problem& p, const DepthwisePlan& plan, const Operands<T>& a) {
  if (plan.kernel == DepthwiseKernel::kLanes) return lane_forward(p, plan, a);
  if (plan.kernel == DepthwiseKernel::kChannels) return narrow_forward(p, plan, a);
  const Index blocks = plan.blocks(p), group = p.outputs * p.channels * p.taps();
  if (!DepthwiseTask<T>::dense_weights(p) && p.groups <= kSharedWeights / group && blocks > plan.group_blocks) {
    const RecycledBlock dense(static_cast<std::size_t>(p.groups * group) * sizeof(T));
    T* const w = dense.as<T>();
    for (Index g = 0; g < p.groups; ++g) DepthwiseTask<T>::copy_weights(p, a.w + g * p.w.group, w + g * group);
    depthwise_forward<T>(with_dense_weights(p), plan, {a.x, w, a.bias, a.y});
    return;
  }
  if (plan.kernel == DepthwiseKernel::kRollingRows) return rolling_rows_forward(p, plan, a);
  parallel_for(plan.threads, plan.tasks.count, [&](Index i) {
    DepthwiseTask<T> task(p, plan, a);
    const Index first = plan.tasks.start(i);
    task.run(first, first + plan.tasks.size(i));
  });
}

template class DepthwiseTask<float>;
template class DepthwiseTask<double>;
template void depthwise_forward(const Problem&, const DepthwisePlan&, const Operands<float>&);
template void depthwise_forward(const Problem&, const DepthwisePlan&, const Operands<double>&);

}  // namespace fastconv
