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
        planes_(in_channels_ ? 1 : b.lanes.size()),
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
    const Index count = planes_ * depths_.size() * slice_;
    dy_ = workspace_.take<T>(count + slice_);
    const bool empty = existing_.size() <= 0 || inside_.size() <= 0;
    if (empty || (in_channels_ && (existing_.size() < piece_.rows.size() || inside_.size() < piece_.columns.size()))) {
      std::fill_n(dy_, count, T(0));
    }
    for (Index od = depths_.first; od < depths_.last && !empty; ++od) copy_scaled(od);
    const bool pairs = !in_channels_ && p_.width().stride == 2 && p_.height().stride == 2 && p_.height().kernel > 1 &&
                       b_.rows.size() > 1;
    if (pairs) return fold_rows(b_.rows.first, 2);
    for (Index residue = 0; residue < std::min(p_.height().stride, b_.rows.size()); ++residue) {
      fold_rows(b_.rows.first + residue, 1);
    }
  }

 private:
  // Where output (od, oh, inside_.first) lies in dy_.
  Index at(Index od, Index oh) const {
    return (od - depths_.first) * slice_ + (oh - piece_.rows.first) * pitch_ +
           (inside_.first - piece_.columns.first) * lanes_;
  }

  // dy at one depth. Without -0: then it makes no difference how many zeros a sum meets on its way.
  void copy_scaled(Index od) {
    const T* from = a_.dy + b_.batch * p_.y.batch + b_.lanes.first * p_.y.channel +
                    offset_of(p_.y, od, existing_.first, inside_.first);
    T* to = dy_ + at(od, existing_.first);
    const T* const* const factors = (*a_.factors)[static_cast<std::size_t>(od)].rows();
    if (!in_channels_) {
      T* const slice = dy_ + (od - depths_.first) * slice_;
      scales_.clear();
      for (Index oh = existing_.first; oh < existing_.last; ++oh) scales_.push_back(factors[oh] + inside_.first);
      return kernels_.pad_rows({from,
                                planes_,
                                1,
                                {p_.y.channel, 0, p_.y.space[kHeight]},
                                existing_.size(),
                                inside_.size(),
                                a_.dy_end,
                                slice,
                                to - slice,
                                pitch_,
                                slice_,
                                T(0),
                                scales_.data()});
    }
    for (Index oh = existing_.first; oh < existing_.last; ++oh, from += p_.y.space[kHeight], to += pitch_) {
      const T* const factor = factors[oh] + inside_.first;
      for (Index i = 0, end; i < inside_.size(); i = end) {
        for (end = i + 1; end < inside_.size() && factor[end] == factor[i];) ++end;
        scale_pixels(from + i * p_.y.space[kWidth], end - i, factor[i], to + i * lanes_);
      }
    }
  }

  // As windows of one element give to it.
  void scale_pixels(const T* from, Index count, T factor, T* to) const {
    Unpool<T> u{};
    const Index step = p_.y.space[kWidth];
    const bool dense = step == lanes_;
    u.dy = from, u.dy_step[1] = step;
    u.dx = to, u.dx_step[1] = lanes_;
    u.outer = 1, u.rows = dense ? 1 : count, u.n = dense ? count * lanes_ : lanes_;
    for (Index& taps : u.taps) taps = 1;
    u.scale = factor;
    kernels_.unpool(u);
  }

  // Rows `first`, first + stride, ... of dx; if there are two kinds of rows, those between them as well.
  void fold_rows(Index first, Index kinds) {
    const Axis& h = p_.height();
    const Range holders = Holders{h}.of(first);
    Fold<T> f{};
    f.planes = planes_;
    f.src_plane = depths_.size() * slice_;
    f.dst_plane = p_.gradient.channel;
    f.src = dy_ + (holders.first - piece_.rows.first) * pitch_;
    f.src_end = dy_ + planes_ * depths_.size() * slice_ + kernels_.lanes;
    f.taps[kDepth] = depths_.size();
    f.taps[kHeight] = holders.size();
    f.tap_step[kDepth] = slice_;
    f.tap_step[kHeight] = pitch_;
    f.tap_step[kWidth] = lanes_;
    T* dx = a_.dx + b_.batch * p_.gradient.batch + b_.lanes.first * p_.gradient.channel +
            offset_of(p_.gradient, b_.id, first, 0);
    const Index count = (b_.rows.last - first - 1) / h.stride + 1;
    if (!in_channels_) {
      f.row_kinds = kinds;
      f.rows = kinds == 1 ? count : b_.rows.size();
      f.step = pitch_;
      f.ld_dst = h.stride / kinds * p_.gradient.space[kHeight];
      if (kinds == 2) {
        const Range odd = Holders{h}.of(first + 1);
        f.odd_row = (odd.first - holders.first) * pitch_;
        f.odd_row_taps = odd.size();
      }
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
    const auto& s = p_.gradient;
    const bool follow = f.ld_dst == f.n && (planes_ == 1 || s.channel == f.rows * f.n);
    f.dst_end = follow ? f.dst + planes_ * f.rows * f.n : nullptr;
    if (p_.width().stride == 1) {
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

  static bool empty(const Fold<T>& f) { return f.taps[0] < 1 || f.taps[1] < 1 || f.taps[2] < 1; }
  static void zero(const Fold<T>& f) {
    for (Index i = 0; i < f.planes * f.rows; ++i) {
      std::fill_n(f.dst + i / f.rows * f.dst_plane + i % f.rows * f.ld_dst, f.n, T(0));
    }
  }

  const PoolProblem& p_;
  const GradientPlan& plan_;
  const GradientArrays<T>& a_;
  const GradientBlock& b_;
  const Kernels<T>& kernels_;
  Workspace workspace_;
  bool in_channels_;
  Index lanes_, planes_;
  GradientPiece piece_;
  Range existing_, inside_;  // rows and columns of the piece that exist
  Range depths_;
  Index pitch_, slice_;
  T* dy_ = nullptr;
  std::vector<const T*> scales_;
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
