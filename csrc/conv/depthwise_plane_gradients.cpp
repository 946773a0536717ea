// The gradients of a depthwise convolution in one sweep, plane by plane, pixels in the lanes.
//
// Where a row has as many outputs as the stride leaves of its inputs, which 'same' padding is about, dY and what the
// stride takes of x have rows of one length P. Then a tap is a distance in flattened planes: vectors of x are read
// where they lie and those of dx are stored there, whatever the length of a row. A flattened plane goes on with the
// next row where a tap leaves a row at its end; there the kernel masks x and dx:
//
//     dx[f] = sum over taps of w[r, s] * dy[f + at(r, s)],    dW[r, s] = sum over f of x[f] * dy[f + at(r, s)]
//
// Rows above and below the plane are zeros of a copy of dY, block by block. Strides: even and odd columns of x and dx
// are kept apart, two phases, each with the taps that reach it. Rows are not: dY gets rows of zeros in between, whose
// products are cheap beside memory.
//
// Sums are folded to doubles as in depthwise_grad_weight.cpp, and a weight that comes out as NaN, as a zero of dY times
// an infinite input does, is computed again without such zeros. No gradient looks at whether others are wanted.
#include <vector>

#include "../cpu.hpp"
#include "../workspace.hpp"
#include "conv.hpp"
#include "depthwise_sweep.hpp"
#include "direct_plan.hpp"
#include "gradients.hpp"
#include "image_parts.hpp"

namespace fastconv {
namespace {

constexpr Index kMostGroups = 16;  // of a task at a time
constexpr Index kMostTaps = 128;

// What follows from the problem alone: blocks of rows that stay in L1, and where taps lie in them.
struct PlaneGeometry {
  // Columns of taps that reach a column of x; their taps follow each other.
  struct Phase {
    Index first, columns;
  };

  Index row;                    // P
  Index halo;                   // rows that a block has of dY beyond those of x
  Index block = 0, blocks = 0;  // rows of a block; 0 where none fits
  Index margin = 0;             // elements around a block of dY
  std::vector<Phase> phases;
  std::vector<Index> shifts;  // of each column of taps, in columns of dY
  std::vector<Index> tap;     // column by column: which
  std::vector<Index> offset;  // and where it finds dY in a block

  PlaneGeometry(const Problem& p, Index lanes, Index most) : row(p.width().out), halo(p.height().span() - 1) {
    const Axis &h = p.height(), &w = p.width();
    for (Index b = 0; b < w.stride; ++b) {
      phases.push_back({static_cast<Index>(shifts.size()), 0});
      for (Index s = 0; s < w.kernel; ++s) {
        const Index column = b + w.pad - s * w.dilation;
        if (column % w.stride != 0) continue;
        ++phases.back().columns;
        shifts.push_back(column / w.stride);
        margin = std::max(margin, std::abs(shifts.back()));
        for (Index r = 0; r < h.kernel; ++r) {
          tap.push_back(r * w.kernel + s);
          offset.push_back((h.kernel - 1 - r) * h.dilation * row + shifts.back());
        }
      }
    }
    margin = round_up(margin + 2 * lanes, lanes);
    choose_block(p, most);
  }

 private:
  // x and dx are staged where columns are taken apart.
  void choose_block(const Problem& p, Index most) {
    const Index rows = p.height().in, planes = p.width().stride > 1 ? 1 + 4 * p.width().stride : 3;
    const Index room = most - halo * row - 2 * margin;
    blocks = ceil_div(rows, std::clamp<Index>(room / (planes * row), std::min<Index>(rows, 4), rows));
    block = ceil_div(rows, blocks);
    if ((planes * block + halo) * row + 2 * margin > 8 * most) block = 0;
  }
};

bool dense(const Problem& p, const ImageStrides& s) {
  return s.space[kWidth] == 1 && (p.height().in == 1 || s.space[kHeight] == p.width().in);
}

template <class T>
class PlaneSweep {
 public:
  PlaneSweep(const GradientProblem& p, const GradientOperands<T>& a)
      : p_(p.weight), dx_problem_(p.input), a_(a), geometry_(p_, lanes_, caches().l1 / static_cast<Index>(sizeof(T))) {}

