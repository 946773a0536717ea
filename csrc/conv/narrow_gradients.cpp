// The gradients of narrow groups in one sweep, channels of a group in the lanes.
//
//     dx[i, c] = sum over taps and o of dy[i at tap, o] * w[o, c, tap]       lanes are c, rows are pixels i
//     dW[c, tap, o] = sum over pixels of x[pixel at tap, c] * dy[pixel, o]   lanes are o, rows are c
//
// 8 to 32 channels fill a vector or two. An image's dY is transposed once for both, into a stage with the margins that
// any stride phase of dx wants, in which a tap is an offset. dW reads it there, too: for a pixel of x, taps along the
// width are neighbours in dY, so that up to three of them share what is loaded of x, which comes by a few rows at a
// time, without padding. The kernels are those of kernels/narrow_tile.hpp.
//
// Sums of some pixels are added to those of more, and these to totals. Images are cut into parts by the shape
// alone, and parts are added in order. No gradient looks at whether others are wanted.
#include <algorithm>
#include <vector>

#include "../cpu.hpp"
#include "../workspace.hpp"
#include "conv.hpp"
#include "depthwise.hpp"
#include "depthwise_sweep.hpp"
#include "gradient_stage.hpp"
#include "gradients.hpp"
#include "image_parts.hpp"
#include "lane_stage.hpp"
#include "narrow_weights.hpp"
#include "next_planes.hpp"

namespace fastconv {
namespace {

constexpr Index kMost = 24;    // channels of a group, in and out
constexpr Index kSide = 1024;  // of an image: no larger one fits
constexpr Index kMostPhases = 16;
constexpr Index kMostKernel = 7;
constexpr Index kPixelsOfFold = 4096;  // whose sums are added up before they go to the totals
constexpr Index kMostPixels = 256;     // summed in one chain, and whose dx waits for its way out

// Taps of a kernel's row that meet the same columns of x, every `stride`th from `column` on: tap, tap - stride, ...,
// for neighbouring columns of dY, the first of which is dy_column.
struct TapRun {
  Index column, columns, tap, taps, dy_column;
};

std::vector<TapRun> tap_runs(const Axis& w) {
  std::vector<TapRun> runs;
  for (Index column = 0; column < std::min(w.stride, w.in); ++column) {
    Index all = 0, last = 0;
    for (Index tap = (column + w.pad) % w.stride; tap < w.kernel; tap += w.stride, ++all) last = tap;
    const Panels panels(all, kMaxChannelVectors);
    for (Index i = 0; i < panels.count; ++i) {
      const Index tap = last - panels.start(i) * w.stride;
      runs.push_back(
          {column, ceil_div(w.in - column, w.stride), tap, panels.size(i), (column + w.pad - tap) / w.stride});
    }
  }
  return runs;
}

template <class T>
class NarrowGradients {
 public:
  NarrowGradients(const GradientProblem& p, const GradientOperands<T>& a)
      : p_(p.weight),
        dx_problem_(p.input),
        a_(a),
        phases_(gradient_phases(with_dense_kernels(p_))),
        dy_problem_(one_vector(with_margins(p_, phases_))),
        runs_(tap_runs(p_.width())) {}

  // Whether an image of dY, of one group, stays in half of L2.
  bool fits() const { return dy_elements() * Index{sizeof(T)} <= caches().l2 / 2; }

  using Sum = T;
  // Of one group at a time.
  class Task;

 private:
  // So that a tap's weight is offset by the tap's number.
  static Problem with_dense_kernels(Problem p) {
    p.w.space = {p.taps(), p.width().kernel, 1};
    return p;
  }
  static Problem one_vector(Problem p) {
    p.channels = 1;
    p.x = channels_as_groups(p.x);
    return p;
  }
  Index dy_block() const { return dy_stage_.elements(dy_problem_); }
  Index dy_elements() const { return out_.count * dy_block(); }
  Index in_row() const { return in_ * lanes_; }  // channels of a pixel of dx, in whole vectors

