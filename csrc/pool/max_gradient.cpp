// Gradients of maxima over cells (cells.hpp), a few planes, channels or rows at a time:
//
//     keys = x as integers of the same order
//     winner[window] = the cell of its maximum
//     dx[cell] = sum of dy[window], for the windows that hold the cell, if it is their winner
//
// Each gradient is the sum of its windows in row-major order, and is written once. Where windows are large, winners are
// found along one axis after the other, and each window adds dy to its winner instead: to its cell, or if the block
// holds whole planes, right to its element of dx.
#include <limits>
#include <vector>

#include "../parallel.hpp"
#include "backward.hpp"
#include "cells.hpp"

namespace fastconv {
namespace {

constexpr double kComfortable = 300e3;  // bytes of workspace that stay in L2
constexpr double kManyPlanes = 64e3;    // bytes of a block of several planes
constexpr Index kFolded = 5;            // windows of which a wider one is made
constexpr Index kMostLanes = 32;        // channels of a block
constexpr Index kMostPhases = 64;

struct CellKind {
  bool separable;  // winners are found along one axis after the other
  bool in_lanes;   // channels, else planes
  bool whole;      // separable, and planes are not cut: winners are elements of dx
};

double workspace_bytes(const CellGrid& g, const CellKind& kind, std::size_t element) {
  const double cells = static_cast<double>(g.size), phases = static_cast<double>(g.phases);
  const double winners = kind.separable ? static_cast<double>(g.axis[kDepth].stride() * g.axis[kHeight].stride()) : 1;
  const double elements = kind.whole ? 1 : phases + 1;
  return (cells * (phases + winners + elements) + 2 * static_cast<double>(g.reach)) * static_cast<double>(element) +
         16.0 * kCacheLine;
}

struct CellPlan : CellKind {
  CellGrid grid;
  Index lane_blocks;
  std::size_t workspace;
};

template <class T>
class MaxGradient {
  using P = PlaceOf<T>;
  using Shape = std::array<Index, 1 + 5 * kSpatial>;

 public:
  MaxGradient(const PoolProblem& p, const CellPlan& plan, const GradientArrays<T>& a)
      : p_(p),
        plan_(plan),
        g_(plan.grid),
        a_(a),
        kernels_(kernels().of<T>()),
        workspace_(plan.workspace),
        front_(round_up(g_.reach, kernels_.lanes)) {
    const Index all = g_.phases * g_.size, sources = p.depth().stride * p.height().stride;
    keys_ = workspace_.take<P>(all);
    if (plan.whole) {
      elements_ = workspace_.take<P>(g_.size);
    } else {
      dx_ = workspace_.take<T>(all);
      dy_ = workspace_.take<T>(front_ + g_.size) + front_;
    }
    winners_ = workspace_.take<P>(front_ + (plan.separable ? sources : 1) * g_.size) + front_;
    if (!plan.separable) connect();
  }

  void run(Index i) {
    const auto take = [&](Index count) {
      const Index all = i;
      i = quotient(i, count);
      return all - i * count;
    };
    for (std::size_t s = kSpatial; s-- > 0;) block_[s] = g_.axis[s].block(take(g_.axis[s].blocks()));
    const Index lane = take(plan_.lane_blocks), most = plan_.in_lanes ? g_.lanes : g_.planes;
    batch_ = i;
    lanes_ = {lane * most, std::min(p_.channels, (lane + 1) * most)};
    n_ = round_up((plan_.in_lanes ? 1 : lanes_.size()) * g_.plane, kernels_.lanes);
    prepare();
    const T* const x = a_.x + start(&CellAxis::Block::x, p_.x);
    for (const Move& m : x_moves_) {
      kernels_.keys_to_cells(m.rows, x + m.array, a_.x + p_.planes() * p_.plane_size(), keys_ + m.cells);
    }
    const T* const dy = a_.dy + start(&CellAxis::Block::windows, p_.y);
    T* const dx = a_.dx + start(&CellAxis::Block::dx, p_.gradient);
    if (plan_.whole) {
      find_separably();
      for (Index c = 0; c < lanes_.size(); ++c) std::fill_n(dx + c * p_.gradient.channel, p_.plane_size(), T(0));
      scatter(dy, dx);
      return;
    }
    for (const Move& m : dy_moves_) {
      kernels_.to_cells(m.rows, dy + m.array, a_.dy + p_.planes() * p_.pixels(), dy_ + m.cells);
    }
    if (plan_.separable) {
      find_separably();
      std::fill_n(dx_, g_.phases * g_.size, T(0));
      scatter(nullptr, dx_);
    } else {
      find();
      deliver();
    }
    for (const Move& m : dx_moves_) kernels_.from_cells(m.rows, dx_ + m.cells, dx + m.array);
  }