  bool fits() const { return geometry_.block > 0; }
  // Of a task at a time: their sums stay in L1.
  Index groups() const {
    return std::clamp<Index>(caches().l1 / 2 / (p_.taps() * lanes_ * static_cast<Index>(sizeof(T))), 1, kMostGroups);
  }

  class Task;

 private:
  const Problem &p_, &dx_problem_;
  const GradientOperands<T>& a_;
  const Kernels<T>& k_ = kernels().of<T>();
  const Index lanes_ = k_.lanes;
  const PlaneGeometry geometry_;
};

template <class T>
class PlaneSweep<T>::Task {
 public:
  explicit Task(const PlaneSweep& all)
      : s_(all),
        g_(s_.geometry_),
        p_(s_.p_),
        k_(s_.k_),
        lanes_(s_.lanes_),
        taps_(p_.taps()),
        phases_(p_.width().stride),
        groups_(s_.groups()),
        pixels_(round_up(g_.block * g_.row, lanes_) + lanes_),
        workspace_(bytes()),
        dy_(workspace_.template take<T>(staged_dy()) + g_.margin),
        kept_(workspace_.template take<T>(columns() * kept_row())),
        x_(workspace_.template take<T>(phases_ * pixels_)),
        dx_(workspace_.template take<T>(phases_ * pixels_)),
        rows_(workspace_.template take<T>(phases_ * pixels_)),
        weights_(workspace_.template take<T>(products())),
        sums_(workspace_.template take<T>(products() * lanes_)),
        lane_totals_(workspace_.template take<T>(products())),
        totals_(workspace_.template take<double>(products())) {
    std::fill_n(dy_ - g_.margin, staged_dy(), T(0));
    for (Index i = 0; i < columns(); ++i) mark_kept(i);
    const auto& w = s_.dx_problem_.w.space;
    const Index width = p_.width().kernel;
    for (const Index tap : g_.tap) w_at_.push_back(tap / width * w[kHeight] + tap % width * w[kWidth]);
  }

  // From group g on; gradient: [group][tap]; plane_sums: [image][group] of the problem, or null.
  void run(Index g, Images images, double* gradient, T* plane_sums) {
    const Index groups = std::min(groups_, p_.groups - g);
    if (s_.a_.dx != nullptr) pack_weights(g, groups);
    std::fill_n(totals_, products(), 0.0);
    std::fill_n(sums_, products() * lanes_, T(0));
    std::fill_n(elements_, groups, 0);
    const bool small = groups * p_.pixels() * static_cast<Index>(sizeof(T)) < caches().l2 / 4;  // all planes stay
    for (Index n = images.first; n < images.end; ++n) {
      const T* dy = s_.a_.dy + n * p_.y.batch + g * p_.y.group;
      T* const plane_sum = plane_sums == nullptr ? nullptr : plane_sums + n * p_.groups + g;
      if (plane_sum != nullptr && small) k_.sum_rows(dy, p_.y.group, groups, p_.pixels(), plane_sum);
      for (Index i = 0; i < groups; ++i, dy += p_.y.group) {
        if (plane_sum != nullptr && !small) k_.sum_rows(dy, 0, 1, p_.pixels(), plane_sum + i);
        for (Index b = 0; b < g_.blocks; ++b) add({n, g + i, i, b * g_.block}, dy);
      }
    }
    if (s_.a_.dw != nullptr) store(g, groups, images, gradient);
  }

 private:
  struct Block {
    Index n, g;
    Index i;  // of the task's groups
    Index first;
  };

  Index products() const { return groups_ * taps_; }
  Index staged_dy() const { return (g_.block + g_.halo + p_.height().stride) * g_.row + 2 * g_.margin; }
  Index columns() const { return static_cast<Index>(g_.shifts.size()); }
  Index kept_row() const { return g_.row + kMostGradientVectors * lanes_; }
  std::size_t bytes() const {
    return Workspace::piece_bytes<T>(staged_dy()) + Workspace::piece_bytes<T>(columns() * kept_row()) +
           3 * Workspace::piece_bytes<T>(phases_ * pixels_) + 2 * Workspace::piece_bytes<T>(products()) +
           Workspace::piece_bytes<T>(products() * lanes_) + Workspace::piece_bytes<double>(products());
  }

