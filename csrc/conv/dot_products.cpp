// y of a pointwise convolution with few pixels, a dense layer over some samples above all:
//
//     y[pixel, o]  =  bias[o] + sum over c of  w[o, c] * x[pixel, c]
//
// Rows of w and of x lie side by side in c, so both come as vectors of channels and nothing is transposed, which would
// cost more than the products of a few pixels. A sum stays spread over its vector's lanes until all channels have
// passed (kernels/dot_tile.hpp). What is left of a row behind its whole vectors is copied and filled up with zeros.
//
// A task is a range of outputs and all pixels. Its rows pass in pieces that stay in L1, w from end to end. A single
// pixel has a kernel of its own (kernels/row_products.hpp).
#include "dot_products.hpp"

#include <algorithm>

#include "../cpu.hpp"
#include "../parallel.hpp"
#include "../workspace.hpp"
#include "blocking.hpp"
#include "direct_plan.hpp"

namespace fastconv {
namespace {

constexpr Index kMostPixels = 12;    // with more, transposed weights serve enough of them
constexpr Index kFewestVectors = 4;  // of a row
constexpr Index kFewestOutputs = 8;
constexpr Index kOutputs = 32;             // of a task
constexpr Index kOutputsOfOnePixel = 512;  // whose sums are no more than these
constexpr Index kFewestChannels = 8;       // of one pixel

template <class T>
class DotTask {
 public:
  DotTask(const Problem& p, const DotPlan& plan, const Operands<T>& a, Index group, Index first)
      : p_(p),
        a_(a),
        k_(kernels().of<T>()),
        group_(group),
        first_(first),
        outputs_(std::min(plan.outputs, p.outputs - first)),
        pixels_(p.width().out),
        steps_(plan.steps),
        whole_(p.channels / k_.lanes),
        tail_(p.channels % k_.lanes) {
    Workspace workspace(plan.workspace);
    sums_ = workspace.take<T>(plan.outputs * pixels_ * k_.lanes);
    totals_ = workspace.take<T>(plan.outputs * pixels_);
    w_tail_ = workspace.take<T>(plan.outputs * k_.lanes);
    x_tail_ = workspace.take<T>(pixels_ * k_.lanes);
    column_offset_ = workspace.take<Index>(pixels_);
    step_offset_ = workspace.take<Index>(plan.steps);
  }

  void run() {
    const T* const w = a_.w + group_ * p_.w.group + first_ * p_.w.out;
    const T* const x = a_.x + group_ * p_.x.group;
    if (pixels_ == 1) {
      k_.row_products({w, p_.w.out, outputs_, p_.channels, x, totals_});
      return store();
    }
    for (Index i = 0; i < steps_; ++i) step_offset_[i] = i * k_.lanes;
    for (Index i = 0; i < pixels_; ++i) column_offset_[i] = i * p_.x.space[kWidth];
    for (Index i = 0; i < whole_; i += steps_) {
      const Index at = i * k_.lanes, steps = std::min(steps_, whole_ - i);
      multiply(w + at, p_.w.out, x + at, steps, i > 0);
    }
    if (tail_ > 0) multiply_tail(w + whole_ * k_.lanes, x + whole_ * k_.lanes);
    k_.sum_lanes(sums_, outputs_ * pixels_, totals_);
    store();
  }

 private:
  // `steps` vectors of all rows. The rows of w that come next are asked for meanwhile: two of each four by the first
  // columns, two by the next ones.
  void multiply(const T* w, Index ld, const T* x, Index steps, bool accumulate) const {
    const Panels rows(outputs_, k_.dot_rows), columns(pixels_, k_.dot_columns);
    DotTile<T> tile{};
    tile.lda = ld;
    tile.b = x;
    tile.a_offset = tile.b_offset = step_offset_;
    tile.steps = steps;
    tile.ld = pixels_;
    tile.accumulate = accumulate;
    for (Index j = 0; j < columns.count; ++j) {
      tile.column_offset = column_offset_ + columns.start(j);
      for (Index i = 0; i < rows.count; ++i) {
        tile.a = w + rows.start(i) * ld;
        tile.ahead = 2 * j < rows.size(i) ? tile.a + 2 * j * ld + steps * k_.lanes : nullptr;
        tile.ahead_step = 2 * j + 1 < rows.size(i) ? ld * static_cast<Index>(sizeof(T)) : 0;
        tile.sums = sums_ + (rows.start(i) * pixels_ + columns.start(j)) * k_.lanes;
        k_.dot[rows.size(i) - 1][columns.size(j) - 1](tile);
      }
    }
  }