 private:
  Index tap(Index d, Index h, Index w) const {  // the distance from a window to its tap's cell
    const auto& a = g_.axis;
    return g_.phase(a[kDepth].tap_phase(d), a[kHeight].tap_phase(h), a[kWidth].tap_phase(w)) +
           a[kDepth].tap_cell(d) * g_.step[kDepth] + a[kHeight].tap_cell(h) * g_.step[kHeight] +
           a[kWidth].tap_cell(w) * g_.step[kWidth];
  }

  // Cells of padding keep what they are from block to block, unless the blocks' shapes differ.
  void prepare() {
    Shape shape{lanes_.size()};
    for (std::size_t s = 0; s < kSpatial; ++s) {
      const CellAxis::Block& b = block_[s];
      const std::array<Index, 5> sizes{b.dx.size(), b.x.first - b.origin * g_.axis[s].stride(), b.x.size(),
                                       b.windows.first - b.origin, b.windows.size()};
      std::copy(sizes.begin(), sizes.end(), shape.begin() + 1 + 5 * static_cast<std::ptrdiff_t>(s));
    }
    constexpr P nothing = std::numeric_limits<P>::min();
    const bool same = shape == shape_;
    if (!same || plan_.separable) fill(keys_, g_.phases * g_.size, nothing);  // folded in place
    if (same) return;
    shape_ = shape;
    if (plan_.whole) {
      number_elements();
    } else {
      std::fill_n(dy_ - front_, front_ + g_.size, T(0));
    }
    x_moves_ = moves(false, &CellAxis::Block::x, p_.x);
    dx_moves_ = moves(false, &CellAxis::Block::dx, p_.gradient);
    dy_moves_ = moves(true, &CellAxis::Block::windows, p_.y);
  }

  // The element of dx that each window's first tap is, counted from the block's first, as if padding had elements, too.
  void number_elements() {
    const auto input = [&](SpatialAxis s, Index cell) {
      return (cell + block_[s].origin) * p_.axis[s].stride - p_.axis[s].pad;
    };
    P* cell = elements_;
    for (Index i = 0; i < g_.planes; ++i) {
      for (Index d = 0; d < g_.axis[kDepth].cells(); ++d) {
        for (Index h = 0; h < g_.axis[kHeight].cells(); ++h) {
          const Index row = i * p_.gradient.channel + offset_of(p_.gradient, input(kDepth, d), input(kHeight, h), 0);
          for (Index w = 0; w < g_.axis[kWidth].cells(); ++w) *cell++ = static_cast<P>(row + input(kWidth, w));
        }
      }
    }
  }

  // Where a block's part of an array starts.
  Index start(Range CellAxis::Block::*range, const ImageStrides& s) const {
    return batch_ * s.batch + lanes_.first * s.channel +
           offset_of(s, (block_[kDepth].*range).first, (block_[kHeight].*range).first, (block_[kWidth].*range).first);
  }

  // By copies, whose vectors may be wider than those that this file is compiled for.
  static void fill(P* cells, Index n, P value) {
    Index filled = std::min<Index>(n, 128);
    std::fill_n(cells, filled, value);
    for (Index more; filled < n; filled += more) {
      more = std::min(filled, n - filled);
      std::copy_n(cells, more, cells + filled);
    }
  }