  // Which pixels of a row the i-th column of taps finds inside dY.
  void mark_kept(Index i) {
    const Index shift = g_.shifts[static_cast<std::size_t>(i)];
    T* const to = kept_ + i * kept_row();
    for (Index j = 0; j < kept_row(); ++j) {
      const Index column = j % g_.row + shift;
      to[j] = column >= 0 && column < g_.row ? T(1) : T(0);
    }
    kept_of_.push_back(shift == 0 ? nullptr : to);
  }

  // [group][tap], column by column.
  void pack_weights(Index g, Index groups) {
    T* to = weights_;
    for (Index i = 0; i < groups; ++i) {
      const T* const w = s_.a_.w + (g + i) * s_.dx_problem_.w.group;
      for (const Index at : w_at_) *to++ = w[at];
    }
  }

  void add(const Block& b, const T* dy) {
    const Index rows = std::min(g_.block, p_.height().in - b.first), each = rows * g_.row;
    if (rows <= 0) return;
    stage_gradient(dy, b.first, rows + g_.halo);
    const bool apart = phases_ > 1 || each < lanes_;
    const Index length = apart ? round_up(each, lanes_) : each;
    const T* x = s_.a_.dw == nullptr ? nullptr : read_x(b, rows, apart);
    T* const dx = s_.a_.dx == nullptr ? nullptr : target(b, apart);
    for (Index i = 0; i < phases_; ++i) {
      const PlaneGeometry::Phase& phase = g_.phases[static_cast<std::size_t>(i)];
      PlaneGradients<T> t{};
      const Index first = phase.first * p_.height().kernel;
      t.columns = phase.columns;
      t.rows = p_.height().kernel;
      t.dy = dy_;
      t.offset = g_.offset.data() + first;
      t.kept = kept_of_.data() + phase.first;
      t.period = g_.row;
      t.length = length;
      if (dx != nullptr) {
        t.w = weights_ + b.i * taps_ + first;
        t.dx = dx + i * pixels_;
      }
      if (x != nullptr) {
        t.x = x + i * pixels_;
        t.sums = sums_ + (b.i * taps_ + first) * lanes_;
      }
      k_.plane_gradients(t);
    }
    if (dx != nullptr) write_dx(b, rows, apart);
    if (x != nullptr && (elements_[b.i] += length) > kVectorsPerFold * lanes_) fold(b.i, 1);
  }

  // Rows of dY for the rows of x from `first` on, those between and outside of them zero.
  void stage_gradient(const T* dy, Index first, Index rows) {
    const Axis& h = p_.height();
    const Index above = first + h.pad - g_.halo, end = above + rows;  // row 0 of dY has this number 0
    const auto outputs_before = [&](Index row) { return row <= 0 ? 0 : h.stride == 1 ? row : (row + 1) / 2; };
    const Index oh = outputs_before(above), count = std::min(h.out, outputs_before(end)) - oh;
    T* to = dy_;
    if (count > 0) {
      const bool joined = h.stride == 1 && (count == 1 || p_.y.space[kHeight] == g_.row);
      StageRows<T> t{};
      t.src = dy + oh * p_.y.space[kHeight];
      t.step = 1;
      t.src_row = joined ? 0 : p_.y.space[kHeight];
      t.rows = joined ? 1 : count;
      t.count = joined ? count * g_.row : g_.row;
      t.dst_row = joined ? t.count : h.stride * g_.row;
      t.dst = dy_ + (oh * h.stride - above) * g_.row;
      std::fill(to, t.dst, T(0));
      k_.stage_rows(t);
      to = t.dst + t.rows * t.dst_row;
    }
    T* const behind = dy_ + rows * g_.row + g_.margin;
    if (to < behind) std::fill(to, behind, T(0));
  }

  // The rows of a block, in place where they lie so, else in its phases with zeros behind.
  const T* read_x(const Block& b, Index rows, bool apart) {
    const ImageStrides& s = p_.x;
    const T* x = s_.a_.x + b.n * s.batch + b.g * s.group + b.first * s.space[kHeight];
    const bool in_place = dense(p_, s);
    if (in_place && !apart) return x;
    if (!in_place || phases_ == 1) {
      T* const to = phases_ == 1 ? x_ : rows_;
      k_.stage_rows({x, s.space[kWidth], s.space[kHeight], rows, p_.width().in, to, p_.width().in, 0});
      x = to;
    }
    if (phases_ > 1) {
      const Index pairs = rows * g_.row;
      k_.split_pairs(x, pairs, x_, x_ + pixels_);
      for (Index i = 0; i < phases_; ++i) std::fill_n(x_ + i * pixels_ + pairs, lanes_, T(0));
    }
    return x_;
  }

