// Gradients of maxima of planes whose rows are contiguous (NCHW), over windows so small that every element can look at
// all that hold it. A block is some planes, or some rows of one.
#include <atomic>
#include <limits>

#include "../parallel.hpp"
#include "backward.hpp"

namespace fastconv {
namespace {

constexpr Index kComfortable = 8 << 10;   // bytes of winners, and of dy, that stay in L1
constexpr Index kClose = 64 << 10;        // bytes of x and dx that stay close to the core
constexpr Index kTaskElements = 1 << 14;  // of dx

std::optional<RollGradientWindow> gradient_window(const PoolProblem& p) {
  const Axis &d = p.depth(), &h = p.height(), &w = p.width();
  const auto plain = [](const Axis& a) { return a.dilation == 1 && a.pad >= 0 && a.pad < a.kernel; };
  if (d.in != 1 || d.kernel != 1 || d.out != 1 || !plain(h) || !plain(w)) return {};
  if (h.kernel != w.kernel || h.stride != w.stride) return {};
  if (w.kernel == 2 && w.stride == 2 && (h.padded() || w.padded())) return kGradient2x2Stride2;
  if (w.kernel == 3 && w.stride == 1) return kGradient3x3;
  if (w.kernel == 3 && w.stride == 2) return kGradient3x3Stride2;
  return {};
}

// Elements between two rows of windows, which an element beside the first or the last window may ask.
struct Margins {
  Index left, right;
  explicit Margins(const Axis& w)
      : left(std::max<Index>(0, (w.kernel - 1 - w.pad) / w.stride)),
        right(std::max<Index>(0, (w.in - 1 + w.pad) / w.stride + 1 - w.out)) {}
  Index pitch(const Axis& w) const { return w.out + std::max(left, right); }
};

Index window_rows(const Axis& h, Index rows) { return (rows - 1) / h.stride + (h.kernel - 1) / h.stride + 2; }

// Some planes at a time, or some rows of one, where more than `rows` are too many.
template <class T>
class GradientTasks {
 public:
  GradientTasks(const PoolProblem& p, const GradientArrays<T>& a, Index rows, int threads)
      : p_(p), a_(a), rows_(p.height().in, rows), planes_(p.channels, planes(p, rows_.count, threads)) {
    const Axis &h = p.height(), &w = p.width();
    all_.x_plane = p.x.channel, all_.x_row = p.x.space[kHeight];
    all_.height = h.in, all_.width = w.in, all_.pad_top = h.pad, all_.pad_left = w.pad;
    all_.padding = -std::numeric_limits<T>::infinity();
    all_.dy_plane = p.y.channel, all_.dy_row = p.y.space[kHeight];
    all_.dx_plane = p.gradient.channel, all_.dx_row = p.gradient.space[kHeight];
    all_.out_rows = h.out, all_.n = w.out;
  }

  // gradient(planes, batch, the first of the planes) for each task: false if one of them was.
  template <class F>
  bool run(int threads, const F& gradient) const {
    std::atomic<bool> valid{true};
    parallel_for(threads, p_.batch * planes_.count * rows_.count, [&](Index task) {
      const Index row = task % rows_.count, rest = task / rows_.count;
      const Index batch = rest / planes_.count, panel = rest % planes_.count;
      if (!gradient(some(batch, panel, row), batch, planes_.start(panel)))
        valid.store(false, std::memory_order_relaxed);
    });
    return valid.load();
  }

 private:
  static Index planes(const PoolProblem& p, Index row_panels, int threads) {
    if (row_panels > 1) return 1;
    return std::clamp<Index>(kTaskElements / p.plane_size(), 1, std::max<Index>(1, p.channels / (4 * threads)));
  }

  GradientPlanes<T> some(Index batch, Index panel, Index row) const {
    const Axis &h = p_.height(), &w = p_.width();
    const Index plane = planes_.start(panel);
    GradientPlanes<T> t = all_;
    t.planes = planes_.size(panel), t.first = rows_.start(row), t.rows = rows_.size(row);
    t.x = t.x_begin = a_.x + batch * p_.x.batch + plane * p_.x.channel;
    t.x_end = end_of(t.x, p_.x, t.planes, h.in, w.in);
    t.dy = a_.dy + batch * p_.y.batch + plane * p_.y.channel;
    t.dy_end = end_of(t.dy, p_.y, t.planes, h.out, w.out);
    t.dx = a_.dx + batch * p_.gradient.batch + plane * p_.gradient.channel;
    const bool dense = p_.gradient.space[kHeight] == w.in && p_.gradient.channel == p_.plane_size();
    if (dense) t.dx_end = t.dx + (t.planes - 1) * t.dx_plane + (t.first + t.rows) * w.in;
    return t;
  }
  static const T* end_of(const T* first, const ImageStrides& at, Index planes, Index height, Index width) {
    return first + (planes - 1) * at.channel + (height - 1) * at.space[kHeight] + width;
  }