  // Rows between an array, from a block's start on, and cells: one set for each depth.
  struct Move {
    CellRows rows;
    Index array, cells;
  };
  std::vector<Move> moves(bool windows, Range CellAxis::Block::*range, const ImageStrides& s) const {
    const auto stride = [&](std::size_t axis) { return windows ? 1 : g_.axis[axis].stride(); };
    const auto phase = [&](std::size_t axis, Index i) { return windows ? 0 : g_.axis[axis].phase(i); };
    const auto cell = [&](std::size_t axis, Index i) {
      const Index c = windows ? i - block_[axis].origin : g_.axis[axis].cell(i, block_[axis]);
      return c * g_.step[axis];
    };
    const Range d = block_[kDepth].*range, h = block_[kHeight].*range, w = block_[kWidth].*range;
    CellRows r{};
    r.planes = plan_.in_lanes ? 1 : lanes_.size();
    r.count = plan_.in_lanes ? lanes_.size() : 1;
    r.rows = h.size();
    r.pixels = w.size();
    r.lanes = g_.lanes;
    r.array_plane = s.channel;
    r.array_row = s.space[kHeight];
    r.array_pixel = s.space[kWidth];
    r.cell_plane = g_.plane;
    r.cell_row = g_.step[kHeight];
    r.row_streams = static_cast<int>(std::min(stride(kHeight), r.rows));
    r.streams = static_cast<int>(std::min(stride(kWidth), r.pixels));
    for (int i = 0; i < r.row_streams; ++i) {
      r.row_stream[i] = g_.phase(0, phase(kHeight, h.first + i), 0) + cell(kHeight, h.first + i);
    }
    for (int i = 0; i < r.streams; ++i) {
      r.stream[i] = g_.phase(0, 0, phase(kWidth, w.first + i)) + cell(kWidth, w.first + i);
    }
    std::vector<Move> all;
    for (Index i = d.first; i < d.last && r.pixels > 0; ++i) {
      all.push_back({r, (i - d.first) * s.space[kDepth], g_.phase(phase(kDepth, i), 0, 0) + cell(kDepth, i)});
    }
    return all;
  }

  // What winners are found from, and what each phase's cells receive dy from.
  void connect() {
    find_.winner = winners_;
    deliver_.resize(static_cast<std::size_t>(g_.phases));
    for (std::size_t i = 0; i < deliver_.size(); ++i) {
      const Index first = static_cast<Index>(i) * g_.size;
      Deliver<T>& d = deliver_[i];
      d.winner = winners_;
      d.dy = dy_;
      d.first = static_cast<P>(first);
      d.dx = dx_ + first;
    }
    for (Index d = 0; d < p_.depth().kernel; ++d) {
      for (Index h = 0; h < p_.height().kernel; ++h) {
        for (Index w = 0; w < p_.width().kernel; ++w) connect(tap(d, h, w));
      }
    }
    // The last tap first: its window is the first one that holds the cell.
    for (Deliver<T>& d : deliver_) std::reverse(d.back, d.back + d.sources);
  }

  void connect(Index tap) {
    find_.key[find_.sources] = keys_ + tap;
    find_.first[find_.sources++] = static_cast<P>(tap);
    Deliver<T>& d = deliver_[static_cast<std::size_t>(tap / g_.size)];
    d.back[d.sources++] = tap % g_.size;
  }

  void find() {
    find_.n = n_;
    kernels_.winners(find_);
  }

  void deliver() {
    for (Deliver<T>& d : deliver_) {
      d.n = n_;
      kernels_.deliver(d);
    }
  }

  // Along one axis after the other; `sources` arrays of keys and their winners become one.
  void find_separably() {
    const Index sd = p_.depth().stride, sh = p_.height().stride, sw = p_.width().stride;
    const Index deep = g_.axis[kDepth].reach() * g_.step[kDepth], high = g_.axis[kHeight].reach() * g_.step[kHeight];
    for (Index d = 0; d < sd; ++d) {
      for (Index h = 0; h < sh; ++h) {
        const Index key = g_.phase(d, h, 0), first = plan_.whole ? offset_of(p_.gradient, d, h, 0) : key;
        fold(kWidth, {key, (d * sh + h) * g_.size, g_.size, 0, first}, n_ + deep + high);
      }
    }
    for (Index d = 0; d < sd; ++d) {
      fold(kHeight, {g_.phase(d, 0, 0), d * sh * g_.size, sw * g_.size, g_.size, 0}, n_ + deep);
    }
    fold(kDepth, {0, 0, sh * sw * g_.size, sh * g_.size, 0}, n_);
  }

