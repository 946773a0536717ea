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

// What each task of so many rows of planes has of an array.
template <class T>
const T* end_of(const T* first, const ImageStrides& at, Index planes, Index height, Index width) {
  return first + (planes - 1) * at.channel + (height - 1) * at.space[kHeight] + width;
}

// Without places.
template <class T>
bool strip_gradient(const PoolProblem& p, const GradientArrays<T>& a, RollGradientWindow window, int threads) {
  const Axis &h = p.height(), &w = p.width();
  Index rows = h.in;
  while (rows > 4 * h.kernel && 2 * rows * w.in * static_cast<Index>(sizeof(T)) > kClose) rows = ceil_div(rows, 2);
  const Panels row_panels(h.in, rows);
  Index planes = 1;
  if (row_panels.count == 1) {
    planes = std::clamp<Index>(kTaskElements / p.plane_size(), 1, std::max<Index>(1, p.channels / (4 * threads)));
  }
  const Panels plane_panels(p.channels, planes);
  StripGradient<T> t{};
  t.x_plane = p.x.channel, t.x_row = p.x.space[kHeight];
  t.height = h.in, t.width = w.in, t.pad_top = h.pad, t.pad_left = w.pad;
  t.padding = -std::numeric_limits<T>::infinity();
  t.dy_plane = p.y.channel, t.dy_row = p.y.space[kHeight];
  t.dx_plane = p.gradient.channel, t.dx_row = p.gradient.space[kHeight];
  t.out_rows = h.out, t.n = w.out;
  const bool dense = p.gradient.space[kHeight] == w.in && p.gradient.channel == p.plane_size();
  std::atomic<bool> valid{true};
  parallel_for(threads, p.batch * plane_panels.count * row_panels.count, [&](Index task) {
    const Index row = task % row_panels.count, rest = task / row_panels.count;
    const Index batch = rest / plane_panels.count, panel = rest % plane_panels.count, plane = plane_panels.start(panel);
    StripGradient<T> r = t;
    r.planes = plane_panels.size(panel), r.first = row_panels.start(row), r.rows = row_panels.size(row);
    r.x = r.x_begin = a.x + batch * p.x.batch + plane * p.x.channel;
    r.x_end = end_of(r.x, p.x, r.planes, h.in, w.in);
    r.dy = a.dy + batch * p.y.batch + plane * p.y.channel;
    r.dy_end = end_of(r.dy, p.y, r.planes, h.out, w.out);
    r.dx = a.dx + batch * p.gradient.batch + plane * p.gradient.channel;
    if (dense) r.dx_end = r.dx + (r.planes - 1) * r.dx_plane + (r.first + r.rows) * w.in;
    if (!kernels().of<T>().strip_gradient[window](r)) valid.store(false, std::memory_order_relaxed);
  });
  return valid.load();
}

}  // namespace

template <class T>
bool roll_gradient(const PoolProblem& p, const GradientArrays<T>& a, int threads) {
  using P = PlaceOf<T>;
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

  if (!saved && k.strip_gradient[*window] != nullptr) {
    return h.pad <= 1 && w.pad <= 1 && strip_gradient(p, a, *window, threads);
  }

  const Margins margins(w);
  const Index pitch = margins.pitch(w);
  Index rows = h.in;
  while (rows > 4 * h.kernel && window_rows(h, rows) * pitch * static_cast<Index>(sizeof(T)) > kComfortable) {
    rows = ceil_div(rows, 2);
  }
  const Index size = window_rows(h, rows) * pitch + 3 * k.lanes;
  const std::size_t bytes =
      Workspace::piece_bytes<P>(margins.left + size) + Workspace::piece_bytes<T>(margins.left + size);
  if (bytes > kMaxWorkspace) return false;

  const Panels row_panels(h.in, rows);
  Index planes = 1;
  if (row_panels.count == 1) {
    planes = std::clamp<Index>(kTaskElements / p.plane_size(), 1, std::max<Index>(1, p.channels / (4 * threads)));
  }
  const Panels plane_panels(p.channels, planes);

  RollGradient<T> t{};
  t.x_plane = p.x.channel, t.x_row = p.x.space[kHeight];
  t.height = h.in, t.width = w.in, t.pad_top = h.pad, t.pad_left = w.pad;
  t.padding = -std::numeric_limits<T>::infinity();
  t.dy_plane = p.y.channel, t.dy_row = p.y.space[kHeight];
  t.dx_plane = p.gradient.channel, t.dx_row = p.gradient.space[kHeight];
  t.out_rows = h.out, t.n = w.out, t.pitch = pitch;
  const bool dense = p.gradient.space[kHeight] == w.in && p.gradient.channel == p.plane_size();

  std::atomic<bool> valid{true};
  parallel_for(threads, p.batch * plane_panels.count * row_panels.count, [&](Index task) {
    const Index row = task % row_panels.count, rest = task / row_panels.count;
    const Index batch = rest / plane_panels.count, panel = rest % plane_panels.count, plane = plane_panels.start(panel);
    Workspace workspace(bytes);
    RollGradient<T> r = t;
    r.place = workspace.take<P>(margins.left + size);
    r.share = workspace.take<T>(margins.left + size) + margins.left;
    std::fill_n(r.place, margins.left + size, P{-1});
    r.place += margins.left;
    r.x = a.x + batch * p.x.batch + plane * p.x.channel;
    if (saved) {
      r.indices = a.indices + batch * p.indices.batch + plane * p.indices.channel;
      r.indices_plane = p.indices.channel, r.indices_row = p.indices.space[kHeight];
    }
    r.dy = a.dy + batch * p.y.batch + plane * p.y.channel;
    r.dx = a.dx + batch * p.gradient.batch + plane * p.gradient.channel;
    r.planes = plane_panels.size(panel), r.first = row_panels.start(row), r.rows = row_panels.size(row);
    r.x_begin = r.x;
    r.x_end = end_of(r.x, p.x, r.planes, h.in, w.in);
    r.dy_end = end_of(r.dy, p.y, r.planes, h.out, w.out);
    if (dense) r.dx_end = r.dx + (r.planes - 1) * r.dx_plane + (r.first + r.rows) * w.in;
    if (!k.roll_gradient[*window](r)) valid.store(false, std::memory_order_relaxed);
  });
  return valid.load();
}

template bool roll_gradient(const PoolProblem&, const GradientArrays<float>&, int);
template bool roll_gradient(const PoolProblem&, const GradientArrays<double>&, int);

}  // namespace fastconv
