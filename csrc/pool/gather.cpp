// Input i is held by the outputs o with o * stride - pad <= i < o * stride - pad + kernel: a run of them, whose
// length and start depend on i modulo the stride only. So dx is a fold of stride 1 over dy for each residue:
//
//     rows of dy                 copied between margins of zeros, times their factors
//       -> for each residue of rows (and of columns): sums over the holders
//
// The additions go along the width, then the height, then the depth.
#include "backward.hpp"

namespace fastconv {
namespace {

template <class T>
class Gather {
 public:
  Gather(const PoolProblem& p, const GradientPlan& plan, const GradientArrays<T>& a, const GradientBlock& b)
      : p_(p),
        plan_(plan),
        a_(a),
        b_(b),
        kernels_(kernels().of<T>()),
        workspace_(plan.workspace),
        in_channels_(plan.road == Road::kChannelLanes),
        lanes_(in_channels_ ? b.lanes.size() : 1),
        piece_(gradient_piece(p, b.rows)),
        existing_{std::max<Index>(piece_.rows.first, 0), std::min(piece_.rows.last, p.height().out)},
        inside_{std::max<Index>(piece_.columns.first, 0), std::min(piece_.columns.last, p.width().out)} {
    const Holders holders{p.depth()};
    depths_ = {std::max<Index>(holders.first(b.id), 0), std::min(holders.last(b.id), p.depth().out)};
    depths_.last = std::max(depths_.first, depths_.last);
    pitch_ = piece_.columns.size() * lanes_;
    slice_ = piece_.rows.size() * pitch_;
  }

  void run() {
    const Index count = depths_.size() * slice_;
    dy_ = workspace_.take<T>(count);
    if (existing_.size() < piece_.rows.size() || inside_.size() < piece_.columns.size()) std::fill_n(dy_, count, T(0));
    if (existing_.size() > 0 && inside_.size() > 0) {
      factors_ = workspace_.take<T>(p_.width().out);
      for (Index od = depths_.first; od < depths_.last; ++od) copy_scaled(od);
    }
    for (Index residue = 0; residue < std::min(p_.height().stride, b_.rows.size()); ++residue) {
      fold_rows(b_.rows.first + residue);
    }
  }

 private:
  // Where output (od, oh, inside_.first) lies in dy_.
  Index at(Index od, Index oh) const {
    return (od - depths_.first) * slice_ + (oh - piece_.rows.first) * pitch_ +
           (inside_.first - piece_.columns.first) * lanes_;
  }

  // dy at one depth. Without -0: then it makes no difference how many zeros a sum meets on its way.
  void copy_scaled(Index od) const {
    const T* from = a_.dy + b_.batch * p_.y.batch + b_.lanes.first * p_.y.channel +
                    offset_of(p_.y, od, existing_.first, inside_.first);
    T* to = dy_ + at(od, existing_.first);
    RowFactors<T> factors(p_, {0, p_.width().out}, factors_);
    for (Index oh = existing_.first; oh < existing_.last; ++oh, from += p_.y.space[kHeight], to += pitch_) {
      const T* const factor = factors.of(od, oh) + inside_.first;
      if (!in_channels_) {
        for (Index i = 0; i < inside_.size(); ++i) to[i] = from[i] * factor[i] + T(0);
        continue;
      }
      for (Index i = 0; i < inside_.size(); ++i) {
        const T* pixel = from + i * p_.y.space[kWidth];
        for (Index c = 0; c < lanes_; ++c) to[i * lanes_ + c] = pixel[c] * factor[i] + T(0);
      }
    }
  }

