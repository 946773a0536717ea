// Gradients in vectors: each window finds its maximum again, or is told where it is, and gives its dy to that element
// at once, while the elements are in L1. Averages that do not overlap give theirs to all their elements.
//
//     for each row of windows, from top to bottom
//       rows of dx that no earlier window reaches   become 0, unless windows tile the input
//       each window: its taps = dy or 0             (+= where windows overlap)
//
// What lies in the lanes is the road: channels (NHWC), neighbouring windows (NCHW, 2 wide and 2 apart), or as many
// planes as a vector has lanes, transposed. Windows add in row-major order, on every road and in scatter.cpp too.
#include <atomic>
#include <limits>

#include "../parallel.hpp"
#include "backward.hpp"

namespace fastconv {
namespace {

constexpr double kComfortable = 256e3;    // bytes of workspace that stay in L2
constexpr Index kTaskElements = 1 << 14;  // of dx

// Arrays of one image, from their first lane on.
template <class T>
struct UnpoolArrays {
  FoldKind kind;
  const T* x;
  const Index* indices;  // instead of x; or null
  const T* dy;
  T* dx;
  ImageStrides x_at, indices_at, dy_at, dx_at;
};

bool apart(const Axis& a) { return a.dilation == 1 && a.kernel <= a.stride; }
bool tiles(const Axis& a) { return apart(a) && a.kernel == a.stride && a.input_of(a.out - 1, a.kernel) >= a.in; }

template <class F>
bool all_axes(const PoolProblem& p, F&& f) {
  return std::all_of(p.axis.begin(), p.axis.end(), f);
}

// Rows of dx that windows before the `end`-th reach, or that lie between two windows there.
Index rows_before(const Axis& h, Index end) {
  if (end == h.out) return h.in;
  return std::clamp<Index>(std::max(h.input_of(end - 1, h.kernel - 1) + 1, h.input_of(end, 0)), 0, h.in);
}

template <class T>
class Unpooling {
 public:
  // `channels` in the lanes, or columns of each of so many planes.
  Unpooling(const PoolProblem& p, const UnpoolArrays<T>& a, bool columns, Index channels)
      : p_(p),
        a_(a),
        columns_(columns),
        channels_(channels),
        apart_(all_axes(p, apart)),
        tiles_(all_axes(p, tiles)),
        kernels_(kernels().of<T>()) {}

  // Rows of windows; rows of dx up to `done` are finished. False if a saved index is not its window's.
  bool run(const Range& rows, Index& done) const {
    const Axis& h = p_.height();
    // Row by row, what the next windows add to is in L1 still; but windows at all depths reach a row.
    const Index step = apart_ || p_.depth().in > 1 ? rows.size() : 1;
    bool valid = true;
    for (Index o = rows.first; o < rows.last; o += step) {
      const Index end = std::min(o + step, rows.last), until = rows_before(h, end);
      if (!tiles_) zero({done, until});
      done = std::max(done, until);
      for (Index od = 0; od < p_.depth().out; ++od) {
        if (apart_) {
          valid &= give(od, {o, end});
        } else {
          for (Index oh = o; oh < end; ++oh) valid &= give(od, {oh, oh + 1});
        }
      }
    }
    return valid;
  }

 private:
  bool give(Index od, const Range& rows) const {
    const Span d = span_of(p_.depth(), od);
    bool valid = true;
    // Whole windows first: in columns they may spill over the others.
    for (const bool cut : {false, true}) {
      for_each_run(p_.height(), rows.first, rows.last, [&](Index oh, Index count, const Span& h) {
        for_each_run(p_.width(), 0, p_.width().out, [&](Index ow, Index length, const Span& w) {
          if (cut != (apart_ && w.count < p_.width().kernel)) return;
          if (d.empty() || h.empty() || w.empty()) {
            valid &= a_.indices == nullptr;  // windows without elements have none to tell
          } else {
            valid &= give({od, oh, ow}, {d, h, w}, count, length);
          }
        });
      });
      if (!apart_) break;
    }
    return valid;
  }

