// The gradients of a depthwise convolution in one sweep, plane by plane, pixels in the lanes.
//
// With as many outputs in a row as inputs, or half as many with stride 2, which 'same' padding is about, both gradients
// shift dY alike. For stride 1:
//
//     dx[i, j] = sum over taps of w[r, s] * dy[i + r', j + s']
//     dW[r, s] = sum over pixels of x[i, j] * dy[i + r', j + s']
//
// so one kernel (kernels/plane_gradients.hpp) makes both from one load of dY. It reads x and stores dx where they lie,
// taking the even and the odd columns of strided rows apart in registers, and masks the pixels whose tap leaves a row
// at its end. Rows above and below the plane are zeros of a copy of dY, block by block.
//
// Sums are folded to doubles as in depthwise_grad_weight.cpp. Zeros of dY meet pixels here that no output has, and
// padding meets no output: where a sum is not finite, the group's are computed again, product by product. (Each element
// of dY has a tap that finds it beside a pixel, so none that is infinite or NaN goes unnoticed.) No gradient looks at
// whether others are wanted.
#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "../cpu.hpp"
#include "../workspace.hpp"
#include "depthwise_sweep.hpp"

namespace fastconv {
namespace {

constexpr Index kMostGroups = 16;  // of a task at a time
constexpr Index kMostTaps = 128;
constexpr Index kAdditionsPerFold = 512;  // in a chain

// dx, or x, whose strides these are.
bool dense(const Problem& p, const ImageStrides& s) {
  return s.space[kWidth] == 1 && (p.height().in == 1 || s.space[kHeight] == p.width().in);
}

// All set, or none.
template <class T>
T bits(bool set) {
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  return std::bit_cast<T>(set ? ~Bits{0} : Bits{0});
}

// Whether each element of dY has a tap that finds it beside a pixel.
bool meets_pixels(const Axis& a) {
  if (a.pad < 0 || a.pad >= a.span()) return false;
  if (a.stride == 1) return a.pad % a.dilation == 0 && a.out <= a.in;  // a tap in its pixel's place
  return a.stride == 2 && a.dilation == 1 && a.input_of(a.out - 1, 0) < a.in;
}

template <class T>
class PlaneSweep {
 public:
  PlaneSweep(const GradientProblem& p, const GradientOperands<T>& a) : p_(p.weight), dx_problem_(p.input), a_(a) {
    choose_block(caches().l1 / static_cast<Index>(sizeof(T)));
  }

  bool fits() const { return block_ > 0; }
  // Of a task at a time: their sums stay in L1.
  Index groups() const {
    return std::clamp<Index>(caches().l1 / 2 / (p_.taps() * lanes_ * static_cast<Index>(sizeof(T))), 1, kMostGroups);
  }

  using Sum = double;
  class Task;

 private:
  // Rows whose x, dx and dY stay in L1.
  void choose_block(Index most) {
    const Index rows = p_.height().in, room = most - halo_ * row_, each = 3 * stride_ * row_;
    blocks_ = ceil_div(rows, std::clamp<Index>(room / each, std::min<Index>(rows, 4), rows));
    block_ = round_up(ceil_div(rows, blocks_), Index{kMostGradientRows});
    if (block_ * each + halo_ * row_ > 8 * most) block_ = 0;
  }