  // Rows of pixels that are in the works at a time: of x, and of each phase of dx.
  Index x_rows() const { return std::clamp<Index>(kMostPixels / p_.width().in, 1, p_.height().in); }
  Index x_block() const { return x_rows() * p_.width().in * lanes_; }
  Index step(const Axis& a) const { return std::min(a.stride, a.in); }
  Index phase_rows() const { return ceil_div(p_.height().in, step(p_.height())); }
  Index pitch() const { return dy_stage_.row() / lanes_; }
  Index dx_rows() const { return std::clamp<Index>(kMostPixels / pitch(), 1, phase_rows()); }
  Index phase_block() const { return dx_rows() * pitch() * in_row(); }
  // Phases meet in a canvas; a single one needs none.
  bool canvas() const { return phases_.size() > 1; }
  Index dx_row() const { return (canvas() ? p_.width().in : pitch()) * in_row(); }
  Index dx_pixels() const { return dx_rows() * step(p_.height()) * p_.width().in; }

  // [block of outputs][channel][tap][output]
  Index sums_block() const { return in_row() * p_.taps() * lanes_; }
  Index sums() const { return out_.count * sums_block(); }

  const Problem &p_, &dx_problem_;
  const GradientOperands<T>& a_;
  const std::vector<GradInputPhase> phases_;
  const Problem dy_problem_;
  const std::vector<TapRun> runs_;
  const Kernels<T>& k_ = kernels().of<T>();
  const Index lanes_ = k_.lanes;
  const Index in_ = ceil_div(p_.channels, lanes_);  // vectors of channels
  const Panels out_{p_.outputs, lanes_};            // each of which lies in a vector
  const NarrowWeights<T> weights_{p_.channels, out_, p_.taps()};
  const LaneStage dy_stage_{dy_problem_, dy_problem_.height().out, lanes_};
};

template <class T>
class NarrowGradients<T>::Task {
 public:
  explicit Task(const NarrowGradients& sweep)
      : s_(sweep),
        taps_(s_.p_.taps()),
        workspace_(bytes()),
        dy_(workspace_.template take<T>(dy_room())),
        x_(workspace_.template take<T>(s_.in_ * s_.x_block())),
        phase_(workspace_.template take<T>(phase_room())),
        canvas_(workspace_.template take<T>(canvas_room())),
        weights_(workspace_.template take<T>(s_.weights_.elements())),
        sums_(workspace_.template take<T>(s_.sums())),
        totals_(workspace_.template take<T>(s_.sums())),
        dy_at_(workspace_.template take<Index>(s_.dy_stage_.pixels(s_.dy_problem_))),
        x_at_(workspace_.template take<Index>(s_.x_rows() * s_.p_.width().in)),
        dx_at_(workspace_.template take<Index>(s_.dx_pixels())),
        a_offset_(workspace_.template take<Index>(offsets())),
        b_offset_(workspace_.template take<Index>(offsets())) {
    std::fill_n(dy_, dy_room(), T(0));
    std::fill_n(canvas_, canvas_room(), T(0));            // where no tap leads, it stays so
    std::fill_n(weights_, s_.weights_.elements(), T(0));  // those of blocks that are a row short, too
    s_.dy_stage_.pixel_offsets(s_.dy_problem_, dy_at_);
    for (Index i = 0; i < s_.x_rows() * s_.p_.width().in; ++i) x_at_[i] = i * s_.lanes_;
    for (Index i = 0; i < s_.dx_pixels(); ++i) {
      dx_at_[i] = i / s_.p_.width().in * s_.dx_row() + i % s_.p_.width().in * s_.in_row();
    }
  }

