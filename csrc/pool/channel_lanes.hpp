// Pooling with channels, or whatever lies innermost, in the lanes.
//
//     pixels of the block      folded along the width, if the windows overlap so much that this saves work
//       -> folded along height and depth (and the width, if that was not done yet), to y
//
// Padding costs nothing: a window that leaves the input has fewer taps.
#pragma once

#include <limits>

#include "forward.hpp"

namespace fastconv {

// Arrays whose innermost axis is the lanes, and how their pixels lie. x may be a box cut out of the input:
// `axis` speaks of the box, and element (0, 0, 0) of it has the flat index `place`.
template <class T>
struct LaneArrays {
  std::array<Axis, kSpatial> axis;
  const T* x;
  std::array<Index, kSpatial> x_space;
  const T* x_end;  // of what may be read
  T* y;
  std::array<Index, kSpatial> y_space;
  T* y_end;  // of what may be written, and will be by a later row; or null
  Index* indices;
  const Index* indices_end;  // as y_end
  std::array<Index, kSpatial> indices_space;
  Index place;
  std::array<Index, kSpatial> place_space;
  Index lanes;
};

inline Index offset_of(const std::array<Index, kSpatial>& space, Index d, Index h, Index w) {
  return d * space[kDepth] + h * space[kHeight] + w * space[kWidth];
}

// Outputs `rows` x `columns` at depth `od`. `factors` are the sums', for those columns.
template <class T>
class ChannelLanes {
 public:
  ChannelLanes(const LaneArrays<T>& a, FoldKind kind, Index od, Range rows, Range columns)
      : a_(a),
        kind_(kind),
        od_(od),
        rows_(rows),
        columns_(columns),
        kernels_(kernels().of<T>()),
        depth_(span_of(a.axis[kDepth], od)),
        in_(reach_of(a.axis[kHeight], rows.first, rows.last)) {}

  // factors(oh): of one row of outputs.
  template <class F>
  void run(bool separable, Workspace& workspace, F&& factors) {
    if (separable) fold_width(workspace);
    const Axis& height = a_.axis[kHeight];
    for_each_run(height, rows_.first, rows_.last, [&](Index first, Index count, Span h) {
      const Index most = separable || h.empty() ? 1 : rows_of_call();
      for (Index done = 0, rows; done < count; done += rows, h.at += rows * height.stride) {
        const Index oh = first + done;
        rows = std::min(most, count - done);
        scale_ = kind_ == kFoldSum ? factors(oh) : nullptr;
        if (depth_.empty() || h.empty()) {
          store_nothing(oh, columns_.first, columns_.size());
        } else if (separable) {
          finish_row(oh, h);
        } else {
          fold_rows(oh, rows, h);
        }
      }
    });
  }

 private:
  static constexpr Index kCallElements = 1 << 12;  // outputs of a call of a kernel

  Fold<T> fold() const {
    Fold<T> f{};
    f.planes = 1;
    f.n = a_.lanes;
    for (std::ptrdiff_t& t : f.taps) t = 1;
    return f;
  }

  // f reads the input from pixel (d, h, w) on, along the width.
  void set_width(Fold<T>& f, Index d, Index h, const Span& w) const {
    const Axis& width = a_.axis[kWidth];
    f.src = a_.x + offset_of(a_.x_space, d, h, w.at);
    f.src_end = a_.x_end;
    f.step = width.stride * a_.x_space[kWidth];
    f.taps[kWidth] = w.count;
    f.tap_step[kWidth] = width.dilation * a_.x_space[kWidth];
    f.place_row = width.stride * a_.place_space[kWidth];
    f.place_step[kWidth] = width.dilation * a_.place_space[kWidth];
  }

  // f writes `count` outputs from (oh, ow) on.
  void set_output(Fold<T>& f, Index oh, Index ow, Index count) const {
    f.rows = count;
    f.dst = a_.y + offset_of(a_.y_space, od_, oh, ow);
    f.ld_dst = a_.y_space[kWidth];
    f.dst_end = a_.y_end;
    f.scale = scale_ == nullptr ? nullptr : scale_ + (ow - columns_.first);
    f.indices = a_.indices == nullptr ? nullptr : a_.indices + offset_of(a_.indices_space, od_, oh, ow);
    f.ld_indices = a_.indices_space[kWidth];
    f.indices_end = a_.indices_end;
  }

  void set_taps(Fold<T>& f, std::size_t s, Index count, Index tap_step) const {
    f.taps[s] = count;
    f.tap_step[s] = tap_step;
    f.place_step[s] = a_.axis[s].dilation * a_.place_space[s];
  }