  const Problem &p_, &dx_problem_;
  const GradientOperands<T>& a_;
  const Kernels<T>& k_ = kernels().of<T>();
  const Index lanes_ = k_.lanes;
  const Index stride_ = p_.height().stride;
  const Index row_ = p_.width().out;
  const Index halo_ = (p_.height().kernel - 1) / stride_;  // rows that a block has of dY beyond those of x
  Index block_ = 0, blocks_ = 0;                           // rows of a block, 0 where none fits; blocks of a plane
};

template <class T>
class PlaneSweep<T>::Task {
 public:
  explicit Task(const PlaneSweep& all)
      : s_(all),
        p_(s_.p_),
        k_(s_.k_),
        row_(s_.row_),
        x_row_(p_.width().in),
        taps_(p_.taps()),
        columns_(p_.width().kernel),
        groups_(s_.groups()),
        workspace_(bytes()),
        dy_(workspace_.template take<T>(staged_dy()) + margin()),
        kept_(workspace_.template take<T>(columns_ * row_)),
        x_(workspace_.template take<T>(s_.block_ * x_row_)),
        dx_(workspace_.template take<T>(s_.block_ * x_row_)),
        weights_(workspace_.template take<T>(products())),
        sums_(workspace_.template take<T>(products() * s_.lanes_)),
        lane_totals_(workspace_.template take<T>(products())),
        totals_(workspace_.template take<double>(products())) {
    std::fill_n(dy_ - margin(), staged_dy(), T(0));
    for (Index residue = 0; residue < s_.stride_; ++residue) add_columns(residue);
  }