  // Rows `first`, first + stride, ... of dx.
  void fold_rows(Index first) {
    const Axis& h = p_.height();
    const Range holders = Holders{h}.of(first);
    Fold<T> f{};
    f.planes = 1;
    f.src = dy_ + (holders.first - piece_.rows.first) * pitch_;
    f.src_end = dy_ + depths_.size() * slice_ + kernels_.lanes;
    f.taps[kDepth] = depths_.size();
    f.taps[kHeight] = holders.size();
    f.tap_step[kDepth] = slice_;
    f.tap_step[kHeight] = pitch_;
    f.tap_step[kWidth] = lanes_;
    T* dx = a_.dx + b_.batch * p_.gradient.batch + b_.lanes.first * p_.gradient.channel +
            offset_of(p_.gradient, b_.id, first, 0);
    const Index count = (b_.rows.last - first - 1) / h.stride + 1;
    if (!in_channels_) {
      f.rows = count;
      f.step = pitch_;
      f.ld_dst = h.stride * p_.gradient.space[kHeight];
      return fold_columns(f, dx);
    }
    for (Index row = 0; row < count; ++row) {
      fold_pixels(f, dx + row * h.stride * p_.gradient.space[kHeight]);
      f.src += pitch_;
    }
  }

  // With the width in the lanes: stride 1 or 2.
  void fold_columns(Fold<T>& f, T* dx) const {
    const Holders holders{p_.width()};
    f.n = p_.width().in;
    f.dst = dx;
    f.taps[kWidth] = holders.of(0).size();
    if (empty(f)) return zero(f);
    if (p_.width().stride == 1) {
      f.dst_end = rows_follow() ? f.dst + f.rows * f.ld_dst : nullptr;
      return kernels_.fold[kFoldSum](f);
    }
    const Range odd = f.n > 1 ? holders.of(1) : holders.of(0);
    f.odd = odd.first - holders.first(0);
    f.odd_taps = odd.size();
    kernels_.fold_zip(f);
  }

  // With channels in the lanes: pixel after pixel of each residue of the columns.
  void fold_pixels(Fold<T> f, T* dx) const {
    const Axis& w = p_.width();
    const T* const src = f.src;
    f.n = lanes_;
    f.step = lanes_;
    f.ld_dst = w.stride * p_.gradient.space[kWidth];
    for (Index residue = 0; residue < std::min(w.stride, w.in); ++residue) {
      const Range holders = Holders{w}.of(residue);
      const Index offset = (holders.first - piece_.columns.first) * lanes_;
      f.src = src + offset;
      f.rows = (w.in - residue - 1) / w.stride + 1;
      f.taps[kWidth] = holders.size();
      f.dst = dx + residue * p_.gradient.space[kWidth];
      if (empty(f)) {
        zero(f);
      } else {
        kernels_.fold[kFoldSum](f);
      }
    }
  }

  bool rows_follow() const { return p_.height().stride == 1 && p_.gradient.space[kHeight] == p_.width().in; }

  static bool empty(const Fold<T>& f) { return f.taps[0] < 1 || f.taps[1] < 1 || f.taps[2] < 1; }
  static void zero(const Fold<T>& f) {
    for (Index row = 0; row < f.rows; ++row) std::fill_n(f.dst + row * f.ld_dst, f.n, T(0));
  }

  const PoolProblem& p_;
  const GradientPlan& plan_;
  const GradientArrays<T>& a_;
  const GradientBlock& b_;
  const Kernels<T>& kernels_;
  Workspace workspace_;
  bool in_channels_;
  Index lanes_;
  GradientPiece piece_;
  Range existing_, inside_;  // rows and columns of the piece that exist
  Range depths_;
  Index pitch_, slice_;
  T* dy_ = nullptr;
  T* factors_ = nullptr;
};

}  // namespace

GradientPiece gradient_piece(const PoolProblem& p, const Range& rows) {
  const Holders h{p.height()}, w{p.width()};
  Index last = w.last(p.width().in - 1);
  // With the width in the lanes, both residues are read for as many lanes as the longer one has.
  if (p.width().stride == 2) last = std::max(last, w.first(1) + (p.width().in + 1) / 2 - 1 + w.of(1).size());
  return {{h.first(rows.first), h.last(rows.last - 1)}, {w.first(0), last}};
}

template <class T>
void gather_gradient(const PoolProblem& p, const GradientPlan& plan, const GradientArrays<T>& a,
                     const GradientBlock& block) {
  Gather<T>(p, plan, a, block).run();
}

template void gather_gradient(const PoolProblem&, const GradientPlan&, const GradientArrays<float>&,
                              const GradientBlock&);
template void gather_gradient(const PoolProblem&, const GradientPlan&, const GradientArrays<double>&,
                              const GradientBlock&);

}  // namespace fastconv
