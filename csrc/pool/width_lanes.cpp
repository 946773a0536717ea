// Pooling with the width in the lanes, for planes whose rows are contiguous (NCHW).
//
//     rows of the block          copied between margins of padding, where the width is padded
//       -> folded along the width  if the windows overlap so much that this saves work
//       -> folded along height and depth (and the width, if that was not done yet), to y
//
// What is copied or folded gets margins of rows, too. Else a window that leaves the input there has fewer taps.
#include <limits>

#include "forward.hpp"

namespace fastconv {
namespace {

// Rows in memory at each depth of the windows, the first of them row `first` of the input.
template <class T>
struct Rows {
  const T* data;
  Index first;
  Index depth_step, row_step;
  const T* end;  // of what may be read
  bool margins = false;
  const PlaceOf<T>* places = nullptr;
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
        start_(p.width().input_of(b.columns.first, 0)) {}

  void run() {
    Rows<T> rows = source();
    if (plan_.staged) rows = stage(rows);
    if (plan_.separable) rows = fold_width(rows);
    fold_rows(rows);
  }

 private:
  Index outputs() const { return b_.columns.size(); }
  T padding() const { return a_.kind == kFoldSum ? T(-0.0) : -std::numeric_limits<T>::infinity(); }

  // The input itself. Without stage, its first column is the first window's.
  Rows<T> source() const {
    const auto& s = p_.x.space;
    const T* data = x_ + depth_.at * s[kDepth] + in_.first * s[kHeight] + (plan_.staged ? 0 : start_);
    return {data, in_.first, p_.depth().dilation * s[kDepth], s[kHeight], a_.x_end};
  }

  Rows<T> stage(const Rows<T>& from) {
    const Axis& w = p_.width();
    const Range rows = plan_.separable ? in_ : reached_;
    const Index pitch = (outputs() - 1) * w.stride + w.span();
    const Range inside{std::clamp<Index>(start_, 0, w.in), std::clamp<Index>(start_ + pitch, 0, w.in)};
    const Index slice = rows.size() * pitch, count = depth_.count * slice;
    T* const to = workspace_.take<T>(count);
    for (Index kd = 0; kd < depth_.count; ++kd) {
      fill_margins(to + kd * slice, rows, inside, pitch);
      kernels_.copy({from.data + kd * from.depth_step + inside.first, from.row_step, in_.size(), inside.size(),
                     to + kd * slice + (in_.first - rows.first) * pitch + inside.first - start_, pitch});
    }
    return {to, rows.first, slice, pitch, to + count + kernels_.lanes, !plan_.separable};
  }

  // What is no input of these rows, `pitch` apart.
  void fill_margins(T* to, const Range& rows, const Range& inside, Index pitch) const {
    const Index left = inside.first - start_, right = pitch - left - inside.size();
    std::fill_n(to, (in_.first - rows.first) * pitch, padding());
    for (Index row = in_.first; row < in_.last; ++row) {
      T* const p = to + (row - rows.first) * pitch;
      for (Index i = 0; i < left; ++i) p[i] = padding();
      for (Index i = pitch - right; i < pitch; ++i) p[i] = padding();
    }
    std::fill_n(to + (in_.last - rows.first) * pitch, (rows.last - in_.last) * pitch, padding());
  }

