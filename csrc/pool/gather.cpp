// Input i is held by the outputs o with o * stride - pad <= i < o * stride - pad + kernel: a run of them, whose
// length and start depend on i modulo the stride only. So dx is a fold of stride 1 over dy for each residue:
//
//     rows of dy                 copied between margins of zeros; for averages, times their factors
//     their maxima's places      from the saved indices, or found again; margins of -1
//       -> for each residue of rows (and of columns): sums over the holders; where the maxima count, of
//          those whose place is the element's own
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

  bool run() {
    const Index count = depths_.size() * slice_;
    dy_ = workspace_.take<T>(count);
    if (a_.kind == kFoldMatches) places_ = workspace_.take<PlaceOf<T>>(count);
    const bool margins = existing_.size() < piece_.rows.size() || inside_.size() < piece_.columns.size();
    if (margins) {
      std::fill_n(dy_, count, T(0));
      if (places_ != nullptr) std::fill_n(places_, count, PlaceOf<T>{-1});
    }
    bool valid = true;
    if (existing_.size() > 0 && inside_.size() > 0) {
      if (a_.kind == kFoldSum) factors_ = workspace_.take<T>(p_.width().out);
      if (a_.kind == kFoldMatches && a_.indices == nullptr) find_maxima();
      for (Index od = depths_.first; od < depths_.last; ++od) valid &= stage(od);
    }
    for (Index residue = 0; residue < std::min(p_.height().stride, b_.rows.size()); ++residue) {
      fold_rows(b_.rows.first + residue);
    }
    return valid;
  }

 private:
  // Where output (od, oh, inside_.first) lies in dy_ and places_.
  Index at(Index od, Index oh) const {
    return (od - depths_.first) * slice_ + (oh - piece_.rows.first) * pitch_ +
           (inside_.first - piece_.columns.first) * lanes_;
  }

  // The windows' maxima again, for the rows of this piece: their places where they are needed, their values
  // nowhere.
  void find_maxima() {
    T* const values = workspace_.take<T>(depths_.size() * slice_);
    PoolProblem p = p_;
    p.y = ImageStrides{};
    p.y.channel = 1;
    p.y.space = {slice_, pitch_, lanes_};
    const Index base =
        depths_.first * slice_ + piece_.rows.first * pitch_ + piece_.columns.first * lanes_ + b_.lanes.first;
    PoolArrays<T> arrays{kFoldMaxPlaces, a_.x + b_.batch * p.x.batch, values - base, nullptr};
    arrays.x_end = a_.x + p.planes() * p.plane_size();
    arrays.places = places_ - base;
    for (Index od = depths_.first; od < depths_.last; ++od) {
      const PoolBlock block{0, b_.lanes, od, existing_, {0, p_.width().out}};
      Workspace rest = workspace_;
      if (in_channels_) {
        pool_channel_lanes(p, plan_.maxima, arrays, block, rest);
      } else {
        pool_width_lanes(p, plan_.maxima, arrays, block, rest);
      }
    }
  }

  // dy at one depth, and its places.
  bool stage(Index od) {
    const Index first = existing_.first, rows = existing_.size(), columns = inside_.size();
    const T* const from =
        a_.dy + b_.batch * p_.y.batch + b_.lanes.first * p_.y.channel + offset_of(p_.y, od, first, inside_.first);
    T* const to = dy_ + at(od, first);
    if (a_.kind == kFoldSum) {
      copy_scaled(od, from, to);
    } else {
      const bool packed = !in_channels_ || p_.y.space[kWidth] == lanes_;
      const Index pieces = packed ? 1 : columns, length = packed ? columns * lanes_ : lanes_;
      for (Index row = 0; row < rows; ++row) {
        for (Index i = 0; i < pieces; ++i) {
          copy_plus_zero(from + row * p_.y.space[kHeight] + i * p_.y.space[kWidth], length,
                         to + row * pitch_ + i * lanes_);
        }
      }
    }
    return a_.indices == nullptr || take_places(od);
  }

  // Without -0: then it makes no difference how many zeros a sum meets on its way.
  static void copy_plus_zero(const T* from, Index count, T* to) {
    for (Index i = 0; i < count; ++i) to[i] = from[i] + T(0);
  }

  void copy_scaled(Index od, const T* from, T* to) const {
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

  // The saved indices of one depth; false if one lies outside its window.
  bool take_places(Index od) const {
    const Axis &h = p_.height(), &w = p_.width();
    const Span depth = span_of(p_.depth(), od);
    Places<T> t{};
    t.indices_end = a_.indices + p_.planes() * p_.pixels();
    t.taps[kDepth] = depth.count;
    t.place_step[kDepth] = h.in * w.in;
    t.place_step[kHeight] = w.in;
    bool valid = true;
    for_each_run(h, existing_.first, existing_.last, [&](Index oh, Index rows, const Span& span) {
      t.taps[kHeight] = span.count;
      const Index row = (depth.at * h.in + span.at) * w.in;
      const Index* const from = a_.indices + b_.batch * p_.indices.batch + b_.lanes.first * p_.indices.channel +
                                offset_of(p_.indices, od, oh, inside_.first);
      if (in_channels_) {
        for (Index i = 0; i < rows; ++i) {
          valid &=
              take_pixels(t, from + i * p_.indices.space[kHeight], places_ + at(od, oh + i), row + i * h.stride * w.in);
        }
        return;
      }
      t.indices = from;
      t.ld_indices = p_.indices.space[kHeight];
      t.places = places_ + at(od, oh);
      t.ld_places = pitch_;
      t.rows = rows;
      t.n = inside_.size();
      t.place = row + w.input_of(inside_.first, 0);
      t.place_row = h.stride * w.in;
      t.place_lane = w.stride;
      t.taps[kWidth] = w.kernel;
      valid &= kernels_.take_places(t) && (!w.padded() || edges_are_valid(t, row));
    });
    return valid;
  }

  // With channels in the lanes: one row of pixels.
  bool take_pixels(Places<T>& t, const Index* from, PlaceOf<T>* to, Index row) const {
    bool valid = true;
    for_each_run(p_.width(), inside_.first, inside_.last, [&](Index ow, Index count, const Span& span) {
      t.indices = from + (ow - inside_.first) * p_.indices.space[kWidth];
      t.ld_indices = p_.indices.space[kWidth];
      t.places = to + (ow - inside_.first) * lanes_;
      t.ld_places = lanes_;
      t.rows = count;
      t.n = lanes_;
      t.place = row + span.at;
      t.place_row = p_.width().stride;
      t.place_lane = 0;
      t.taps[kWidth] = span.count;
      valid &= kernels_.take_places(t);
    });
    return valid;
  }

  // A window that leaves the row must not find its maximum in the neighbouring one.
  bool edges_are_valid(const Places<T>& t, Index row) const {
    const Axis& w = p_.width();
    bool valid = true;
    for_each_run(w, inside_.first, inside_.last, [&](Index ow, Index, const Span& span) {
      if (span.count == w.kernel) return;
      for (Index i = 0; i < t.rows; ++i) {
        const Index place = t.indices[i * t.ld_indices + ow - inside_.first];
        bool found = place == -1;
        for (Index kd = 0; kd < t.taps[kDepth]; ++kd) {
          for (Index kh = 0; kh < t.taps[kHeight]; ++kh) {
            const Index rest = place - row - i * t.place_row - kd * t.place_step[kDepth] - kh * w.in - span.at;
            found |= rest >= 0 && rest < span.count;
          }
        }
        valid &= found;
      }
    });
    return valid;
  }

  // Rows `first`, first + stride, ... of dx.
  void fold_rows(Index first) {
    const Axis &h = p_.height(), &w = p_.width();
    const Range holders = Holders{h}.of(first);
    Fold<T> f{};
    f.src = dy_ + (holders.first - piece_.rows.first) * pitch_;
    f.src_end = dy_ + depths_.size() * slice_ + kernels_.lanes;
    f.src_place = places_ == nullptr ? nullptr : places_ + (f.src - dy_);
    f.taps[kDepth] = depths_.size();
    f.taps[kHeight] = holders.size();
    f.tap_step[kDepth] = slice_;
    f.tap_step[kHeight] = pitch_;
    f.tap_step[kWidth] = lanes_;
    T* dx = a_.dx + b_.batch * p_.gradient.batch + b_.lanes.first * p_.gradient.channel +
            offset_of(p_.gradient, b_.id, first, 0);
    f.place = (b_.id * h.in + first) * w.in;
    const Index count = (b_.rows.last - first - 1) / h.stride + 1;
    if (!in_channels_) {
      f.rows = count;
      f.step = pitch_;
      f.ld_dst = h.stride * p_.gradient.space[kHeight];
      f.place_row = h.stride * w.in;
      return fold_columns(f, dx);
    }
    for (Index row = 0; row < count; ++row) {
      fold_pixels(f, dx + row * h.stride * p_.gradient.space[kHeight]);
      f.src += pitch_;
      if (places_ != nullptr) f.src_place += pitch_;
      f.place += h.stride * w.in;
    }
  }

  // With the width in the lanes: stride 1 or 2.
  void fold_columns(Fold<T>& f, T* dx) const {
    const Holders holders{p_.width()};
    f.n = p_.width().in;
    f.dst = dx;
    f.taps[kWidth] = holders.of(0).size();
    f.place_lane = p_.width().stride;
    if (empty(f)) return zero(f);
    if (p_.width().stride == 1) {
      f.dst_end = rows_follow() ? f.dst + f.rows * f.ld_dst : nullptr;
      return kernels_.fold[a_.kind](f);
    }
    const Range odd = f.n > 1 ? holders.of(1) : holders.of(0);
    f.odd = odd.first - holders.first(0);
    f.odd_taps = odd.size();
    kernels_.fold_zip[a_.kind](f);
  }

  // With channels in the lanes: pixel after pixel of each residue of the columns.
  void fold_pixels(Fold<T> f, T* dx) const {
    const Axis& w = p_.width();
    const T* const src = f.src;
    const PlaceOf<T>* const places = f.src_place;
    const Index place = f.place;
    f.n = lanes_;
    f.step = lanes_;
    f.ld_dst = w.stride * p_.gradient.space[kWidth];
    f.place_row = w.stride;
    for (Index residue = 0; residue < std::min(w.stride, w.in); ++residue) {
      const Range holders = Holders{w}.of(residue);
      const Index offset = (holders.first - piece_.columns.first) * lanes_;
      f.src = src + offset;
      if (places != nullptr) f.src_place = places + offset;
      f.rows = (w.in - residue - 1) / w.stride + 1;
      f.taps[kWidth] = holders.size();
      f.dst = dx + residue * p_.gradient.space[kWidth];
      f.place = place + residue;
      if (empty(f)) {
        zero(f);
      } else {
        kernels_.fold[a_.kind](f);
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
  PlaceOf<T>* places_ = nullptr;
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
bool gather_gradient(const PoolProblem& p, const GradientPlan& plan, const GradientArrays<T>& a,
                     const GradientBlock& block) {
  return Gather<T>(p, plan, a, block).run();
}

template bool gather_gradient(const PoolProblem&, const GradientPlan&, const GradientArrays<float>&,
                              const GradientBlock&);
template bool gather_gradient(const PoolProblem&, const GradientPlan&, const GradientArrays<double>&,
                              const GradientBlock&);

}  // namespace fastconv
