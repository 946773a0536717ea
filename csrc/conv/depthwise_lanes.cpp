// Depthwise convolution with groups in the lanes: channels-last arrays, and planes so small that their rows would leave
// much of a vector empty. Forward, and the gradient of the input for strides above 1.
#include <vector>

#include "../parallel.hpp"
#include "depthwise.hpp"
#include "direct_plan.hpp"
#include "lane_convolver.hpp"

namespace fastconv {
namespace {

// Pixels of a block of results, pixel by pixel, before they are stored.
template <class T>
struct Canvas {
  Index pixels, lanes;
  T* data;
  Index* at;

  Canvas(Index count, Index images, Index vector, Workspace& workspace)
      : pixels(count),
        lanes(vector),
        data(workspace.take<T>(images * count * vector)),
        at(workspace.take<Index>(count)) {
    for (Index i = 0; i < count; ++i) at[i] = i * vector;
  }
  static std::size_t bytes(Index count, Index images, Index vector) {
    return Workspace::piece_bytes<T>(images * count * vector) + Workspace::piece_bytes<Index>(count);
  }
};

struct LaneBlockIndex {
  Index n, g, oh;
  LaneBlockIndex(Index block, Index blocks_h, Index batch, Index lanes, Index height)
      : n(block / blocks_h % batch), g(block / blocks_h / batch * lanes), oh(block % blocks_h * height) {}
};

template <class T>
void forward_blocks(const Problem& p, const DepthwisePlan& plan, const Operands<T>& a, Index first, Index end) {
  const Kernels<T>& k = kernels().of<T>();
  const Index lanes = k.lanes, width = p.width().out;
  Workspace workspace(plan.workspace);
  LaneConvolver<T> convolver(p, plan.block_height, a, workspace);
  const Canvas<T> canvas(plan.block_height * width, 1, lanes, workspace);
  const bool in_place = p.y.group == 1;  // then there is one output channel a group, or one group
  for (Index i = first; i < end; ++i) {
    const LaneBlockIndex b(i, plan.blocks_h, p.batch, lanes, plan.block_height);
    const Index groups = std::min<Index>(lanes, p.groups - b.g);
    const Index height = std::min(plan.block_height, p.height().out - b.oh);
    if (height <= 0) continue;
    convolver.stage(b.n, b.g, b.oh, groups);
    T* y = a.y + b.n * p.y.batch + b.g * p.y.group + b.oh * p.y.space[kHeight];
    for (Index o = 0; o < p.outputs; ++o, y += p.y.channel) {
      if (in_place) {
        convolver.convolve(o, height, {y, p.y.space[kWidth], p.y.space[kHeight], groups});
      } else {
        convolver.convolve(o, height, {canvas.data, lanes, width * lanes, lanes});
        LaneBlock<T>{p.y, groups, height, width, width * lanes, lanes, canvas.at}.scatter(k, canvas.data, y);
      }
    }
  }
}

// The phases of a gradient (problem.hpp) interleave in dx. They are computed into one canvas, each with its steps, and
// leave it together, in whole vectors.
template <class T>
class GradInputPhases {
 public:
  GradInputPhases(const Problem& forward, const T* dy, const T* w, T* dx) : forward_(forward), dy_(dy), w_(w), dx_(dx) {
    for (Index i = 0; i < count_phases(forward); ++i) phases_.push_back(grad_input_phase(forward, i));
  }

  // Of rows of a phase: what lets the stage of any phase, and the canvas, stay in L2. False where nothing does.
  bool choose_block(Index most) {
    constexpr Index kSide = 4096;  // beyond it no block fits, and sizes might not fit 64 bits
    const Axis &h = forward_.height(), &w = forward_.width();
    if (std::max({h.in, w.in, h.span(), w.span(), h.stride, w.stride, h.pad, w.pad}) > kSide) return false;
    height_ = ceil_div(forward_.height().in, step(forward_.height()));
    while (!fits(most) && height_ > 1) height_ = ceil_div(height_, 2);
    return fits(most);
  }
  Index blocks_h() const { return ceil_div(ceil_div(forward_.height().in, step(forward_.height())), height_); }

  void run(Index first, Index end) const {
    Workspace workspace(bytes());
    std::vector<LaneConvolver<T>> convolvers;
    bool holes = false;
    for (const GradInputPhase& phase : phases_) {
      holes = holes || phase.problem.taps() == 0;
      if (phase.problem.taps() == 0) continue;
      const Operands<T> a{dy_, w_ + phase.w_offset, nullptr, nullptr};
      convolvers.emplace_back(phase.problem, height_, a, workspace);
    }
    const Canvas<T> canvas(canvas_rows() * forward_.width().in, forward_.channels, k_.lanes, workspace);
    for (Index i = first; i < end; ++i) {
      if (holes) std::fill_n(canvas.data, forward_.channels * canvas.pixels * k_.lanes, T(0));
      run_block({i, blocks_h(), forward_.batch, k_.lanes, height_}, convolvers, canvas);
    }
  }