  // gradient: [output][channel, tap] of group g; plane_sums: [image][channel] of dY, or null.
  void run(Index g, Images images, T* gradient, T* plane_sums) {
    const Problem& p = s_.p_;
    const WeightStrides& w = s_.dx_problem_.w;
    if (s_.a_.dx != nullptr) s_.weights_.pack(s_.dx_problem_, s_.a_.w + g * w.group, w.in, w.out, weights_);
    std::fill_n(sums_, s_.sums(), T(0));
    pixels_ = 0;
    folded_ = false;
    for (Index n = images.first; n < images.end; ++n) {
      const T* const dy = s_.a_.dy + n * p.y.batch + g * p.y.group;
      if (plane_sums != nullptr) {
        s_.k_.sum_rows(dy, p.y.channel, p.outputs, p.pixels(), plane_sums + (n * p.groups + g) * p.outputs);
      }
      for (Index i = 0; i < s_.out_.count; ++i) {
        s_.dy_stage_.copy(s_.dy_problem_, s_.k_, dy + s_.out_.start(i) * p.y.channel, 0, s_.out_.size(i), dy_at_,
                          dy_ + i * s_.dy_block());
      }
      const bool last = n + 1 == images.end;
      next_dy_ = last ? next_planes(s_.a_.dy, p.y, p.outputs, p.pixels(), images.first, g + 1)
                      : next_planes(s_.a_.dy, p.y, p.outputs, p.pixels(), n + 1, g);
      next_x_ = last ? next_planes(s_.a_.x, p.x, p.channels, p.height().in * p.width().in, images.first, g + 1)
                     : next_planes(s_.a_.x, p.x, p.channels, p.height().in * p.width().in, n + 1, g);
      if (s_.a_.dx != nullptr) grad_input(n, g);
      if (s_.a_.dw != nullptr) grad_weight(n, g);
    }
    if (s_.a_.dw != nullptr) finish(g, images, gradient);
  }

 private:
  // What tiles read and write behind the last pixel.
  Index dy_room() const { return s_.dy_elements() + kMaxNarrowPixels * s_.lanes_; }
  Index phase_room() const {
    return static_cast<Index>(s_.phases_.size()) * s_.phase_block() + kMaxNarrowPixels * s_.in_row();
  }
  Index canvas_room() const { return s_.canvas() ? s_.dx_pixels() * s_.in_row() : 0; }
  Index offsets() const { return std::max(s_.out_.count * taps_, s_.x_rows()); }
  std::size_t bytes() const {
    std::size_t all = 0;
    for (const Index room : {dy_room(), s_.in_ * s_.x_block(), phase_room(), canvas_room(), s_.weights_.elements(),
                             s_.sums(), s_.sums()}) {
      all += Workspace::piece_bytes<T>(room);
    }
    for (const Index room :
         {s_.dy_stage_.pixels(s_.dy_problem_), s_.x_rows() * s_.p_.width().in, s_.dx_pixels(), offsets(), offsets()}) {
      all += Workspace::piece_bytes<Index>(room);
    }
    return all;
  }

  NextPlanes next_planes(const T* from, const ImageStrides& s, Index channels, Index pixels, Index n, Index g) const {
    if (from == nullptr || g >= s_.p_.groups) return {};
    return {from + n * s.batch + g * s.group, s, channels, pixels};
  }

  void grad_input(Index n, Index g) {
    const Problem& f = s_.dx_problem_;
    const Index step_h = s_.step(f.height()), height = f.height().in, width = f.width().in;
    const ImageStrides strides = channels_as_groups(f.x);
    for (Index first = 0; first < s_.phase_rows(); first += s_.dx_rows()) {
      for (std::size_t i = 0; i < s_.phases_.size(); ++i) convolve_phase(static_cast<Index>(i), first);
      const Index top = first * step_h, rows = std::min(s_.dx_rows() * step_h, height - top);
      T* const dx = s_.a_.dx + n * f.x.batch + g * f.x.group + top * f.x.space[kHeight];
      const T* const from = s_.canvas() ? canvas_ : phase_;
      for (Index i = 0; i < s_.in_; ++i) {
        const Index c = i * s_.lanes_, lanes = std::min(s_.lanes_, f.channels - c);
        LaneBlock<T>{strides, lanes, rows, width, s_.dx_row(), s_.in_row(), dx_at_}.scatter(s_.k_, from + c,
                                                                                            dx + c * f.x.channel);
      }
    }
  }

  // Rows of a phase from `first` on: one run over the rows of dY's stage, gaps included.
  void convolve_phase(Index i, Index first) {
    const GradInputPhase& phase = s_.phases_[static_cast<std::size_t>(i)];
    const Problem& p = phase.problem;
    const Index rows = std::min(s_.dx_rows(), p.height().out - first);
    if (rows <= 0 || p.width().out == 0 || p.taps() == 0) return;
    const Panels& panels = s_.weights_.panels();
    T* const to = phase_ + i * s_.phase_block();
    NarrowTile<T> t{};
    t.inner = most(s_.out_);
    t.a = dy_ + first * s_.dy_stage_.row();
    t.a_offset = a_offset_;
    t.a_step = 1;
    t.b_offset = b_offset_;
    t.sums_row = s_.in_row();
    for (Index j = 0; j < panels.count; ++j) {
      const Index vectors = panels.size(j), together = taps_together(vectors, p.width().kernel);
      set_rows(s_.k_, vectors, rows, p.width().out, s_.pitch(), t);
      set_taps(phase, vectors, together, t);
      t.b = weights_ + s_.weights_.panel(j);
      t.b_step = vectors * s_.weights_.row();
      t.sums = to + panels.start(j) * s_.lanes_;
      next_dy_.give_share(t);
      run_narrow_pixels(s_.k_, vectors, together, t);
    }
    if (s_.canvas()) paint(i, rows, to);
  }