  // From group g on; gradient: [group][tap]; plane_sums: [image][group] of the problem, or null.
  void run(Index g, Images images, double* gradient, T* plane_sums) {
    const Index groups = std::min(groups_, p_.groups - g);
    if (s_.a_.dx != nullptr) pack_weights(g, groups);
    std::fill_n(totals_, products(), 0.0);
    std::fill_n(sums_, products() * s_.lanes_, T(0));
    std::fill_n(elements_, groups, 0);
    const bool small = groups * p_.pixels() * static_cast<Index>(sizeof(T)) < caches().l2 / 4;  // all planes stay
    for (Index n = images.first; n < images.end; ++n) {
      const T* dy = s_.a_.dy + n * p_.y.batch + g * p_.y.group;
      T* const plane_sum = plane_sums == nullptr ? nullptr : plane_sums + n * p_.groups + g;
      if (plane_sum != nullptr && small) k_.sum_rows(dy, p_.y.group, groups, p_.pixels(), plane_sum);
      for (Index i = 0; i < groups; ++i, dy += p_.y.group) {
        if (plane_sum != nullptr && !small) k_.sum_rows(dy, 0, 1, p_.pixels(), plane_sum + i);
        for (Index b = 0; b < s_.blocks_; ++b) add({n, g + i, i, b * s_.block_}, dy);
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
  Index margin() const { return p_.width().span() + s_.lanes_; }  // what a tap reads before and behind the rows
  Index staged_dy() const { return (s_.block_ / s_.stride_ + s_.halo_) * row_ + 2 * margin(); }
  std::size_t bytes() const {
    return Workspace::piece_bytes<T>(staged_dy()) + Workspace::piece_bytes<T>(columns_ * row_) +
           2 * Workspace::piece_bytes<T>(s_.block_ * x_row_) + 2 * Workspace::piece_bytes<T>(products()) +
           Workspace::piece_bytes<T>(products() * s_.lanes_) + Workspace::piece_bytes<double>(products());
  }

  // The columns of taps that lead to pixels of a residue: which of them they find inside dY, and the taps' weights.
  void add_columns(Index residue) {
    const Axis& w = p_.width();
    const auto& step = s_.dx_problem_.w.space;
    for (Index s = 0; s < columns_; ++s) {
      const Index distance = residue + w.pad - s * w.dilation;  // of dY from x, in pixels of x
      if (distance % s_.stride_ != 0) continue;
      T* const kept = kept_ + static_cast<Index>(shift_.size()) * row_;
      kept_of_.push_back(kept);
      shift_.push_back(distance / s_.stride_);
      for (Index j = 0; j < row_; ++j) kept[j] = bits<T>(j + shift_.back() >= 0 && j + shift_.back() < row_);
      for (Index r = 0; r < p_.height().kernel; ++r) {
        tap_.push_back(r * columns_ + s);
        w_at_.push_back(r * step[kHeight] + s * step[kWidth]);
      }
    }
    if (residue == 0) even_columns_ = static_cast<Index>(shift_.size());
  }

  // [group][column, row]
  void pack_weights(Index g, Index groups) {
    T* to = weights_;
    for (Index i = 0; i < groups; ++i) {
      const T* const w = s_.a_.w + (g + i) * s_.dx_problem_.w.group;
      for (const Index at : w_at_) *to++ = w[at];
    }
  }

  void add(const Block& b, const T* dy) {
    const Index rows = std::min(s_.block_, p_.height().in - b.first);
    if (rows <= 0) return;
    const Index same = (p_.height().kernel - 1) / 2, stride = s_.stride_;
    const Index read = round_up(rows, Index{kMostGradientRows}) / stride + s_.halo_;
    stage_gradient(dy, (b.first + p_.height().pad - same) / stride - same / stride, read);
    const Index whole = in_place() ? rows / kMostGradientRows * kMostGradientRows : 0;
    if (whole > 0) sweep(b, dy_, whole, true);
    const Block rest{b.n, b.g, b.i, b.first + whole};
    if (whole < rows) sweep(rest, dy_ + whole / stride * row_, rows - whole, false);
    if (s_.a_.dw != nullptr && (elements_[b.i] += rows * row_) > kAdditionsPerFold * s_.lanes_) fold(b.i, 1);
  }

  // dy: what the first tap of the first row asks for.
  void sweep(const Block& b, const T* dy, Index rows, bool in_place) {
    PlaneGradients<T> t{};
    t.rows = round_up(rows, Index{kMostGradientRows});
    t.row = row_;
    t.columns = columns_;
    t.even_columns = even_columns_;
    t.dy = dy;
    t.shift = shift_.data();
    t.kept = kept_of_.data();
    if (s_.a_.dx != nullptr) {
      t.w = weights_ + b.i * taps_;
      t.dx = in_place ? block_of_dx(b) : dx_;
    }
    if (s_.a_.dw != nullptr) {
      t.x = in_place ? block_of_x(b) : read_x(b, rows, t.rows);
      t.sums = sums_ + b.i * taps_ * s_.lanes_;
    }
    k_.plane_gradients[(p_.height().kernel - 3) / 2][s_.stride_ - 1](t);
    if (t.dx == dx_) write_dx(b, rows);
  }

  // Whether x and dx, those of them that are wanted, lie as the kernel wants them.
  bool in_place() const {
    return (s_.a_.dw == nullptr || dense(p_, p_.x)) && (s_.a_.dx == nullptr || dense(p_, s_.dx_problem_.x));
  }

  // `rows` rows of dY from row `first` on; those outside of it are zero.
  void stage_gradient(const T* dy, Index first, Index rows) {
    const Index begin = std::clamp<Index>(-first, 0, rows);
    const Index end = std::clamp<Index>(p_.height().out - first, begin, rows);
    const Index step = p_.y.space[kHeight];
    if (begin < end) {
      const bool joined = end - begin == 1 || step == row_;
      const Index lines = joined ? 1 : end - begin, count = (end - begin) / lines * row_;
      k_.copy({dy + (first + begin) * step, joined ? count : step, lines, count, dy_ + begin * row_, row_});
    }
    if (s_.blocks_ == 1) return;  // zeros stay where they are
    std::fill_n(dy_, begin * row_, T(0));
    std::fill(dy_ + end * row_, dy_ + rows * row_ + margin(), T(0));
  }

  const T* block_of_x(const Block& b) const {
    const ImageStrides& s = p_.x;
    return s_.a_.x + b.n * s.batch + b.g * s.group + b.first * s.space[kHeight];
  }
  // A copy, with rows of zeros up to `all`.
  const T* read_x(const Block& b, Index rows, Index all) const {
    const ImageStrides& s = p_.x;
    const T* const x = block_of_x(b);
    k_.stage_rows({x, s.space[kWidth], rows > 1 ? s.space[kHeight] : 0, rows, x_row_, x_, x_row_, 0});
    std::fill_n(x_ + rows * x_row_, (all - rows) * x_row_, T(0));
    return x_;
  }

  T* block_of_dx(const Block& b) const {
    const ImageStrides& s = s_.dx_problem_.x;
    return s_.a_.dx + b.n * s.batch + b.g * s.group + b.first * s.space[kHeight];
  }
  void write_dx(const Block& b, Index rows) const {
    const ImageStrides& s = s_.dx_problem_.x;
    T* const to = block_of_dx(b);
    if (s.space[kWidth] == 1) return k_.copy({dx_, x_row_, rows, x_row_, to, rows > 1 ? s.space[kHeight] : 0});
    for (Index i = 0; i < rows; ++i) {
      for (Index j = 0; j < x_row_; ++j) to[i * s.space[kHeight] + j * s.space[kWidth]] = dx_[i * x_row_ + j];
    }
  }

  // Of some of the task's groups.
  void fold(Index first, Index groups) {
    const Index count = groups * taps_;
    T* const sums = sums_ + first * taps_ * s_.lanes_;
    double* const totals = totals_ + first * taps_;
    k_.sum_lanes(sums, count, lane_totals_);
    for (Index i = 0; i < count; ++i) totals[i] += static_cast<double>(lane_totals_[i]);
    std::fill_n(sums, count * s_.lanes_, T(0));
    std::fill_n(elements_ + first, groups, 0);
  }

  void store(Index g, Index groups, Images images, double* gradient) {
    fold(0, groups);
    const double* from = totals_;
    for (Index i = 0; i < groups; ++i, gradient += taps_, from += taps_) {
      const bool finite = std::all_of(from, from + taps_, [](double total) { return std::isfinite(total); });
      for (std::size_t k = 0; k < tap_.size(); ++k) {
        gradient[tap_[k]] = finite ? from[k] : exact_tap_sum(p_, s_.a_.x, s_.a_.dy, g + i, images, 0, tap_[k]);
      }
    }
  }

  const PlaneSweep& s_;
  const Problem& p_;
  const Kernels<T>& k_;
  const Index row_, x_row_, taps_, columns_;  // rows of dY and x; taps and columns of them
  const Index groups_;                        // at a time
  Workspace workspace_;
  T *dy_, *kept_, *x_, *dx_;
  T *weights_, *sums_, *lane_totals_;
  double* totals_;
  std::vector<Index> shift_;  // of each column: from a pixel of x to that of dY
  std::vector<const T*> kept_of_;
  std::vector<Index> tap_, w_at_;  // of each column's taps
  Index even_columns_ = 0;         // columns for even pixels come first
  Index elements_[kMostGroups];    // since the last fold
};

// Rows of taps; with a stride, those that meet the first row of x have to be the kernel's.
template <class T>
bool has_kernel(const Axis& h) {
  if (h.dilation > 1 || (h.kernel != 3 && h.kernel != 5 && h.kernel != 7)) return false;
  return kernels().of<T>().plane_gradients[(h.kernel - 3) / 2][h.stride - 1] != nullptr &&
         (h.pad - (h.kernel - 1) / 2) % h.stride == 0;
}

// Follows from the problem and from dY, whatever is wanted: the bits of a gradient do not depend on the others.
template <class T>
bool sweeps(const Problem& p) {
  constexpr Index kSide = 4096;  // beyond it no block fits, and sizes might not fit 64 bits
  constexpr double kLanesUsed = 0.7;
  constexpr Index kShortRow = 8;
  const Axis &d = p.depth(), &h = p.height(), &w = p.width();
  const Index lanes = kernels().of<T>().lanes;
  if (p.groups == 1 || p.channels * p.outputs > 1 || p.taps() > kMostTaps) return false;
  if (d.kernel > 1 || d.in > 1 || d.out > 1 || d.pad != 0) return false;
  for (const Axis& a : {h, w}) {
    if (std::max({a.in, a.out, a.span(), a.pad}) > kSide || !meets_pixels(a)) return false;
  }
  if (!has_kernel<T>(h) || h.stride != w.stride || w.in != w.stride * w.out) return false;
  if (p.y.space[kWidth] != 1 || p.y.group == 1) return false;
  // Groups in the lanes waste none, and are as fast for short rows that a stride takes apart.
  return w.out >= std::max<Index>(lanes, w.stride * kShortRow) && lane_use(w.out, lanes) > kLanesUsed;
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