  bool give(const std::array<Index, kSpatial>& o, const std::array<Span, kSpatial>& taps, Index rows,
            Index columns) const {
    Unpool<T> u = at(o, taps);
    if (!columns_) {
      u.outer = rows, u.rows = columns, u.n = channels_;
      return kernels_.unpool(u);
    }
    set_columns(u, rows, columns);
    return (taps[kWidth].count == 2 ? kernels_.unpool_pairs : kernels_.unpool)(u);
  }

  // The windows from output o on, and the taps of the first of them.
  Unpool<T> at(const std::array<Index, kSpatial>& o, const std::array<Span, kSpatial>& taps) const {
    Unpool<T> u{};
    const auto from = [](const ImageStrides& s, Index d, Index h, Index w) { return offset_of(s, d, h, w); };
    const Index d = taps[kDepth].at, h = taps[kHeight].at, w = taps[kWidth].at;
    u.scale = 1;
    if (a_.kind == kFoldSum) {
      T factor = 1;
      RowFactors<T>(p_, {o[kWidth], o[kWidth] + 1}, &factor).of(o[kDepth], o[kHeight]);
      u.scale = factor;
    } else if (a_.indices == nullptr) {
      u.x = a_.x + from(a_.x_at, d, h, w);
    }
    if (a_.indices != nullptr) u.indices = a_.indices + from(a_.indices_at, o[kDepth], o[kHeight], o[kWidth]);
    u.dy = a_.dy + from(a_.dy_at, o[kDepth], o[kHeight], o[kWidth]);
    u.dx = a_.dx + from(a_.dx_at, d, h, w);
    u.place = (d * p_.height().in + h) * p_.width().in + w;
    u.add = !apart_;
    u.spill = tiles_ && p_.depth().in == 1;
    Index place = 1;
    for (std::size_t s = kSpatial; s-- > 0; place *= p_.axis[s].in) {
      const Axis& axis = p_.axis[s];
      u.taps[s] = taps[s].count;
      u.x_tap[s] = axis.dilation * a_.x_at.space[s];
      u.dx_tap[s] = axis.dilation * a_.dx_at.space[s];
      u.place_tap[s] = axis.dilation * place;
      if (s == kDepth) continue;
      const std::size_t loop = s - kHeight;
      u.x_step[loop] = axis.stride * a_.x_at.space[s];
      u.dx_step[loop] = axis.stride * a_.dx_at.space[s];
      u.dy_step[loop] = a_.dy_at.space[s];
      u.indices_step[loop] = a_.indices_at.space[s];
      u.place_step[loop] = axis.stride * place;
    }
    return u;
  }

  // Planes and rows are the loops now, and `length` columns of windows the lanes.
  void set_columns(Unpool<T>& u, Index rows, Index length) const {
    u.outer = channels_, u.rows = rows, u.n = length;
    u.place_lane = u.place_step[1];
    const auto loops = [](Index(&step)[2], Index plane) { step[1] = step[0], step[0] = plane; };
    loops(u.x_step, a_.x_at.channel);
    loops(u.dx_step, a_.dx_at.channel);
    loops(u.dy_step, a_.dy_at.channel);
    loops(u.indices_step, a_.indices_at.channel);
    loops(u.place_step, 0);
  }

  void zero(const Range& rows) const {
    const Index width = p_.width().in, lanes = columns_ ? 1 : channels_, planes = columns_ ? channels_ : 1;
    for (Index plane = 0; plane < planes; ++plane) {
      for (Index d = 0; d < p_.depth().in; ++d) {
        for (Index row = rows.first; row < rows.last; ++row) {
          T* const to = a_.dx + plane * a_.dx_at.channel + offset_of(a_.dx_at, d, row, 0);
          const Index pixel = a_.dx_at.space[kWidth];
          if (width == 1 || pixel == lanes) {
            std::fill_n(to, width * lanes, T(0));
          } else {
            for (Index w = 0; w < width; ++w) std::fill_n(to + w * pixel, lanes, T(0));
          }
        }
      }
    }
  }