  // The tile's offsets and, of several taps, the distance between them.
  void set_taps(const GradInputPhase& phase, Index vectors, Index together, NarrowTile<T>& t) {
    const Problem& p = phase.problem;
    const Index top = s_.dy_problem_.height().pad, left = s_.dy_problem_.width().pad;
    const auto weights = [&](Index block, Index r, Index s) {
      const Index tap = phase.w_offset + r * p.w.space[kHeight] + s * p.w.space[kWidth];
      return s_.weights_.at(block, vectors, NarrowWeights<T>::place(s_.dx_problem_, tap));
    };
    t.outer = 0;
    for (Index i = 0; i < s_.out_.count; ++i) {
      for (Index r = 0; r < p.height().kernel; ++r) {
        for (Index s = 0; s < p.width().kernel; s += together, ++t.outer) {
          a_offset_[t.outer] = i * s_.dy_block() + (top + p.height().input_of(0, r)) * s_.dy_stage_.row() +
                               (left + p.width().input_of(0, s)) * s_.lanes_;
          b_offset_[t.outer] = weights(i, r, s);
        }
      }
    }
    t.b_vector = together > 1 ? weights(0, 0, 1) - weights(0, 0, 0) : s_.weights_.row();
  }

  // Rows of phase i go where they belong between those of the others.
  void paint(Index i, Index rows, const T* from) {
    const Index step_h = s_.step(s_.p_.height()), step_w = s_.step(s_.p_.width()), pixel = s_.in_row();
    const Index columns = s_.phases_[static_cast<std::size_t>(i)].problem.width().out;
    T* to = canvas_ + i / step_w * s_.dx_row() + i % step_w * pixel;
    for (Index r = 0; r < rows; ++r, to += step_h * s_.dx_row()) {
      s_.k_.copy({from + r * s_.pitch() * pixel, pixel, columns, pixel, to, step_w * pixel});
    }
  }

  // Of dY, which is staged, and image n of x.
  void grad_weight(Index n, Index g) {
    const Problem& p = s_.p_;
    const Index width = p.width().in;
    const ImageStrides strides = channels_as_groups(p.x);
    const T* const x = s_.a_.x + n * p.x.batch + g * p.x.group;
    for (Index top = 0; top < p.height().in; top += s_.x_rows()) {
      const Index rows = std::min(s_.x_rows(), p.height().in - top);
      for (Index i = 0; i < s_.in_; ++i) {
        const Index c = i * s_.lanes_, lanes = std::min(s_.lanes_, p.channels - c);
        LaneBlock<T>{strides, lanes, rows, width, width * s_.lanes_, s_.lanes_, x_at_}.gather(
            s_.k_, x + c * p.x.channel + top * p.x.space[kHeight], x_ + i * s_.x_block());
      }
      for (Index r = 0; r < p.height().kernel; ++r) add_tap_row(r, top, rows);
      pixels_ += rows * width;
      if (pixels_ >= kPixelsOfFold) fold();
    }
  }

