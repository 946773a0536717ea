// Gradients of maxima with channels in the lanes (NHWC), over windows so small that every pixel can look at all that
// hold it. A block is some rows of some channels of an image:
//
//     for each row of windows
//       rows of x that it reaches first   folded along the width: maxima and their places
//       its winners                       those folded along the height; or the saved indices
//       rows of dx that no later one holds   = the sum of dy of the windows that they won
//
// Winners of so many rows of windows as hold one row of dx are kept in a ring, and so are folded rows.
#include <atomic>
#include <limits>

#include "../parallel.hpp"
#include "backward.hpp"

namespace fastconv {
namespace {

constexpr Index kMostKernel = 3;           // larger windows give to their winners one by one
constexpr Index kComfortable = 512 << 10;  // bytes of workspace that stay in L2

static_assert(kMostHolders >= kMostKernel);

Index most_holders(const Axis& a) { return ceil_div(a.kernel, a.stride); }

struct LanePlan {
  Index lanes, rows;  // channels and rows of dx of a block
  std::size_t workspace;
};

// Rows of x that are folded, before those that the next windows need move to the front.
Index folded_rows(const Axis& h) { return 2 * h.kernel; }

template <class T>
class LaneGradient {
  using P = PlaceOf<T>;

 public:
  LaneGradient(const PoolProblem& p, const LanePlan& plan, const GradientArrays<T>& a, Index batch, const Range& lanes)
      : p_(p),
        lanes_(lanes.size()),
        pitch_(p.width().out * lanes_),
        x_(a.x + batch * p.x.batch + lanes.first),
        dy_(a.dy + batch * p.y.batch + lanes.first),
        dx_(a.dx + batch * p.gradient.batch + lanes.first),
        indices_(a.indices == nullptr ? nullptr : a.indices + batch * p.indices.batch + lanes.first),
        kernels_(kernels().of<T>()),
        workspace_(plan.workspace),
        winners_(workspace_.take<P>(most_holders(p.height()) * pitch_)) {
    if (indices_ != nullptr) return;
    folded_ = workspace_.take<T>(folded_rows(p.height()) * pitch_);
    columns_ = workspace_.take<P>(folded_rows(p.height()) * pitch_);
  }

  // False if a saved index is not its window's.
  bool run(const Range& rows) {
    const bool done = try_run(rows);
    if (done || indices_ != nullptr) return done;
    careful_ = true;
    folded_from_ = folded_to_ = 0;
    return try_run(rows);
  }

 private:
  // False also where there is NaN, until that is expected.
  bool try_run(const Range& rows) {
    const Axis& h = p_.height();
    const Holders holders{h};
    const Range windows{std::max<Index>(holders.first(rows.first), 0), std::min(holders.last(rows.last - 1), h.out)};
    bool valid = true;
    Index row = rows.first;
    for (Index oh = windows.first; oh < windows.last; ++oh) {
      if (indices_ != nullptr) {
        valid &= take(oh);
      } else if (!find(oh)) {
        return false;
      }
      const Index until = oh + 1 == windows.last ? rows.last : std::min(h.input_of(oh + 1, 0), rows.last);
      for (; row < until; ++row) gather(row);
    }
    for (; row < rows.last; ++row) gather(row);
    return valid;
  }

  P* winners(Index oh) const { return winners_ + oh % most_holders(p_.height()) * pitch_; }

  bool take(Index oh) const {
    const Span h = span_of(p_.height(), oh);
    bool valid = true;
    for_each_run(p_.width(), 0, p_.width().out, [&](Index ow, Index count, const Span& w) {
      valid &= kernels_.saved_lanes({indices_ + offset_of(p_.indices, 0, oh, ow),
                                     p_.indices.space[kWidth],
                                     count,
                                     lanes_,
                                     h.at * p_.width().in + w.at,
                                     p_.width().stride,
                                     {h.count, w.count},
                                     p_.width().in,
                                     winners(oh) + ow * lanes_});
    });
    return valid;
  }

  // False if there is NaN, unless that is expected.
  bool find(Index oh) {
    const Span h = span_of(p_.height(), oh);
    if (h.at + h.count > folded_to_ && !fold_to(h)) return false;
    const Index at = (h.at - folded_from_) * pitch_, width = p_.width().in;
    kernels_.lane_winners({folded_ + at, columns_ + at, h.count, pitch_, lanes_, p_.width().out, lanes_,
                           static_cast<P>(width), static_cast<P>(h.at * width), 0, nullptr, winners(oh), careful_});
    return true;
  }

  // Rows of x up to the end of `h`, along the width; the places are columns.
  bool fold_to(const Span& h) {
    const Index end = h.at + h.count;
    if (end - folded_from_ > folded_rows(p_.height())) {
      const Index kept = std::max<Index>(0, folded_to_ - h.at), first = h.at - folded_from_;
      if (kept > 0) {
        std::copy_n(folded_ + first * pitch_, kept * pitch_, folded_);
        std::copy_n(columns_ + first * pitch_, kept * pitch_, columns_);
      }
      folded_from_ = h.at;
    }
    bool known = true;
    for (folded_to_ = std::max(folded_to_, h.at); folded_to_ < end; ++folded_to_) known &= fold_row(folded_to_);
    return known;
  }

  bool fold_row(Index row) const {
    const Axis& width = p_.width();
    const Index to = (row - folded_from_) * pitch_, pixel = p_.x.space[kWidth];
    bool known = true;
    for_each_run(width, 0, width.out, [&](Index ow, Index count, const Span& w) {
      const Index at = to + ow * lanes_;
      known &= kernels_.lane_winners({x_ + offset_of(p_.x, 0, row, w.at), nullptr, w.count, pixel, width.stride * pixel,
                                      count, lanes_, 1, static_cast<P>(w.at), static_cast<P>(width.stride),
                                      folded_ + at, columns_ + at, careful_});
    });
    return known;
  }