  const PoolProblem& p_;
  const UnpoolArrays<T>& a_;
  bool columns_;
  Index channels_;
  bool apart_, tiles_;
  const Kernels<T>& kernels_;
};

template <class T>
UnpoolArrays<T> arrays_of(const PoolProblem& p, const GradientArrays<T>& a, Index batch, Index lane) {
  const auto at = [&](const ImageStrides& s) { return batch * s.batch + lane * s.channel; };
  return {a.kind,
          a.x == nullptr ? nullptr : a.x + at(p.x),
          a.indices == nullptr ? nullptr : a.indices + at(p.indices),
          a.dy + at(p.y),
          a.dx + at(p.gradient),
          p.x,
          p.indices,
          p.y,
          p.gradient};
}

// ---- channels, or columns, where they lie ---------------------------------------------------------------------------

// Tasks: rows of windows where they have their rows of dx for themselves, else channels.
template <class T>
bool unpool_in_place(const PoolProblem& p, const GradientArrays<T>& a, bool columns, int threads) {
  const Axis& h = p.height();
  const Index plane = p.plane_size(), lanes = kernels().of<T>().lanes;
  const bool rows_apart = all_axes(p, apart);
  Index group = p.channels, rows = h.out;
  if (columns) group = std::clamp<Index>(kTaskElements / plane, 1, std::max<Index>(1, p.channels / threads));
  if (!columns && !rows_apart && p.batch < threads) group = round_up(ceil_div(p.channels, threads), lanes);
  const Index tasks = p.batch * ceil_div(p.channels, group);
  if (rows_apart) {
    rows = std::clamp<Index>(kTaskElements * h.out / (group * plane), 1, h.out);
    if (tasks >= threads && columns) rows = h.out;
  }
  const Panels lane_panels(p.channels, group), row_panels(h.out, rows);
  std::atomic<bool> valid{true};
  parallel_for(threads, p.batch * lane_panels.count * row_panels.count, [&](Index task) {
    const Index row = task % row_panels.count, rest = task / row_panels.count, lane = rest % lane_panels.count;
    const UnpoolArrays<T> arrays = arrays_of(p, a, rest / lane_panels.count, lane_panels.start(lane));
    const Range range{row_panels.start(row), row_panels.start(row) + row_panels.size(row)};
    Index done = range.first == 0 ? 0 : rows_before(h, range.first);
    if (!Unpooling<T>(p, arrays, columns, lane_panels.size(lane)).run(range, done))
      valid.store(false, std::memory_order_relaxed);
  });
  return valid.load();
}

// ---- planes in the lanes --------------------------------------------------------------------------------------------

// Blocks of so many rows of windows, and what they need.
struct PlaneBlocks {
  Index rows, reach;  // and rows of the input
  double bytes;
};

template <class T>
PlaneBlocks plane_blocks(const PoolProblem& p, bool finds, bool saved) {
  const Axis& h = p.height();
  const double lanes = static_cast<double>(kernels().of<T>().lanes), pixel = lanes * sizeof(T);
  PlaneBlocks b{h.out, h.in, 0};
  const auto measure = [&] {
    b.reach = b.rows == h.out ? h.in : std::min(h.in, b.rows * h.stride + h.span());
    const double in = static_cast<double>(p.depth().in) * static_cast<double>(b.reach * p.width().in);
    const double out = static_cast<double>(p.depth().out) * static_cast<double>(b.rows * p.width().out);
    b.bytes = (finds ? 2 : 1) * in * pixel + out * (pixel + (saved ? 8 * lanes : 0)) + 8.0 * kCacheLine;
  };
  for (measure(); b.rows > 1 && b.bytes > kComfortable && p.depth().in == 1; measure()) b.rows = (b.rows + 1) / 2;
  return b;
}

// As many planes as a vector has lanes, on their way through [pixel][lane].
template <class T>
class PlaneUnpooling {
 public:
  PlaneUnpooling(const PoolProblem& p, const PlaneBlocks& blocks, const UnpoolArrays<T>& a, Index planes)
      : p_(p),
        blocks_(blocks),
        a_(a),
        planes_(planes),
        kernels_(kernels().of<T>()),
        workspace_(static_cast<std::size_t>(blocks.bytes)) {
    const Index lanes = kernels_.lanes;
    const auto strides = [&](Index rows, Index width) {
      ImageStrides s{};
      s.space = {rows * width * lanes, width * lanes, lanes};
      return s;
    };
    in_ = strides(blocks.reach, p.width().in);
    out_ = strides(blocks.rows, p.width().out);
    const Index in = p.depth().in * in_.space[kDepth], out = p.depth().out * out_.space[kDepth];
    x_ = workspace_.take<T>(finds() ? in : 0);
    dx_ = workspace_.take<T>(in);
    dy_ = workspace_.take<T>(out);
    indices_ = workspace_.take<Index>(a.indices == nullptr ? 0 : out);
  }