  // What row r of the kernel makes of rows [top, top + rows) of x.
  void add_tap_row(Index r, Index top, Index rows) {
    const Axis &h = s_.p_.height(), &w = s_.p_.width();
    const Index to_first = top + h.pad - r;  // from row 0 of the windows
    const Index first = to_first > 0 ? ceil_div(to_first, h.stride) : 0;
    const Index end = to_first + rows > 0 ? std::min(h.out, ceil_div(to_first + rows, h.stride)) : 0;
    const Index count = end - first;
    if (count <= 0) return;
    for (Index i = 0; i < count; ++i) {
      a_offset_[i] = ((first + i) * h.stride - to_first) * w.in * s_.lanes_;
      b_offset_[i] = (s_.dy_problem_.height().pad + first + i) * s_.dy_stage_.row();
    }
    NarrowTile<T> t{};
    t.outer = count;
    t.a_offset = a_offset_;
    t.b_offset = b_offset_;
    t.a_step = w.stride * s_.lanes_;
    t.b_step = s_.lanes_;
    t.sums_row = taps_ * s_.lanes_;
    t.sums_vector = -w.stride * s_.lanes_;
    for (const TapRun& run : s_.runs_) {
      t.inner = run.columns;
      for (Index i = 0; i < s_.in_; ++i) {
        t.rows = std::min(s_.lanes_, s_.p_.channels - i * s_.lanes_);
        t.a = x_ + i * s_.x_block() + run.column * s_.lanes_;
        for (Index j = 0; j < s_.out_.count; ++j) {
          t.b = dy_ + j * s_.dy_block() + (s_.dy_problem_.width().pad + run.dy_column) * s_.lanes_;
          t.sums = sums_ + j * s_.sums_block() + ((i * s_.lanes_) * taps_ + r * w.kernel + run.tap) * s_.lanes_;
          next_x_.give_share(t);
          s_.k_.narrow_channels[run.taps - 1](t);
        }
      }
    }
  }

  void fold() {
    if (folded_) {
      s_.k_.add_rows(sums_, s_.sums(), totals_);
    } else {
      std::copy_n(sums_, s_.sums(), totals_);
    }
    std::fill_n(sums_, s_.sums(), T(0));
    pixels_ = 0;
    folded_ = true;
  }

  void finish(Index g, Images images, T* gradient) {
    if (folded_) fold();
    const T* const totals = folded_ ? totals_ : sums_;
    const Problem& p = s_.p_;
    const Index each = p.channels * taps_;
    for (Index j = 0; j < s_.out_.count; ++j) {
      s_.k_.transpose({totals + j * s_.sums_block(), s_.lanes_, each, s_.out_.size(j),
                       gradient + s_.out_.start(j) * each, each, nullptr, false});
    }
    // Zeros of dY's margins have met the outermost x, and those around x have not met dY: infinities and NaNs tell.
    // They reach some sum of their output.
    for (Index o = 0; o < p.outputs; ++o, gradient += each) {
      bool finite = true;
      for (Index i = 0; i < each; ++i) finite &= gradient[i] - gradient[i] == T(0);
      for (Index i = 0; !finite && i < each; ++i) {
        gradient[i] = static_cast<T>(exact_tap_sum(p, s_.a_.x, s_.a_.dy, g, images, o, i));
      }
    }
  }

  const NarrowGradients& s_;
  Index taps_;
  Workspace workspace_;
  T *dy_, *x_, *phase_, *canvas_;
  T* weights_;
  T *sums_, *totals_;
  Index *dy_at_, *x_at_, *dx_at_;
  Index *a_offset_, *b_offset_;
  Index pixels_ = 0;     // since the last fold
  bool folded_ = false;  // totals hold sums
  NextPlanes next_dy_, next_x_;
};

// Follows from the problem, whatever is wanted: the bits of a gradient do not depend on the others.
template <class T>
bool sweeps(const Problem& p) {
  if (!fills_vectors<T>(p, kMost) || count_phases(p) > kMostPhases) return false;
  for (const Axis& a : {p.height(), p.width()}) {
    if (a.kernel > kMostKernel || std::max(a.in, a.out) > kSide) return false;
    if (a.pad >= a.kernel || a.input_of(a.out - 1, 0) >= a.in) return false;  // every window meets some x
  }
  return true;
}

}  // namespace

template <class T>
bool narrow_gradients(const GradientProblem& problems, const GradientOperands<T>& a, int threads) {
  const Problem& p = problems.weight;
  if (p.flops() == 0 || !sweeps<T>(p)) return false;
  const NarrowGradients<T> gradients(problems, a);
  if (!gradients.fits()) return false;
  run_sweep(gradients, p, a, 1, threads);
  return true;
}

template bool narrow_gradients(const GradientProblem&, const GradientOperands<float>&, int);
template bool narrow_gradients(const GradientProblem&, const GradientOperands<double>&, int);

}  // namespace fastconv