  Fold<T> fold(const Rows<T>& rows) const {
    Fold<T> f{};
    f.step = rows.row_step;
    f.src_end = rows.end;
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

  // Of one row after the other; or of all at once, where a row's garbage at the end does no harm.
  Rows<T> fold_width(const Rows<T>& from) {
    const bool flat = plan_.staged && p_.width().stride == 1;
    const Index pitch = flat ? from.row_step : outputs(), slice = reached_.size() * pitch, count = depth_.count * slice;
    T* const to = workspace_.take<T>(count);
    PlaceOf<T>* const places = a_.kind == kFoldMaxPlaces ? workspace_.take<PlaceOf<T>>(count) : nullptr;
    Fold<T> f = fold(from);
    set_width(f);
    f.rows = flat ? 1 : in_.size();
    if (flat) f.n = in_.size() * pitch - (p_.width().span() - 1);
    f.ld_dst = pitch;
    for (Index kd = 0; kd < depth_.count && in_.size() > 0; ++kd) {
      const Index first = kd * slice + (in_.first - reached_.first) * pitch;
      f.src = from.data + kd * from.depth_step;
      f.dst = to + first;
      f.dst_end = f.dst + in_.size() * pitch;
      f.dst_place = places == nullptr ? nullptr : places + first;
      apply(f, true);
    }
    for (Index kd = 0; kd < depth_.count; ++kd) {
      std::fill_n(to + kd * slice, (in_.first - reached_.first) * pitch, padding());
      std::fill_n(to + kd * slice + (in_.last - reached_.first) * pitch, (reached_.last - in_.last) * pitch, padding());
    }
    return {to, reached_.first, slice, pitch, to + count + kernels_.lanes, true, places};
  }

  void fold_rows(const Rows<T>& rows) {
    T* const y = a_.y + b_.batch * p_.y.batch + b_.lanes.first * p_.y.channel;
    Index* const indices = a_.indices == nullptr
                               ? nullptr
                               : a_.indices + b_.batch * p_.indices.batch + b_.lanes.first * p_.indices.channel;
    RowFactors<T> factors(p_, b_.columns, workspace_.take<T>(a_.kind == kFoldSum ? outputs() : 0), a_.whole);
    const Axis& h = p_.height();
    const Index width = p_.width().in, area = h.in * width;
    const bool dense = p_.y.space[kHeight] == outputs();
    T* const end = dense ? y + offset_of(p_.y, b_.od, b_.rows.last, 0) : nullptr;
    const auto run = [&](Index oh, Index count, const Span& span) {
      if (depth_.empty() || span.empty()) return store_nothing(y, indices, oh);
      Fold<T> f = fold(rows);
      f.src = rows.data + (span.at - rows.first) * rows.row_step;
      f.src_place = rows.places == nullptr ? nullptr : rows.places + (span.at - rows.first) * rows.row_step;
      f.step = h.stride * rows.row_step;
      f.rows = count;
      f.taps[kDepth] = depth_.count;
      f.taps[kHeight] = span.count;
      f.tap_step[kDepth] = rows.depth_step;
      f.tap_step[kHeight] = h.dilation * rows.row_step;
      if (!plan_.separable) set_width(f);
      f.dst = y + offset_of(p_.y, b_.od, oh, b_.columns.first);
      f.ld_dst = p_.y.space[kHeight];
      f.dst_end = end;
      if (a_.kind == kFoldSum) f.scale = factors.of(b_.od, oh);
      f.scale_lanes = true;
      f.period = p_.period;
      f.phase = p_.period > 0 ? oh % p_.period : 0;
      f.place = depth_.at * area + (p_.period > 0 ? 0 : span.at * width) + start_;
      f.place_row = h.stride * width;
      f.place_lane = p_.width().stride;
      f.place_step[kDepth] = p_.depth().dilation * area;
      f.place_step[kHeight] = h.dilation * width;
      f.indices = indices == nullptr ? nullptr : indices + offset_of(p_.indices, b_.od, oh, b_.columns.first);
      f.ld_indices = p_.indices.space[kHeight];
      apply(f, !plan_.separable);
    };
    // With margins all windows are whole, but averages' factors may differ.
    const bool alike = a_.kind != kFoldSum || p_.divisor != 0 ||
                       (p_.count_include_pad && padded_extent(h, p_.pad_after[kHeight], b_.rows.last - 1) == h.kernel);
    if (rows.margins && alike) {
      run(b_.rows.first, b_.rows.size(), {h.kernel, reached_.first});
    } else {
      for_each_run(h, b_.rows.first, b_.rows.last, [&](Index oh, Index count, const Span& span) {
        // With margins all windows are whole, but their factors differ.
        run(oh, count, rows.margins ? Span{h.kernel, h.input_of(oh, 0)} : span);
      });
    }
    if (a_.kind == kFoldMaxPlaces && (rows.margins || plan_.staged)) repair(y, indices);
  }

  // A row of windows between the elements of the input.
  void store_nothing(T* y, Index* indices, Index oh) const {
    std::fill_n(y + offset_of(p_.y, b_.od, oh, b_.columns.first), outputs(), padding());
    if (indices != nullptr) {
      std::fill_n(indices + offset_of(p_.indices, b_.od, oh, b_.columns.first), outputs(), Index{-1});
    }
  }

  // Where the maximum is -inf, padding may have come first: look again, without it.
  void repair(const T* y, Index* indices) const {
    for (Index oh = b_.rows.first; oh < b_.rows.last; ++oh) {
      const T* row = y + offset_of(p_.y, b_.od, oh, b_.columns.first);
      int found = 0;
      for (Index i = 0; i < outputs(); ++i) found |= row[i] == padding();
      if (found == 0) continue;
      for (Index i = 0; i < outputs(); ++i) {
        if (row[i] != padding()) continue;
        const Index ow = b_.columns.first + i;
        const Index index = window_maximum(p_, x_, b_.od, oh, ow).index;
        indices[offset_of(p_.indices, b_.od, oh, ow)] = index;
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
  Range in_, reached_;  // rows of the input that the windows reach; with those of padding
  Index start_;         // the first window's first column; in the margin if negative
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