 private:
  // Indices of dx from one of a phase to the next.
  static Index step(const Axis& a) { return std::min(a.stride, a.in); }
  Index canvas_rows() const { return height_ * step(forward_.height()); }

  bool fits(Index most) const {
    for (const GradInputPhase& phase : phases_) {
      if (phase.problem.taps() > 0 && LaneStage(phase.problem, height_, k_.lanes).elements(phase.problem) > most) {
        return false;
      }
    }
    return forward_.channels * canvas_rows() * forward_.width().in * k_.lanes <= 2 * most;
  }
  std::size_t bytes() const {
    std::size_t total = Canvas<T>::bytes(canvas_rows() * forward_.width().in, forward_.channels, k_.lanes);
    for (const GradInputPhase& phase : phases_) {
      if (phase.problem.taps() > 0) total += LaneConvolver<T>::bytes(phase.problem, height_);
    }
    return total;
  }

  void run_block(const LaneBlockIndex& b, std::vector<LaneConvolver<T>>& convolvers, const Canvas<T>& canvas) const {
    const Problem& f = forward_;
    const Index lanes = k_.lanes, groups = std::min<Index>(lanes, f.groups - b.g), width = f.width().in;
    const Index step_h = step(f.height()), step_w = step(f.width());
    std::size_t next = 0;
    for (std::size_t i = 0; i < phases_.size(); ++i) {
      const Problem& p = phases_[i].problem;
      if (p.taps() == 0) continue;
      LaneConvolver<T>& convolver = convolvers[next++];
      const Index height = std::min(height_, p.height().out - b.oh);
      if (height <= 0 || p.width().out == 0) continue;
      const Index phase = static_cast<Index>(i), at = phase / step_w * width + phase % step_w;
      convolver.stage(b.n, b.g, b.oh, groups);
      for (Index c = 0; c < f.channels; ++c) {
        T* to = canvas.data + (c * canvas.pixels + at) * lanes;
        convolver.convolve(c, height, {to, step_w * lanes, step_h * width * lanes, lanes});
      }
    }
    const Index first = b.oh * step_h, rows = std::min(canvas_rows(), f.height().in - first);
    T* dx = dx_ + b.n * f.x.batch + b.g * f.x.group + first * f.x.space[kHeight];
    for (Index c = 0; c < f.channels; ++c) {
      LaneBlock<T>{f.x, groups, rows, width, width * lanes, lanes, canvas.at}.scatter(
          k_, canvas.data + c * canvas.pixels * lanes, dx + c * f.x.channel);
    }
  }

  const Problem& forward_;
  const T* dy_;
  const T* w_;
  T* dx_;
  const Kernels<T>& k_ = kernels().of<T>();
  std::vector<GradInputPhase> phases_;
  Index height_ = 0;
};

template <class F>
void run_in_shares(int threads, const Panels& shares, const F& f) {
  parallel_for(threads, shares.count, [&](Index i) { f(shares.start(i), shares.start(i) + shares.size(i)); });
}

}  // namespace

template <class T>
std::size_t lane_workspace(const Problem& p, const DepthwisePlan& plan) {
  return LaneConvolver<T>::bytes(p, plan.block_height) +
         Canvas<T>::bytes(plan.block_height * p.width().out, 1, kernels().of<T>().lanes);
}

template <class T>
void lane_forward(const Problem& p, const DepthwisePlan& plan, const Operands<T>& a) {
  run_in_shares(plan.threads, plan.tasks, [&](Index first, Index end) { forward_blocks(p, plan, a, first, end); });
}

template <class T>
bool depthwise_grad_input(const Problem& forward, const T* grad_output, const T* w, T* grad_input, int threads) {
  const Index phases = count_phases(forward);
  if (phases == 1 || phases > 16 || forward.flops() == 0 || !fills_lanes<T>(forward)) return false;
  GradInputPhases<T> gradient(forward, grad_output, w, grad_input);
  if (!gradient.choose_block(caches().l2 / 4 / static_cast<Index>(sizeof(T)))) return false;
  const Index blocks = forward.batch * ceil_div(forward.groups, kernels().of<T>().lanes) * gradient.blocks_h();
  const int useful = useful_threads(forward.flops(), blocks, threads);
  run_in_shares(useful, thread_shares(blocks, useful), [&](Index first, Index end) { gradient.run(first, end); });
  return true;
}

template std::size_t lane_workspace<float>(const Problem&, const DepthwisePlan&);
template std::size_t lane_workspace<double>(const Problem&, const DepthwisePlan&);
template void lane_forward(const Problem&, const DepthwisePlan&, const Operands<float>&);
template void lane_forward(const Problem&, const DepthwisePlan&, const Operands<double>&);
template bool depthwise_grad_input(const Problem&, const float*, const float*, float*, int);
template bool depthwise_grad_input(const Problem&, const double*, const double*, double*, int);

}  // namespace fastconv