  T* block_of_dx(const Block& b) const {
    const ImageStrides& s = s_.dx_problem_.x;
    return s_.a_.dx + b.n * s.batch + b.g * s.group + b.first * s.space[kHeight];
  }
  T* target(const Block& b, bool apart) const { return dense(p_, s_.dx_problem_.x) && !apart ? block_of_dx(b) : dx_; }
  void write_dx(const Block& b, Index rows, bool apart) {
    const ImageStrides& s = s_.dx_problem_.x;
    const Index width = p_.width().in;
    const bool in_place = dense(p_, s);
    if (in_place && !apart) return;
    T* const to = block_of_dx(b);
    const T* from = dx_;
    if (phases_ > 1) {
      T* const joined = in_place ? to : rows_;
      k_.join_pairs(dx_, dx_ + pixels_, rows * g_.row, joined);
      from = joined;
    }
    if (in_place && phases_ > 1) return;
    for (Index i = 0; i < rows; ++i) {
      for (Index j = 0; j < width; ++j) to[i * s.space[kHeight] + j * s.space[kWidth]] = from[i * width + j];
    }
  }

  // Of some of the task's groups.
  void fold(Index first, Index groups) {
    T* const sums = sums_ + first * taps_ * lanes_;
    double* const totals = totals_ + first * taps_;
    k_.sum_lanes(sums, groups * taps_, lane_totals_);
    for (Index i = 0; i < groups * taps_; ++i) totals[i] += static_cast<double>(lane_totals_[i]);
    std::fill_n(sums, groups * taps_ * lanes_, T(0));
    std::fill_n(elements_ + first, groups, 0);
  }

  void store(Index g, Index groups, Images images, double* gradient) {
    fold(0, groups);
    const double* from = totals_;
    for (Index i = 0; i < groups; ++i, gradient += taps_) {
      for (const Index tap : g_.tap) {
        const double total = *from++;
        gradient[tap] = total == total ? total : exact_tap_sum(p_, s_.a_.x, s_.a_.dy, g + i, images, 0, tap);
      }
    }
  }

  const PlaneSweep& s_;
  const PlaneGeometry& g_;
  const Problem& p_;
  const Kernels<T>& k_;
  const Index lanes_, taps_, phases_;
  const Index groups_, pixels_;  // of a task at a time, and of a block's phase
  Workspace workspace_;
  T *dy_, *kept_, *x_, *dx_, *rows_;
  T *weights_, *sums_, *lane_totals_;
  double* totals_;
  std::vector<const T*> kept_of_;
  std::vector<Index> w_at_;      // of each tap
  Index elements_[kMostGroups];  // since the last fold
};

// Follows from the problem and from dY, whatever is wanted: the bits of a gradient do not depend on the others.
template <class T>
bool sweeps(const Problem& p) {
  constexpr Index kSide = 4096;  // beyond it no plane fits, and sizes might not fit 64 bits
  const Axis &d = p.depth(), &h = p.height(), &w = p.width();
  if (p.groups == 1 || p.channels * p.outputs > 1 || p.taps() > kMostTaps) return false;
  if (d.kernel > 1 || d.in > 1 || d.out > 1 || d.pad != 0) return false;
  for (const Axis& a : {h, w}) {
    if (std::max({a.in, a.out, a.span(), a.pad}) > kSide || a.stride > 2 || a.pad < 0) return false;
  }
  return w.in == w.stride * w.out && (w.out == 1 || p.y.space[kWidth] == 1) && p.y.group != 1;
}

}  // namespace

template <class T>
bool depthwise_plane_gradients(const GradientProblem& p, const GradientOperands<T>& a, int threads) {
  if (p.weight.flops() == 0 || !sweeps<T>(p.weight)) return false;
  const PlaneSweep<T> sweep(p, a);
  if (!sweep.fits()) return false;
  run_sweep(sweep, p.weight, a, sweep.groups(), threads);
  return true;
}

template bool depthwise_plane_gradients(const GradientProblem&, const GradientOperands<float>&, int);
template bool depthwise_plane_gradients(const GradientProblem&, const GradientOperands<double>&, int);

}  // namespace fastconv