  // A row of dx: the pixels of each residue of the stride are held by as many windows, except those at the ends.
  void gather(Index row) const {
    const Axis& w = p_.width();
    const Range rows = inside(Holders{p_.height()}.of(row), p_.height());
    for (Index residue = 0; residue < std::min(w.stride, w.in); ++residue) {
      for (Index iw = residue, count = 0; iw < w.in; iw += count * w.stride) {
        const Range all = Holders{w}.of(iw), columns = inside(all, w);
        const bool whole = columns.first == all.first && columns.last == all.last;
        count = whole ? std::min(w.out - all.last, (w.in - 1 - iw) / w.stride) + 1 : 1;
        gather(row, iw, count, rows, columns);
      }
    }
  }

  static Range inside(const Range& windows, const Axis& a) {
    const Index first = std::max<Index>(windows.first, 0);
    return {first, std::max(first, std::min(windows.last, a.out))};
  }

  void gather(Index row, Index iw, Index count, const Range& rows, const Range& columns) const {
    LaneGather<T> g;
    g.rows = static_cast<int>(rows.size()), g.columns = static_cast<int>(columns.size());
    for (Index i = 0; i < rows.size(); ++i) {
      g.place[i] = winners(rows.first + i) + columns.first * lanes_;
      g.dy[i] = dy_ + offset_of(p_.y, 0, rows.first + i, columns.first);
    }
    g.window_step = lanes_, g.dy_step = p_.y.space[kWidth];
    g.pixels = count, g.lanes = lanes_;
    g.first = row * p_.width().in + iw, g.place_step = p_.width().stride;
    g.dx = dx_ + offset_of(p_.gradient, 0, row, iw);
    g.dx_step = p_.width().stride * p_.gradient.space[kWidth];
    kernels_.gather_lanes(g);
  }

  const PoolProblem& p_;
  bool careful_ = false;  // NaN counts
  Index lanes_, pitch_;   // elements of a row of windows
  const T *x_, *dy_;
  T* dx_;
  const Index* indices_;
  const Kernels<T>& kernels_;
  Workspace workspace_;
  P *winners_, *columns_ = nullptr;
  T* folded_ = nullptr;
  Index folded_from_ = 0, folded_to_ = 0;  // rows of x
};

template <class T>
bool applies(const PoolProblem& p, const GradientArrays<T>& a) {
  const Axis &d = p.depth(), &h = p.height(), &w = p.width();
  const auto small = [](const Axis& x) {
    return x.dilation == 1 && x.pad >= 0 && x.pad < x.kernel && x.kernel <= kMostKernel;
  };
  const bool lanes = p.channels > 1 && p.y.channel == 1 && p.gradient.channel == 1 &&
                     (a.indices != nullptr ? p.indices.channel : p.x.channel) == 1;
  const bool overlap = h.kernel > h.stride || w.kernel > w.stride;
  return lanes && overlap && d.in == 1 && d.out == 1 && d.kernel == 1 && small(h) && small(w) &&
         p.plane_size() <= std::numeric_limits<std::int32_t>::max();
}

template <class T>
std::size_t workspace_bytes(const PoolProblem& p, bool saved, Index lanes) {
  const Index pitch = p.width().out * lanes, folded = saved ? 0 : folded_rows(p.height()) * pitch;
  return Workspace::piece_bytes<PlaceOf<T>>(most_holders(p.height()) * pitch) + Workspace::piece_bytes<T>(folded) +
         Workspace::piece_bytes<PlaceOf<T>>(folded);
}

// All channels, so that memory is read as it lies, unless their rows are too long; and rows enough for the threads.
template <class T>
LanePlan plan_lanes(const PoolProblem& p, bool saved, int threads) {
  const Axis& h = p.height();
  const Index vector = kernels().of<T>().lanes;
  LanePlan plan{p.channels, h.in, 0};
  while (plan.lanes > vector && workspace_bytes<T>(p, saved, plan.lanes) > kComfortable) {
    plan.lanes = round_up(ceil_div(plan.lanes, 2), vector);
  }
  plan.workspace = workspace_bytes<T>(p, saved, plan.lanes);
  const Index blocks = p.batch * ceil_div(p.channels, plan.lanes), wanted = threads == 1 ? 1 : 4 * threads;
  plan.rows = std::min(h.in, std::max(ceil_div(h.in * blocks, wanted), 2 * h.kernel));
  return plan;
}

}  // namespace

template <class T>
bool lane_gradient(const PoolProblem& p, const GradientArrays<T>& a, int threads) {
  if (!applies(p, a)) return false;
  const LanePlan plan = plan_lanes<T>(p, a.indices != nullptr, threads);
  if (plan.workspace > kMaxWorkspace) return false;
  const Panels lanes(p.channels, plan.lanes), rows(p.height().in, plan.rows);
  std::atomic<bool> valid{true};
  parallel_for(threads, p.batch * lanes.count * rows.count, [&](Index task) {
    const Index row = task % rows.count, rest = task / rows.count, lane = rest % lanes.count;
    const Range channels{lanes.start(lane), lanes.start(lane) + lanes.size(lane)};
    LaneGradient<T> gradient(p, plan, a, rest / lanes.count, channels);
    if (!gradient.run({rows.start(row), rows.start(row) + rows.size(row)})) {
      valid.store(false, std::memory_order_relaxed);
    }
  });
  return valid.load();
}

template bool lane_gradient(const PoolProblem&, const GradientArrays<float>&, int);
template bool lane_gradient(const PoolProblem&, const GradientArrays<double>&, int);

}  // namespace fastconv