  // Keys from `key` on and winners from `winner` on, the next phase's key_step and winner_step behind. No winners yet
  // if winner_step is 0: then the first tap is `first`.
  struct Sources {
    Index key, winner, key_step, winner_step, first;
  };
  void fold(SpatialAxis s, const Sources& all, Index n) {
    const CellAxis& axis = g_.axis[s];
    const Index step = g_.step[s];
    if (axis.taps() == 1 && all.winner_step > 0) return;
    Winners<T> w{};
    w.places = all.winner_step > 0;
    w.base = plan_.whole ? elements_ : nullptr;
    w.best = keys_ + all.key;
    w.winner = winners_ + all.winner;
    w.n = round_up(n, kernels_.lanes);
    const auto add = [&](Index tap, Index phase, Index at) {
      const Index key = phase * all.key_step + at;
      w.key[w.sources] = keys_ + all.key + key;
      w.first[w.sources] = static_cast<P>(all.first + (plan_.whole ? tap : key));
      w.place[w.sources++] = winners_ + all.winner + phase * all.winner_step + at;
    };
    if (axis.stride() > 1 || axis.taps() == 1) {
      for (Index k = 0; k < axis.taps(); ++k) add(k, axis.tap_phase(k), axis.tap_cell(k) * step);
      return kernels_.winners(w);
    }
    // Windows from a few that have fewer taps; the last two may overlap.
    for (Index taps = 1; taps < axis.taps(); w.sources = 0, w.places = true) {
      const Index wider = std::min(kFolded * taps, axis.taps());
      for (Index k = 0; k < wider - taps; k += taps) add(k, 0, axis.tap_cell(k) * step);
      add(wider - taps, 0, axis.tap_cell(wider - taps) * step);
      kernels_.winners(w);
      taps = wider;
    }
  }

  // Each window to its winner, in row-major order; planes side by side, since they do not wait for each other. dy lies
  // in cells if it is null.
  void scatter(const T* dy, T* dx) {
    for (const Move& m : dy_moves_) {
      const CellRows& r = m.rows;
      const Index first = m.cells + r.row_stream[0] + r.stream[0];
      Scatter s{winners_ + first, r.cell_plane, dy_ + first, r.cell_plane, dx, r.pixels * r.lanes};
      if (dy != nullptr) s.dy = dy + m.array, s.dy_plane = r.array_plane;
      const Index dy_row = dy != nullptr ? r.array_row : r.cell_row;
      Index plane = 0;
      const auto run = [&]<int N>(std::integral_constant<int, N>) {
        for (; plane + N <= r.planes; plane += N) {
          for (Index i = 0; i < r.rows; ++i) {
            add_row<N>(s, plane * s.winner_plane + i * r.cell_row, plane * s.dy_plane + i * dy_row);
          }
        }
      };
      run(std::integral_constant<int, 4>{});
      run(std::integral_constant<int, 1>{});
    }
  }

  struct Scatter {
    const P* winner;
    Index winner_plane;
    const T* dy;
    Index dy_plane;
    T* dx;
    Index count;
  };
  // A row of N planes.
  template <int N>
  [[gnu::noinline]] static void add_row(const Scatter& s, Index winner_row, Index dy_row) {
    const P* const winner = s.winner + winner_row;
    const T* const dy = s.dy + dy_row;
    T* const dx = s.dx;
    for (Index i = 0; i < s.count; ++i) {
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) dx[winner[i + n * s.winner_plane]] += dy[i + n * s.dy_plane];
    }
  }