  bool run() {
    const Axis& h = p_.height();
    Index kept = 0, done = 0;  // rows of dx before these are out; are begun
    bool valid = true;
    for (Index o = 0; o < h.out; o += blocks_.rows) {
      const Range rows{o, std::min(h.out, o + blocks_.rows)}, in = reach_of(h, rows.first, rows.last);
      if (finds()) take(a_.x, a_.x_at, p_.depth().in, in, p_.width().in, x_, in_);
      take(a_.dy, a_.dy_at, p_.depth().out, rows, p_.width().out, dy_, out_);
      if (a_.indices != nullptr) take_indices(rows);
      const UnpoolArrays<T> arrays{a_.kind,
                                   x_ - in.first * in_.space[kHeight],
                                   a_.indices == nullptr ? nullptr : indices_ - o * out_.space[kHeight],
                                   dy_ - o * out_.space[kHeight],
                                   dx_ - kept * in_.space[kHeight],
                                   in_,
                                   out_,
                                   out_,
                                   in_};
      valid &= Unpooling<T>(p_, arrays, false, a_.indices == nullptr ? kernels_.lanes : planes_).run(rows, done);
      const Index finished = rows.last == h.out ? h.in : std::clamp<Index>(h.input_of(rows.last, 0), 0, h.in);
      put({kept, finished});
      std::copy(dx_ + (finished - kept) * in_.space[kHeight], dx_ + (done - kept) * in_.space[kHeight], dx_);
      kept = finished;
    }
    return valid;
  }

 private:
  bool finds() const { return a_.kind == kFoldMaxPlaces && a_.indices == nullptr; }

  void take(const T* from, const ImageStrides& s, Index depths, const Range& rows, Index width, T* to,
            const ImageStrides& t) const {
    for (Index d = 0; d < depths; ++d) {
      kernels_.interleave(
          {from + offset_of(s, d, rows.first, 0), s.channel, planes_, rows.size() * width, to + d * t.space[kDepth]});
    }
  }

  // Their bits are moved as if they were doubles.
  void take_indices(const Range& rows) const {
    const Kernels<double>& k = kernels().of<double>();
    for (Index d = 0; d < p_.depth().out; ++d) {
      const Index* const from = a_.indices + offset_of(a_.indices_at, d, rows.first, 0);
      k.transpose({reinterpret_cast<const double*>(from), a_.indices_at.channel, planes_, rows.size() * p_.width().out,
                   reinterpret_cast<double*>(indices_ + d * out_.space[kDepth]), kernels_.lanes, nullptr, false});
    }
  }

