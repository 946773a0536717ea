// Windows that overlap, most of all with stride 1, as many planes or channels in the lanes as there are:
//
//     for each band of rows of y, and a vector of planes (NCHW) or some of channels (NHWC)
//       rows of x             folded along the width          NCHW: planes go into the lanes first
//       four rows of windows  folded along the height, to y   NCHW: and back
//
// What was folded along the width stays in the cache, and the rest in L1.
#include "sliding.hpp"

#include "../parallel.hpp"

namespace fastconv {
namespace {

constexpr Index kFewestTaps = 3;           // that the kernel takes
constexpr Index kFewInPlanes = 4;          // with fewer, planes and strides have better roads
constexpr Index kComfortable = 256 << 10;  // bytes of rows folded along the width
constexpr Index kMost = 2 << 20;
constexpr Index kStagedPixels = 128;
constexpr Index kWindows = 8;      // that the kernel takes at a time, at most
constexpr Index kChannels = 64;    // of a task
constexpr Index kChannelRows = 1;  // that are folded along the width side by side

// A pool, or the gradient of an average with stride 1.
template <class T>
struct Sliding {
  FoldKind kind;
  Index batch, channels;
  struct Line {
    Index in, out, taps, stride, pad;
  } height, width;
  const T* x;
  ImageStrides x_strides;
  T* y;
  ImageStrides y_strides;
  const T* const* x_scale;  // factors of each row, or null
  const T* const* y_scale;
};

template <class T>
class Band {
 public:
  static std::size_t bytes(const Sliding<T>& s, Index lanes, Index rows) {
    return Workspace::piece_bytes<T>(folded_rows(s, rows) * s.width.out * lanes) +
           Workspace::piece_bytes<T>(staged_pixels(s) * lanes);
  }
  static Index folded_rows(const Sliding<T>& s, Index rows) {
    return std::min(s.height.in, (rows - 1) * s.height.stride + s.height.taps);
  }

  Band(const Sliding<T>& s, Index batch, Range channels, Range rows, Workspace& workspace)
      : s_(s),
        kernels_(kernels().of<T>()),
        planes_(s.x_strides.channel != 1),
        channels_(channels.size()),
        lanes_(planes_ ? kernels_.lanes : channels_),
        rows_(rows),
        in_{std::max<Index>(rows.first * s.height.stride - s.height.pad, 0),
            std::min((rows.last - 1) * s.height.stride - s.height.pad + s.height.taps, s.height.in)},
        x_(s.x + batch * s.x_strides.batch + channels.first * s.x_strides.channel),
        y_(s.y + batch * s.y_strides.batch + channels.first * s.y_strides.channel) {
    folded_ = workspace.take<T>(in_.size() * s.width.out * lanes_);
    staged_ = planes_ ? workspace.take<T>(staged_pixels(s) * lanes_) : nullptr;
  }

  void run() {
    const Index in_rows = planes_ ? staged_pixels(s_) / s_.width.in : kChannelRows;
    for (Index row = in_.first; row < in_.last; row += in_rows) fold_width({row, std::min(in_.last, row + in_rows)});
    const Index out_rows = planes_ ? staged_pixels(s_) / s_.width.out / kWindows * kWindows : rows_.size();
    for (Index row = rows_.first; row < rows_.last; row += out_rows) {
      fold_height({row, std::min(rows_.last, row + out_rows)});
    }
  }

 private:
  // Of some rows of planes on their way: whole rows of x, and of y as many as the kernel takes.
  static Index staged_pixels(const Sliding<T>& s) {
    return std::max({kStagedPixels, s.width.in, kWindows * s.width.out});
  }

