// Pooling with the width in the lanes, for planes whose rows are contiguous (NCHW).
//
//     rows of the block's planes   copied between margins of padding, where the width is padded
//       -> folded along the width    if the windows overlap so much that this saves work
//       -> folded along height and depth (and the width, if that was not done yet), to y
//
// Neighbours share their margins: what lies behind a row lies before the next one. Where the copy is one run of memory
// it is folded as one, over the ends of rows and planes; nobody reads what windows across them give. Many short rows
// then cost as much as a long one.
//
// What is copied or folded gets margins of rows, too. Else a window that leaves the input there has fewer taps.
#include <limits>

#include "forward.hpp"

namespace fastconv {
namespace {

constexpr Index kFoldedTaps = 5;  // at once; maxima of wider windows are made of those of narrower ones

// Windows of `taps` narrower ones that lie `distance` apart and may overlap.
struct Widening {
  Index taps, distance;
  Index width(Index have) const { return have + (taps - 1) * distance; }
};

// From windows of `have` taps towards `kernel`: in one step, or as far as it leads.
Widening widen(Index have, Index kernel) {
  if (kernel > kFoldedTaps * have) return {kFoldedTaps, have};
  const Index more = ceil_div(kernel - have, have);
  if ((kernel - have) % more == 0) return {more + 1, (kernel - have) / more};
  return {2, have};
}

// Rows in memory at each depth of the windows, the first of them row `first` of the input.
template <class T>
struct Rows {
  const T* data;
  Index first;
  Index plane_step, depth_step, row_step;
  const T* end;      // of what may be read
  T* own = nullptr;  // from here to the end all is ours to overwrite; there are margins of rows
  PlaceOf<T>* places = nullptr;
};

template <class T>
class WidthLanes {
 public:
  WidthLanes(const PoolProblem& p, const PoolPlan& plan, const PoolArrays<T>& a, const PoolBlock& b,
             Workspace& workspace)
      : p_(p),
        plan_(plan),
        a_(a),
        b_(b),
        x_(a.x + b.batch * p.x.batch + b.lanes.first * p.x.channel),
        kernels_(kernels().of<T>()),
        workspace_(workspace),
        depth_(span_of(p.depth(), b.od)),
        in_(reach_of(p.height(), b.rows.first, b.rows.last)),
        reached_{p.height().input_of(b.rows.first, 0), p.height().input_of(b.rows.last - 1, p.height().kernel - 1) + 1},
        start_(p.width().input_of(b.columns.first, 0)),
        extent_((b.columns.size() - 1) * p.width().stride + p.width().span()) {}

  void run() {
    Rows<T> rows = source();
    if (plan_.staged) rows = stage(rows);
    if (plan_.separable) rows = fold_width(rows);
    fold_rows(rows);
  }

 private:
  Index outputs() const { return b_.columns.size(); }
  Index planes() const { return b_.lanes.size(); }
  T padding() const { return a_.kind == kFoldSum ? T(-0.0) : -std::numeric_limits<T>::infinity(); }
  Index top() const { return in_.first - reached_.first; }
  // Rows from one slice to the next: between two there are margins for either.
  Index slice_rows() const { return in_.size() + std::max(top(), reached_.last - in_.last); }
  Index slices() const { return planes() * depth_.count; }
  // Elements behind a copy that its last vectors may read.
  Index slack() const { return p_.width().span() + 4 * kernels_.lanes; }

  // The input itself. Without stage, its first column is the first window's.
  Rows<T> source() const {
    const auto& s = p_.x.space;
    const T* data = x_ + depth_.at * s[kDepth] + in_.first * s[kHeight] + (plan_.staged ? 0 : start_);
    return {data, in_.first, p_.x.channel, p_.depth().dilation * s[kDepth], s[kHeight], a_.x_end};
  }

  Rows<T> stage(const Rows<T>& from) {
    const Axis& w = p_.width();
    const Range inside{std::max<Index>(start_, 0), std::min(start_ + extent_, w.in)};
    const Index left = inside.first - start_, right = start_ + extent_ - inside.last;
    const Index pitch = round_up(inside.size() + std::max(left, right), w.stride), slice = slice_rows() * pitch;
    const Index count = top() * pitch + slices() * slice + left;
    T* const to = workspace_.take<T>(count + slack());
    kernels_.pad_rows({from.data + inside.first,
                       planes(),
                       depth_.count,
                       {from.plane_step, from.depth_step, from.row_step},
                       in_.size(),
                       inside.size(),
                       from.end,
                       to,
                       top() * pitch + left,
                       pitch,
                       slice,
                       padding(),
                       nullptr});
    return {to, reached_.first, depth_.count * slice, slice, pitch, to + count + slack(), to};
  }