  void put(const Range& rows) const {
    if (rows.size() == 0) return;
    for (Index d = 0; d < p_.depth().in; ++d) {
      kernels_.transpose({dx_ + d * in_.space[kDepth], kernels_.lanes, rows.size() * p_.width().in, planes_,
                          a_.dx + offset_of(a_.dx_at, d, rows.first, 0), a_.dx_at.channel, nullptr, false});
    }
  }

  const PoolProblem& p_;
  const PlaneBlocks& blocks_;
  const UnpoolArrays<T>& a_;
  Index planes_;
  const Kernels<T>& kernels_;
  Workspace workspace_;
  ImageStrides in_{}, out_{};
  T *x_, *dx_, *dy_;
  Index* indices_;
};

template <class T>
bool unpool_planes(const PoolProblem& p, const GradientArrays<T>& a, const PlaneBlocks& blocks, int threads) {
  const Index lanes = kernels().of<T>().lanes, groups = ceil_div(p.channels, lanes);
  std::atomic<bool> valid{true};
  parallel_for(threads, p.batch * groups, [&](Index task) {
    const Index first = task % groups * lanes;
    const UnpoolArrays<T> arrays = arrays_of(p, a, task / groups, first);
    if (!PlaneUnpooling<T>(p, blocks, arrays, std::min(lanes, p.channels - first)).run()) {
      valid.store(false, std::memory_order_relaxed);
    }
  });
  return valid.load();
}

}  // namespace

template <class T>
std::optional<bool> unpool_gradient(const PoolProblem& p, const GradientArrays<T>& a, int threads) {
  // At every tap of every window, which is too much where elements have many windows.
  const bool looks = a.kind == kFoldMaxPlaces && p.pixels() > 1 && !all_axes(p, apart);
  if (taps_of(p) > (looks ? kFewTaps : kMostUnpoolTaps)) return {};
  if (p.plane_size() > std::numeric_limits<std::int32_t>::max()) return {};
  const bool saved = a.indices != nullptr, finds = a.kind == kFoldMaxPlaces && !saved;
  // Following saved indices one by one is quicker than comparing them with every tap, and adding nothing to most.
  if (!finds && !all_axes(p, apart)) return {};
  const auto unit = [](Index extent, Index stride) { return extent == 1 || stride == 1; };
  const auto channels = [&](const ImageStrides& s) { return unit(p.channels, s.channel); };
  const auto planes = [&](const ImageStrides& s, bool in) {
    const auto n = [&](std::size_t i) { return in ? p.axis[i].in : p.axis[i].out; };
    return dense_planes(s, n(kDepth), n(kHeight), n(kWidth));
  };
  if (p.channels > 1 && channels(p.y) && channels(p.gradient) && (!saved || channels(p.indices)) &&
      (!finds || channels(p.x))) {
    return unpool_in_place(p, a, false, threads);
  }
  if (!planes(p.y, false) || !planes(p.gradient, true) || (saved && !planes(p.indices, false)) ||
      (finds && !planes(p.x, true))) {
    return {};
  }
  const Axis& w = p.width();
  const bool leaves = w.in > w.kernel * w.out && short_outputs<T>(p);
  if (w.kernel == 2 && w.stride == 2 && all_axes(p, apart) && !(saved && w.padded()) && !leaves) {
    // Here windows that lose a column go one by one; gather.cpp has margins.
    if (a.kind == kFoldSum && w.padded()) return {};
    return unpool_in_place(p, a, true, threads);
  }
  if (saved || (finds && p.pixels() == 1)) return {};
  const PlaneBlocks blocks = plane_blocks<T>(p, finds, saved);
  if (2 * p.channels < kernels().of<T>().lanes || blocks.bytes > static_cast<double>(kMaxWorkspace)) return {};
  return unpool_planes(p, a, blocks, threads);
}

template std::optional<bool> unpool_gradient(const PoolProblem&, const GradientArrays<float>&, int);
template std::optional<bool> unpool_gradient(const PoolProblem&, const GradientArrays<double>&, int);

}  // namespace fastconv