  const PoolProblem& p_;
  const CellPlan& plan_;
  const CellGrid& g_;
  const GradientArrays<T>& a_;
  const Kernels<T>& kernels_;
  Workspace workspace_;
  Index front_;  // cells before the first window's, where windows would lie
  std::array<CellAxis::Block, kSpatial> block_{};
  Shape shape_{};
  std::vector<Move> x_moves_, dx_moves_, dy_moves_;
  Index batch_ = 0, n_ = 0;
  Range lanes_{};
  Winners<T> find_{};
  std::vector<Deliver<T>> deliver_;
  T *dx_ = nullptr, *dy_ = nullptr;
  P *keys_ = nullptr, *winners_ = nullptr, *elements_ = nullptr;
};

// Whether a block is whole planes of contiguous rows, all of which one place can tell apart. A dilated window may have
// all its taps in the padding, which is no place in dx.
bool whole_planes(const PoolProblem& p, const CellGrid& g) {
  if (p.channels > 1 && p.gradient.channel == 1) return false;
  return std::all_of(g.axis.begin(), g.axis.end(), [](const CellAxis& a) { return a.blocks() == 1; }) &&
         std::all_of(p.axis.begin(), p.axis.end(), [](const Axis& a) { return a.dilation == 1; }) &&
         (p.width().out == 1 || p.y.space[kWidth] == 1) &&
         dense_planes(p.gradient, p.depth().in, p.height().in, p.width().in) &&
         g.planes <= std::numeric_limits<std::int32_t>::max() / std::max<Index>(p.gradient.channel, p.plane_size());
}

// Halves the block, along the outermost axis that is much longer than a window, until it is comfortable.
template <class T>
std::optional<CellPlan> plan_cells(const PoolProblem& p, bool separable, bool in_lanes) {
  const Index vector = kernels().of<T>().lanes;
  Index lanes = 1;
  if (in_lanes) {
    const Index blocks = ceil_div(p.channels, kMostLanes);
    lanes = blocks == 1 ? p.channels : round_up(ceil_div(p.channels, blocks), vector);
  }
  std::array<Index, kSpatial> extent{};
  for (std::size_t s = 0; s < kSpatial; ++s) extent[s] = p.axis[s].in;
  const auto halved = [&](std::size_t s) { return round_up(ceil_div(extent[s], 2), p.axis[s].stride); };
  const auto grid = [&](Index planes) { return CellGrid(p, extent, lanes, planes, vector); };
  const auto kind = [&](const CellGrid& g) { return CellKind{separable, in_lanes, separable && whole_planes(p, g)}; };
  const auto bytes = [&](Index planes) {
    const CellGrid g = grid(planes);
    return workspace_bytes(g, kind(g), sizeof(T));
  };
  // No axis is cut to less than `least` windows unless it must be.
  for (const Index least : {Index{4}, Index{0}}) {
    const double most = least > 0 ? kComfortable : static_cast<double>(kMaxWorkspace) / 2;
    for (std::size_t s = 0; s < kSpatial; ++s) {
      const auto enough = [&] {
        return halved(s) < extent[s] && halved(s) >= std::max<Index>(1, least * p.axis[s].span());
      };
      while (bytes(1) > most && enough()) extent[s] = halved(s);
    }
  }
  if (bytes(1) > static_cast<double>(kMaxWorkspace)) return {};
  Index planes = 1;
  // Slices are moved one by one, and padding may only fall on cells that are written later.
  const bool flat = p.depth().in == 1 && p.depth().out == 1;
  while (flat && !in_lanes && 2 * planes <= p.channels && bytes(2 * planes) < kManyPlanes) planes *= 2;
  const CellGrid whole = grid(planes);
  CellPlan plan{kind(whole), whole, ceil_div(p.channels, in_lanes ? lanes : planes), 0};
  plan.workspace = static_cast<std::size_t>(bytes(planes));
  return plan;
}

// Phases, streams of pixels and sources, as many as kernels take.
bool fits(const PoolProblem& p, bool separable) {
  Index phases = 1;
  for (const Axis& a : p.axis) {
    if (a.stride > kMostPhases || a.pad < 0) return false;
    if (separable && a.stride > 1 && a.kernel > kMostSources) return false;
    phases *= a.stride;
  }
  return phases <= kMostPhases && std::max(p.height().stride, p.width().stride) <= kMostStreams &&
         p.plane_size() <= std::numeric_limits<std::int32_t>::max();
}

}  // namespace

template <class T>
bool route_gradient(const PoolProblem& p, const GradientArrays<T>& a, int threads) {
  const bool separable = taps_of(p) > kFewTaps, in_lanes = p.channels > 1 && p.gradient.channel == 1;
  if (!fits(p, separable)) return false;
  const std::optional<CellPlan> plan = plan_cells<T>(p, separable, in_lanes);
  if (!plan) return false;
  Index blocks = p.batch * plan->lane_blocks;
  for (const CellAxis& axis : plan->grid.axis) blocks *= axis.blocks();
  const Panels tasks(blocks, ceil_div(blocks, threads == 1 ? 1 : 4 * threads));
  parallel_for(threads, tasks.count, [&](Index task) {
    MaxGradient<T> gradient(p, *plan, a);
    for (Index i = 0; i < tasks.size(task); ++i) gradient.run(tasks.start(task) + i);
  });
  return true;
}

template bool route_gradient(const PoolProblem&, const GradientArrays<float>&, int);
template bool route_gradient(const PoolProblem&, const GradientArrays<double>&, int);

}  // namespace fastconv