  const PoolProblem& p_;
  const GradientArrays<T>& a_;
  const Panels rows_, planes_;
  GradientPlanes<T> all_{};
};

// All rows of dx, halved until they fit.
template <class F>
Index rows_at_once(const Axis& h, const F& fits) {
  Index rows = h.in;
  while (rows > 4 * h.kernel && !fits(rows)) rows = ceil_div(rows, 2);
  return rows;
}

// Without places.
template <class T>
bool strip_gradient(const PoolProblem& p, const GradientArrays<T>& a, RollGradientWindow window, int threads) {
  const auto close = [&](Index rows) { return 2 * rows * p.width().in * static_cast<Index>(sizeof(T)) <= kClose; };
  const GradientTasks<T> tasks(p, a, rows_at_once(p.height(), close), threads);
  return tasks.run(threads, [&](const GradientPlanes<T>& planes, Index, Index) {
    return kernels().of<T>().strip_gradient[window]({planes, nullptr});
  });
}

// With the windows' places in memory, found or saved.
template <class T>
bool place_gradient(const PoolProblem& p, const GradientArrays<T>& a, RollGradientWindow window, int threads) {
  using P = PlaceOf<T>;
  const Kernels<T>& k = kernels().of<T>();
  const Axis &h = p.height(), &w = p.width();
  const Margins margins(w);
  const Index pitch = margins.pitch(w);
  const Index rows = rows_at_once(
      h, [&](Index some) { return window_rows(h, some) * pitch * static_cast<Index>(sizeof(T)) <= kComfortable; });
  const Index size = margins.left + window_rows(h, rows) * pitch + 3 * k.lanes;
  const std::size_t bytes = Workspace::piece_bytes<P>(size) + Workspace::piece_bytes<T>(size);
  if (bytes > kMaxWorkspace) return false;
  const GradientTasks<T> tasks(p, a, rows, threads);
  return tasks.run(threads, [&](const GradientPlanes<T>& planes, Index batch, Index plane) {
    Workspace workspace(bytes);
    RollGradient<T> r{planes, nullptr, p.indices.channel, p.indices.space[kHeight], nullptr, nullptr, pitch};
    if (a.indices != nullptr) r.indices = a.indices + batch * p.indices.batch + plane * p.indices.channel;
    P* const place = workspace.take<P>(size);
    std::fill_n(place, size, P{-1});
    r.place = place + margins.left;
    r.share = workspace.take<T>(size) + margins.left;
    return k.roll_gradient[window](r);
  });
}

}  // namespace

template <class T>
bool roll_gradient(const PoolProblem& p, const GradientArrays<T>& a, int threads) {
  const std::optional<RollGradientWindow> window = gradient_window(p);
  const Axis &h = p.height(), &w = p.width();
  const auto rows_follow = [](const ImageStrides& s, Index width) { return width == 1 || s.space[kWidth] == 1; };
  const bool saved = a.indices != nullptr;
  const Kernels<T>& k = kernels().of<T>();
  if (!window || (saved && *window != kGradient2x2Stride2 && k.lanes < kFollowedLanes)) return false;
  if (!rows_follow(saved ? p.indices : p.x, saved ? w.out : w.in)) return false;
  if (!rows_follow(p.y, w.out) || !rows_follow(p.gradient, w.in)) return false;
  const auto upwards = [](const ImageStrides& at) { return at.channel >= 0 && at.space[kHeight] >= 0; };
  if ((!saved && !upwards(p.x)) || !upwards(p.y) || p.plane_size() > std::numeric_limits<std::int32_t>::max())
    return false;
  if (saved || k.strip_gradient[*window] == nullptr) return place_gradient(p, a, *window, threads);
  return h.pad <= 1 && w.pad <= 1 && strip_gradient(p, a, *window, threads);
}

template bool roll_gradient(const PoolProblem&, const GradientArrays<float>&, int);
template bool roll_gradient(const PoolProblem&, const GradientArrays<double>&, int);

}  // namespace fastconv