  void fold_width(Range rows) {
    Slide<T> t{};
    t.in = s_.width.in, t.begin = 0, t.end = s_.width.out;
    t.taps = s_.width.taps, t.stride = s_.width.stride, t.pad = s_.width.pad;
    t.lines = rows.size(), t.lanes = lanes_;
    t.x = x_ + rows.first * s_.x_strides.space[kHeight];
    t.x_line = s_.x_strides.space[kHeight], t.x_step = s_.x_strides.space[kWidth];
    if (planes_) {
      stage(rows);
      t.x = staged_, t.x_line = s_.width.in * lanes_, t.x_step = lanes_;
    }
    t.y = folded_ + (rows.first - in_.first) * s_.width.out * lanes_;
    t.y_line = s_.width.out * lanes_, t.y_step = lanes_;
    t.x_scale = s_.x_scale == nullptr ? nullptr : s_.x_scale + rows.first;
    kernels_.slide[s_.kind](t);
  }

  void fold_height(Range rows) {
    Slide<T> t{};
    t.in = in_.size(), t.begin = rows.first, t.end = rows.last;
    t.taps = s_.height.taps, t.stride = s_.height.stride, t.pad = s_.height.pad + in_.first;
    t.lines = s_.width.out, t.lanes = lanes_;
    t.x = folded_, t.x_step = s_.width.out * lanes_, t.x_line = lanes_;
    t.y = planes_ ? staged_ : y_ + rows.first * s_.y_strides.space[kHeight];
    t.y_step = planes_ ? s_.width.out * lanes_ : s_.y_strides.space[kHeight];
    t.y_line = planes_ ? lanes_ : s_.y_strides.space[kWidth];
    t.y_scale = s_.y_scale == nullptr ? nullptr : s_.y_scale + rows.first;
    kernels_.slide[s_.kind](t);
    if (planes_) unstage(rows);
  }

  // Rows of planes, all at once where they follow each other.
  void stage(Range rows) {
    const Index width = s_.width.in, step = s_.x_strides.space[kHeight];
    const bool dense = step == width;
    for (Index row = rows.first; row < rows.last; row += dense ? rows.size() : 1) {
      kernels_.interleave({x_ + row * step, s_.x_strides.channel, channels_, width * (dense ? rows.size() : 1),
                           staged_ + (row - rows.first) * width * lanes_});
    }
  }
  void unstage(Range rows) {
    const Index width = s_.width.out, step = s_.y_strides.space[kHeight];
    const bool dense = step == width;
    for (Index row = rows.first; row < rows.last; row += dense ? rows.size() : 1) {
      kernels_.transpose({staged_ + (row - rows.first) * width * lanes_, lanes_, width * (dense ? rows.size() : 1),
                          channels_, y_ + row * step, s_.y_strides.channel, nullptr, false});
    }
  }