  // Rows of outputs that share a call of a kernel, where few channels would make it short. What lies behind channels
  // that no vector fits is written later, so there all of a row goes first.
  Index rows_of_call() const {
    if (a_.lanes < kernels_.lanes && a_.axis[kWidth].padded()) return 1;
    return std::max<Index>(1, kCallElements / (columns_.size() * a_.lanes));
  }

  void fold_rows(Index oh, Index rows, const Span& h) const {
    const Axis &depth = a_.axis[kDepth], &height = a_.axis[kHeight];
    for_each_run(a_.axis[kWidth], columns_.first, columns_.last, [&](Index ow, Index count, const Span& w) {
      for (Index i = 0; i < rows && w.empty(); ++i) store_nothing(oh + i, ow, count);
      if (w.empty()) return;
      Fold<T> f = fold();
      set_width(f, depth_.at, h.at, w);
      set_output(f, oh, ow, count);
      f.planes = rows;
      f.src_plane = height.stride * a_.x_space[kHeight];
      f.dst_plane = a_.y_space[kHeight];
      f.place_plane = height.stride * a_.place_space[kHeight];
      f.indices_plane = a_.indices_space[kHeight];
      set_taps(f, kDepth, depth_.count, depth.dilation * a_.x_space[kDepth]);
      set_taps(f, kHeight, h.count, height.dilation * a_.x_space[kHeight]);
      f.place = a_.place + offset_of(a_.place_space, depth_.at, h.at, w.at);
      kernels_.fold[kind_](f);
    });
  }

  // Every row of the input that the windows meet; the places are the columns.
  void fold_width(Workspace& workspace) {
    const Index pitch = columns_.size() * a_.lanes, count = depth_.count * in_.size() * pitch;
    folded_ = workspace.take<T>(count);
    places_ = kind_ == kFoldMaxPlaces ? workspace.take<PlaceOf<T>>(count) : nullptr;
    for (Index kd = 0; kd < depth_.count; ++kd) {
      for (Index row = 0; row < in_.size(); ++row) {
        for_each_run(a_.axis[kWidth], columns_.first, columns_.last, [&](Index ow, Index runs, const Span& w) {
          const Index at = (kd * in_.size() + row) * pitch + (ow - columns_.first) * a_.lanes;
          Fold<T> f = fold();
          set_width(f, depth_.at + kd * a_.axis[kDepth].dilation, in_.first + row, w);
          f.rows = runs;
          f.dst = folded_ + at;
          f.ld_dst = a_.lanes;
          f.dst_end = folded_ + count;
          f.place = w.at * a_.place_space[kWidth];
          f.dst_place = places_ == nullptr ? nullptr : places_ + at;
          kernels_.fold[kind_](f);
        });
      }
    }
  }

  void finish_row(Index oh, const Span& h) const {
    const Index pitch = columns_.size() * a_.lanes;
    Fold<T> f = fold();
    f.src = folded_ + (h.at - in_.first) * pitch;
    f.src_end = folded_ + depth_.count * in_.size() * pitch;
    f.src_place = places_ == nullptr ? nullptr : places_ + (h.at - in_.first) * pitch;
    f.step = a_.lanes;
    set_output(f, oh, columns_.first, columns_.size());
    set_taps(f, kDepth, depth_.count, in_.size() * pitch);
    set_taps(f, kHeight, h.count, a_.axis[kHeight].dilation * pitch);
    f.place = a_.place + offset_of(a_.place_space, depth_.at, h.at, 0);
    kernels_.fold[kind_](f);
  }

  // Windows between the elements of the input; only maxima have such.
  void store_nothing(Index oh, Index ow, Index count) const {
    for (Index i = ow; i < ow + count; ++i) {
      std::fill_n(a_.y + offset_of(a_.y_space, od_, oh, i), a_.lanes, -std::numeric_limits<T>::infinity());
      if (a_.indices == nullptr) continue;
      std::fill_n(a_.indices + offset_of(a_.indices_space, od_, oh, i), a_.lanes, Index{-1});
    }
  }

  const LaneArrays<T>& a_;
  FoldKind kind_;
  Index od_;
  Range rows_, columns_;
  const Kernels<T>& kernels_;
  Span depth_;
  Range in_;
  const T* scale_ = nullptr;
  T* folded_ = nullptr;
  PlaceOf<T>* places_ = nullptr;
};

}  // namespace fastconv