  Fold<T> fold(const Rows<T>& rows) const {
    Fold<T> f{};
    f.src = rows.data;
    f.step = rows.row_step;
    f.src_end = rows.end;
    f.planes = f.rows = 1;
    f.n = outputs();
    for (Index& t : f.taps) t = 1;
    return f;
  }

  void set_width(Fold<T>& f) const {
    f.taps[kWidth] = p_.width().kernel;
    f.tap_step[kWidth] = f.place_step[kWidth] = p_.width().dilation;
  }

  void apply(const Fold<T>& f, bool along_width) const {
    const bool pairs = along_width && p_.width().stride == 2;
    (pairs ? kernels_.fold_pairs : kernels_.fold)[a_.kind](f);
  }

  // All of the copy as one row, in place.
  Rows<T> fold_width(const Rows<T>& from) {
    const Axis& w = p_.width();
    Rows<T> rows = from;
    rows.plane_step /= w.stride;
    rows.depth_step /= w.stride;
    rows.row_step /= w.stride;
    rows.places = a_.kind == kFoldMaxPlaces ? workspace_.take<PlaceOf<T>>(from.end - from.own) : nullptr;
    Fold<T> f = in_place(from, count(rows));
    f.dst_place = rows.places;
    if (w.stride == 1 && widens(w)) {
      for (Index have = 1; have < w.kernel;) {
        const Widening step = widen(have, w.kernel);
        f.taps[kWidth] = step.taps;
        f.tap_step[kWidth] = f.place_step[kWidth] = step.distance * w.dilation;
        apply(f, true);
        f.src_place = rows.places;
        have = step.width(have);
      }
    } else {
      set_width(f);
      apply(f, true);
    }
    return rows;
  }

  bool widens(const Axis& a) const { return a_.kind != kFoldSum && a.kernel > kFoldedTaps; }

  // Elements from the first row to the end of the last one.
  Index count(const Rows<T>& rows) const { return top() * rows.row_step + slices() * rows.depth_step; }

  Fold<T> in_place(const Rows<T>& rows, Index count) const {
    Fold<T> f = fold(rows);
    f.n = round_up(count, kernels_.lanes);
    f.dst = rows.own;
    f.src_place = f.dst_place = rows.places;
    return f;
  }

  // Columns of as many taps as leave one step, which is returned.
  Widening fold_columns(const Rows<T>& rows) const {
    const Axis& h = p_.height();
    for (Index have = 1;;) {
      const Widening step = widen(have, h.kernel);
      have = step.width(have);
      if (have == h.kernel) return step;
      // Where more rows follow, that is.
      Fold<T> f = in_place(rows, count(rows) - (have - 1) * h.dilation * rows.row_step);
      f.taps[kHeight] = step.taps;
      f.tap_step[kHeight] = step.distance * h.dilation * rows.row_step;
      f.place_step[kHeight] = step.distance * h.dilation * p_.width().in;
      apply(f, false);
    }
  }

  void fold_rows(const Rows<T>& rows) {
    const Axis& h = p_.height();
    // With margins all windows are whole, but averages' factors may differ.
    const bool alike = a_.kind != kFoldSum || p_.divisor != 0 ||
                       (p_.count_include_pad && padded_extent(h, p_.pad_after[kHeight], b_.rows.last - 1) == h.kernel);
    RowFactors<T> factors(p_, b_.columns, workspace_.take<T>(a_.kind == kFoldSum ? outputs() : 0), a_.whole);
    const Range all{0, planes()};
    if (plan_.separable && widens(h)) last_ = fold_columns(rows);
    if ((rows.own != nullptr || !h.padded()) && alike) {
      fold_rows(rows, all, b_.rows.first, b_.rows.size(), {h.kernel, reached_.first}, factors);
    } else {
      // Plane after plane: a row that is too short for a vector may spill into the next one.
      for (Index plane = 0; plane < planes(); ++plane) {
        for_each_run(h, b_.rows.first, b_.rows.last, [&](Index oh, Index count, const Span& span) {
          const Span taps = rows.own != nullptr ? Span{h.kernel, h.input_of(oh, 0)} : span;
          fold_rows(rows, {plane, plane + 1}, oh, count, taps, factors);
        });
      }
    }
    if (a_.kind == kFoldMaxPlaces && rows.own != nullptr) repair();
  }