  void multiply_tail(const T* w, const T* x) {
    std::fill_n(w_tail_, outputs_ * k_.lanes, T(0));
    std::fill_n(x_tail_, pixels_ * k_.lanes, T(0));
    k_.copy({w, p_.w.out, outputs_, tail_, w_tail_, k_.lanes});
    k_.copy({x, p_.x.space[kWidth], pixels_, tail_, x_tail_, k_.lanes});
    for (Index i = 0; i < pixels_; ++i) column_offset_[i] = i * k_.lanes;
    multiply(w_tail_, k_.lanes, x_tail_, 1, whole_ > 0);
  }

  void store() const {
    T* const y = a_.y + group_ * p_.y.group + first_ * p_.y.channel;
    const T* const bias = a_.bias == nullptr ? nullptr : a_.bias + group_ * p_.outputs + first_;
    for (Index i = 0; i < pixels_; ++i) {
      for (Index o = 0; o < outputs_; ++o) {
        const T sum = totals_[o * pixels_ + i] + (bias == nullptr ? T(0) : bias[o]);
        y[i * p_.y.space[kWidth] + o * p_.y.channel] = p_.relu && sum < T(0) ? T(0) : sum;
      }
    }
  }

  const Problem& p_;
  const Operands<T>& a_;
  const Kernels<T>& k_;
  Index group_, first_, outputs_, pixels_, steps_;
  Index whole_, tail_;  // vectors of a row, and channels behind them
  T* sums_;             // [output][pixel], a vector each
  T* totals_;           // their lanes added up
  T* w_tail_;
  T* x_tail_;
  Index* column_offset_;
  Index* step_offset_;
};

}  // namespace

template <class T>
bool plan_dots(const Problem& p, int threads, DotPlan& plan) {
  const Index pixels = p.width().out;
  if (p.x.channel != 1 || p.w.in != 1 || p.batch != 1 || pixels > kMostPixels || p.outputs < kFewestOutputs ||
      p.pool != OutputPool::kNone || !p.pointwise() || p.height().out * p.depth().out != 1 || p.flops() == 0) {
    return false;
  }
  const Kernels<T>& k = kernels().of<T>();
  // The lanes of a sum are added up once for each pixel.
  if (p.channels < (pixels == 1 ? kFewestChannels : std::max(kFewestVectors, pixels) * k.lanes)) return false;
  const Index vector = k.lanes * static_cast<Index>(sizeof(T));
  plan.outputs = pixels == 1
                     ? std::clamp<Index>(round_up(ceil_div(p.outputs, threads), k.lanes), k.lanes, kOutputsOfOnePixel)
                     : std::clamp<Index>(round_up(ceil_div(p.outputs, 4 * threads), k.dot_rows), k.dot_rows, kOutputs);
  plan.steps = caches().l1 * 3 / 8 / (std::min<Index>(pixels, k.dot_columns) * vector);
  plan.threads = useful_threads(p.flops(), p.groups * ceil_div(p.outputs, plan.outputs), threads);
  plan.workspace = Workspace::piece_bytes<T>(plan.outputs * pixels * k.lanes) +
                   Workspace::piece_bytes<T>(plan.outputs * pixels) +
                   Workspace::piece_bytes<T>(plan.outputs * k.lanes) + Workspace::piece_bytes<T>(pixels * k.lanes) +
                   Workspace::piece_bytes<Index>(pixels) + Workspace::piece_bytes<Index>(plan.steps);
  return true;
}

template <class T>
void dots_forward(const Problem& p, const DotPlan& plan, const Operands<T>& a) {
  const Index parts = ceil_div(p.outputs, plan.outputs);
  parallel_for(plan.threads, p.groups * parts,
               [&](Index task) { DotTask<T>(p, plan, a, task / parts, task % parts * plan.outputs).run(); });
}

template bool plan_dots<float>(const Problem&, int, DotPlan&);
template bool plan_dots<double>(const Problem&, int, DotPlan&);
template void dots_forward(const Problem&, const DotPlan&, const Operands<float>&);
template void dots_forward(const Problem&, const DotPlan&, const Operands<double>&);

}  // namespace fastconv