  const Sliding<T>& s_;
  const Kernels<T>& kernels_;
  bool planes_;  // into the lanes; else channels are there
  Index channels_, lanes_;
  Range rows_, in_;  // of y, and of x
  const T* x_;
  T* y_;
  T *folded_, *staged_;
};

// Windows that overlap along both axes: of three taps and more that slide by one pixel, where channels lie in the
// lanes; of four and more otherwise, since planes have to go there and back. Of larger strides, those for which no
// vector along a row is made.
template <class T>
bool applies(const PoolProblem& p, const ImageStrides& x, const ImageStrides& y) {
  const Axis &h = p.height(), &w = p.width();
  const Index lanes = kernels().of<T>().lanes, taps = std::min(h.kernel, w.kernel);
  const auto plain = [](const Axis& a) {
    return a.dilation == 1 && a.pad >= 0 && a.pad < a.kernel && a.kernel > a.stride;
  };
  if (p.depth().in != 1 || p.depth().kernel != 1 || p.depth().out != 1 || !plain(h) || !plain(w)) return false;
  const bool channels = x.channel == 1 && y.channel == 1, slides = h.stride == 1 && w.stride == 1;
  if (taps < (channels && slides ? kFewestTaps : kFewInPlanes)) return false;
  if (channels) return p.channels >= lanes && p.pixels() > 1;
  return x.space[kWidth] == 1 && y.space[kWidth] == 1 && 2 * p.channels > lanes && (slides || w.stride > 2);
}

// Maxima of many taps come from a few narrower windows elsewhere; and long rows make vectors of their own.
template <class T>
bool maxima_win(const PoolProblem& p) {
  constexpr Index kMostTaps = 48;
  const bool many = p.height().kernel > kMostTaps || p.width().kernel > kMostTaps;
  return !many && (p.x.channel == 1 || p.width().out <= 3 * kernels().of<T>().lanes);
}

template <class T>
bool slide_all(const Sliding<T>& s, int threads) {
  // Each group of channels has a vector's at least.
  const bool planes = s.x_strides.channel != 1;
  const Index vector = kernels().of<T>().lanes;
  const Panels groups(s.channels, planes ? vector : ceil_div(s.channels, std::max<Index>(1, s.channels / kChannels)));
  const Index lanes = planes ? vector : groups.size(0);
  Index rows = s.height.out;
  const auto bytes = [&] { return static_cast<Index>(Band<T>::bytes(s, lanes, rows)); };
  const Index comfortable = kComfortable * ceil_div(lanes, vector);
  while (rows > 1 && bytes() > comfortable && Band<T>::folded_rows(s, rows) > 2 * s.height.taps) rows = (rows + 1) / 2;
  if (bytes() > kMost) return false;
  const Index others = s.batch * groups.count, wanted = 2 * threads;
  if (others < wanted) rows = std::min(rows, round_up(ceil_div(s.height.out * others, wanted), kWindows));
  const Panels bands(s.height.out, rows);
  parallel_for(threads, others * bands.count, [&](Index task) {
    const auto range = [](const Panels& p, Index i) { return Range{p.start(i), p.start(i) + p.size(i)}; };
    const Index band = task % bands.count, group = task / bands.count % groups.count;
    Workspace workspace(Band<T>::bytes(s, lanes, rows));
    Band<T>(s, task / bands.count / groups.count, range(groups, group), range(bands, band), workspace).run();
  });
  return true;
}

}  // namespace

template <class T>
bool pool_sliding(const PoolProblem& p, const PoolArrays<T>& a, int threads) {
  if (a.kind == kFoldMaxPlaces || !applies<T>(p, p.x, p.y)) return false;
  if (a.kind == kFoldMax && !maxima_win<T>(p)) return false;
  const auto line = [](const Axis& axis) {
    return typename Sliding<T>::Line{axis.in, axis.out, axis.kernel, axis.stride, axis.pad};
  };
  Sliding<T> s{a.kind, p.batch, p.channels, line(p.height()), line(p.width()), a.x, p.x, a.y, p.y, nullptr, nullptr};
  if (a.kind != kFoldSum) return slide_all(s, threads);
  const PlaneFactors<T> factors(p);
  s.y_scale = factors.rows();
  return slide_all(s, threads);
}

template <class T>
bool sliding_gradient(const PoolProblem& p, const GradientArrays<T>& a, int threads) {
  const bool slides = p.height().stride == 1 && p.width().stride == 1;
  if (a.kind != kFoldSum || !slides || !applies<T>(p, p.y, p.gradient)) return false;
  const auto line = [](const Axis& axis) {
    return typename Sliding<T>::Line{axis.out, axis.in, axis.kernel, 1, axis.kernel - 1 - axis.pad};
  };
  const PlaneFactors<T> factors(p);
  return slide_all<T>({kFoldSum, p.batch, p.channels, line(p.height()), line(p.width()), a.dy, p.y, a.dx, p.gradient,
                       factors.rows(), nullptr},
                      threads);
}

template bool pool_sliding(const PoolProblem&, const PoolArrays<float>&, int);
template bool pool_sliding(const PoolProblem&, const PoolArrays<double>&, int);
template bool sliding_gradient(const PoolProblem&, const GradientArrays<float>&, int);
template bool sliding_gradient(const PoolProblem&, const GradientArrays<double>&, int);

}  // namespace fastconv