  // `count` rows of outputs of some planes, whose windows have the taps of `span`.
  void fold_rows(const Rows<T>& rows, const Range& planes, Index oh, Index count, const Span& span,
                 RowFactors<T>& factors) const {
    if (depth_.empty() || span.empty()) return store_nothing(planes, oh);
    const Axis& h = p_.height();
    const Index width = p_.width().in, area = h.in * width;
    const Index first = planes.first * rows.plane_step + (span.at - rows.first) * rows.row_step;
    Fold<T> f = fold(rows);
    f.planes = planes.size();
    f.src += first;
    f.src_plane = rows.plane_step;
    f.src_place = rows.places == nullptr ? nullptr : rows.places + first;
    f.step = h.stride * rows.row_step;
    f.rows = count;
    f.taps[kDepth] = depth_.count;
    f.taps[kHeight] = span.count;
    f.tap_step[kDepth] = rows.depth_step;
    f.tap_step[kHeight] = h.dilation * rows.row_step;
    if (plan_.separable && widens(h)) {
      f.taps[kHeight] = last_.taps;
      f.tap_step[kHeight] *= last_.distance;
    }
    if (!plan_.separable) set_width(f);
    if (a_.kind == kFoldSum) f.scale = factors.of(b_.od, oh);
    f.scale_lanes = true;
    f.place = depth_.at * area + span.at * width + start_;
    f.place_row = h.stride * width;
    f.place_lane = p_.width().stride;
    f.place_step[kDepth] = p_.depth().dilation * area;
    f.place_step[kHeight] = h.dilation * width * (f.tap_step[kHeight] / (h.dilation * rows.row_step));
    set_output(f, planes, oh);
    apply(f, !plan_.separable);
  }

  void set_output(Fold<T>& f, const Range& planes, Index oh) const {
    const auto dense = [&](const ImageStrides& s) {
      return s.space[kHeight] == outputs() && (planes.size() == 1 || s.channel == b_.rows.size() * outputs());
    };
    f.dst = y(planes.first) + offset_of(p_.y, b_.od, oh, b_.columns.first);
    f.dst_plane = p_.y.channel;
    f.ld_dst = p_.y.space[kHeight];
    f.dst_end = dense(p_.y) ? y(planes.last - 1) + offset_of(p_.y, b_.od, b_.rows.last, 0) : nullptr;
    if (a_.indices == nullptr) return;
    f.indices = indices(planes.first) + offset_of(p_.indices, b_.od, oh, b_.columns.first);
    f.indices_plane = p_.indices.channel;
    f.ld_indices = p_.indices.space[kHeight];
    f.indices_end =
        dense(p_.indices) ? indices(planes.last - 1) + offset_of(p_.indices, b_.od, b_.rows.last, 0) : nullptr;
  }

  T* y(Index plane) const { return a_.y + b_.batch * p_.y.batch + (b_.lanes.first + plane) * p_.y.channel; }
  Index* indices(Index plane) const {
    return a_.indices + b_.batch * p_.indices.batch + (b_.lanes.first + plane) * p_.indices.channel;
  }

  // A row of windows between the elements of the input.
  void store_nothing(const Range& planes, Index oh) const {
    for (Index plane = planes.first; plane < planes.last; ++plane) {
      std::fill_n(y(plane) + offset_of(p_.y, b_.od, oh, b_.columns.first), outputs(), padding());
      if (a_.indices == nullptr) continue;
      std::fill_n(indices(plane) + offset_of(p_.indices, b_.od, oh, b_.columns.first), outputs(), Index{-1});
    }
  }

  // Where the maximum is -inf, padding may have come first: look again, without it.
  void repair() const {
    for (Index plane = 0; plane < planes(); ++plane) {
      for (Index oh = b_.rows.first; oh < b_.rows.last; ++oh) {
        repair_places(p_, x_ + plane * p_.x.channel, b_.od, oh, b_.columns,
                      y(plane) + offset_of(p_.y, b_.od, oh, b_.columns.first),
                      indices(plane) + offset_of(p_.indices, b_.od, oh, b_.columns.first));
      }
    }
  }

  const PoolProblem& p_;
  const PoolPlan& plan_;
  const PoolArrays<T>& a_;
  const PoolBlock& b_;
  const T* x_;
  const Kernels<T>& kernels_;
  Workspace& workspace_;
  Span depth_;
  Range in_, reached_;    // rows of the input that the windows reach; with those of padding
  Widening last_{};       // of columns that are folded already
  Index start_, extent_;  // the first window's first column, in the margin if negative; columns that the windows span
};

}  // namespace

template <class T>
void pool_width_lanes(const PoolProblem& p, const PoolPlan& plan, const PoolArrays<T>& a, const PoolBlock& block,
                      Workspace& workspace) {
  WidthLanes<T>(p, plan, a, block, workspace).run();
}

template void pool_width_lanes(const PoolProblem&, const PoolPlan&, const PoolArrays<float>&, const PoolBlock&,
                               Workspace&);
template void pool_width_lanes(const PoolProblem&, const PoolPlan&, const PoolArrays<double>&, const PoolBlock&,
                               Workspace&);

}  // namespace fastconv
