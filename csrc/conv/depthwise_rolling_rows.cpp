// Depthwise convolution whose rows roll by, plane after plane (kernels/rolling_rows.hpp): where they lie, unless their
// columns lie apart, as in an image whose colours come last. Then a block's rows are copied, and its outputs stored.
#include "../cpu.hpp"
#include "../parallel.hpp"
#include "../workspace.hpp"
#include "depthwise.hpp"
#include "depthwise_task.hpp"

namespace fastconv {
namespace {

bool dense_rows(const ImageStrides& s, Index width) { return !columns_join(s) || s.space[kHeight] == width; }

// Rows of x that so many rows of y meet.
Index rows_met(const Problem& p, Index rows) { return (rows - 1) * p.height().stride + p.height().kernel; }
Index copied_plane(const Problem& p, Index rows) { return columns_join(p.x) ? 0 : rows_met(p, rows) * p.width().in; }
Index copied_planes(const Problem& p, Index groups, Index rows) { return groups * copied_plane(p, rows); }
Index stored_plane(const Problem& p, Index rows) { return columns_join(p.y) ? 0 : rows * p.width().out; }

// Of fewer lanes, planes go through the lanes of groups faster (13 to 7 columns, 7 x 7: 0.73 so; 14 to 7, 3 x 3: 1.3).
bool fills(Index used, Index lanes, Index taps) {
  return static_cast<double>(used) > (taps < 49 ? 0.4 : 0.5) * static_cast<double>(lanes);
}

// How the rows of a plane fill vectors.
template <class T>
struct RowVectors {
  void (*kernel)(const RollingRows<T>&) = nullptr;
  Index rows = 1;               // of a vector,
  Index strip = 0, strips = 1;  // or the outputs of a strip, where a row has several

  explicit RowVectors(const Problem& p) {
    const Axis &h = p.height(), &w = p.width();
    const Kernels<T>& k = kernels().of<T>();
    if (p.depth().kernel > 1 || p.depth().pad != 0) return;
    const Index window = (h.kernel - 3) / 2, widest = std::max(w.in, w.out);
    if (widest > k.lanes) {
      kernel = k.rolling_strips[window][h.stride - 1];
      if (kernel == nullptr) return;
      strip = std::min<Index>({w.out, k.lanes, (2 * k.lanes - w.kernel) / w.stride + 1});
      strips = ceil_div(w.out, strip);
      return;
    }
    const auto& steps = k.rolling_rows[window];
    Index log = 0;  // of rows
    if (h.stride == 1 && dense_rows(p.x, w.in) && dense_rows(p.y, w.out)) {
      while (log + 1 < kRowSteps && steps[log + 1] != nullptr && 2 * rows * widest <= k.lanes && rows < h.out) {
        rows *= 2;
        ++log;
      }
    }
    if (w.out < w.in && !fills(rows * w.out, k.lanes, p.taps())) return;
    kernel = steps[h.stride == 2 ? 1 : log];
  }
};

template <class T>
Index copied_weights(const Problem& p, Index groups) {
  return DepthwiseTask<T>::dense_weights(p) ? 0 : groups * p.outputs * p.taps();
}

template <class T>
class RollingRowsTask {
 public:
  RollingRowsTask(const Problem& p, const DepthwisePlan& plan, const Operands<T>& a)
      : p_(p),
        plan_(plan),
        a_(a),
        vectors_(p),
        workspace_(plan.workspace),
        from_(workspace_.template take<std::int32_t>(p.width().kernel * lanes_)),
        weights_(workspace_.template take<T>(copied_weights<T>(p, plan.block_groups))),
        copies_(workspace_.template take<T>(copied_planes(p, plan.block_groups, plan.block_height))),
        results_(workspace_.template take<T>(stored_plane(p, plan.block_height))) {
    find_lanes();
  }

  void run(Index block) const {
    const Index row_block = block % plan_.blocks_h, depth = block / plan_.blocks_h % p_.depth().out;
    const Index rest = block / plan_.blocks_h / p_.depth().out, n = rest / plan_.group_blocks;
    const Index first_row = row_block * plan_.block_height, g = rest % plan_.group_blocks * plan_.block_groups;
    const Index rows = std::min(plan_.block_height, p_.height().out - first_row);
    if (rows > 0) convolve(n, g, depth, first_row, rows);
  }

 private:
  void convolve(Index n, Index g, Index depth, Index first_row, Index rows) const {
    const Index groups = std::min(plan_.block_groups, p_.groups - g);
    const Axis &h = p_.height(), &w = p_.width();
    const bool dense = DepthwiseTask<T>::dense_weights(p_);
    if (!dense) copy_weights(g, groups);
    RollingRows<T> t{};
    t.planes = groups;
    t.rows_of_vector = vectors_.rows;
    t.strips = vectors_.strips, t.strip = vectors_.strip;
    t.stride = w.stride, t.pad_columns = w.pad;
    t.from = from_;
    t.x = a_.x + n * p_.x.batch + g * p_.x.group + p_.depth().input_of(depth, 0) * p_.x.space[kDepth];
    t.x_plane = p_.x.group, t.x_row = p_.x.space[kHeight];
    t.pad = h.pad - first_row * h.stride;
    t.rows_in = h.in, t.width_in = w.in;
    if (!columns_join(p_.x)) copy_rows(rows, t);
    t.y_plane = p_.y.group, t.y_row = p_.y.space[kHeight];
    t.rows_out = rows, t.width_out = w.out;
    t.overwritten = dense_rows(p_.y, w.out) ? rows * w.out : 0;
    t.w_plane = dense ? p_.w.group : p_.outputs * p_.taps();
    t.bias_step = p_.outputs;
    t.relu = p_.relu;
    T* const y = a_.y + n * p_.y.batch + g * p_.y.group + depth * p_.y.space[kDepth] + first_row * t.y_row;
    for (Index o = 0; o < p_.outputs; ++o) {
      t.y = y + o * p_.y.channel;
      t.w = dense ? a_.w + g * p_.w.group + o * p_.w.out : weights_ + o * p_.taps();
      t.bias = a_.bias == nullptr ? nullptr : a_.bias + g * p_.outputs + o;
      if (columns_join(p_.y)) {
        vectors_.kernel(t);
      } else {
        convolve_apart(t);
      }
    }
  }

  // The rows of the planes of x that the block meets.
  void copy_rows(Index rows, RollingRows<T>& t) const {
    const Index first = std::clamp<Index>(-t.pad, 0, t.rows_in);
    const Index end = std::clamp<Index>(rows_met(p_, rows) - t.pad, first, t.rows_in);
    const Index plane = copied_plane(p_, plan_.block_height);
    StageRows<T> s{};
    s.step = p_.x.space[kWidth];
    s.src_row = t.x_row;
    s.rows = end - first;
    s.count = s.dst_row = t.width_in;
    for (Index i = 0; i < t.planes; ++i) {
      s.src = t.x + i * t.x_plane + first * t.x_row;
      s.dst = copies_ + i * plane;
      kernels().of<T>().stage_rows(s);
    }
    t.x = copies_, t.x_plane = plane, t.x_row = t.width_in;
    t.pad += first, t.rows_in = end - first;
  }

  // Plane after plane, from dense rows to columns that lie apart.
  void convolve_apart(RollingRows<T> t) const {
    T* y = t.y;
    const Index planes = t.planes, row = t.y_row, column = p_.y.space[kWidth];
    t.planes = 1;
    t.y = results_, t.y_row = t.width_out;
    for (Index i = 0; i < planes; ++i, y += t.y_plane, t.x += t.x_plane, t.w += t.w_plane) {
      vectors_.kernel(t);
      for (Index r = 0; r < t.rows_out; ++r) {
        for (Index c = 0; c < t.width_out; ++c) y[r * row + c * column] = results_[r * t.width_out + c];
      }
      if (t.bias != nullptr) t.bias += t.bias_step;
    }
  }

  // Lane l of y is column l % width of one of its rows, or column l of a strip.
  void find_lanes() {
    const Axis& w = p_.width();
    std::int32_t* to = from_;
    for (Index s = 0; s < w.kernel; ++s) {
      for (Index l = 0; l < lanes_; ++l) {
        const Index row = l / w.out, column = l % w.out * w.stride + s - w.pad;
        const bool inside = row < vectors_.rows && column >= 0 && column < w.in;
        const Index lane = vectors_.strip > 0 ? l * w.stride + s : inside ? row * w.in + column : -1;
        *to++ = static_cast<std::int32_t>(lane);
      }
    }
  }

  void copy_weights(Index g, Index groups) const {
    const Index size = p_.outputs * p_.taps();
    for (Index i = 0; i < groups; ++i) {
      DepthwiseTask<T>::copy_weights(p_, a_.w + (g + i) * p_.w.group, weights_ + i * size);
    }
  }

  const Problem& p_;
  const DepthwisePlan& plan_;
  const Operands<T>& a_;
  const Index lanes_ = kernels().of<T>().lanes;
  const RowVectors<T> vectors_;
  Workspace workspace_;
  std::int32_t* from_;
  T *weights_, *copies_, *results_;
};

}  // namespace

// Blocks stay in L2 while strip after strip rolls by, and are enough for the threads.
template <class T>
bool choose_rolling_block(const Problem& p, int threads, DepthwisePlan& plan) {
  constexpr Index kFewestRows = 16, kFewestCopied = 4;
  constexpr Index kMostCopied = Index{1} << 20;  // bytes
  if (RowVectors<T>(p).kernel == nullptr) return false;
  const Axis &h = p.height(), &w = p.width();
  const bool apart = !columns_join(p.x) || !columns_join(p.y);
  if (w.in > kMostCopied && apart) return false;  // nor do products of such sizes fit 64 bits
  // A multiple of what kernels take together. More save calls, as long as planes are not cut for the threads' sake.
  const Index fewest = 12, most = apart ? fewest : 96;
  const auto share = static_cast<Index>(static_cast<double>(p.batch) * static_cast<double>(p.groups) / (4.0 * threads));
  plan.block_groups = std::min(p.groups, std::clamp(share, fewest, most) / fewest * fewest);
  const Index copies = apart ? plan.block_groups : 1;
  const Index row = copies * std::max(w.in * h.stride, w.out) * static_cast<Index>(sizeof(T));
  plan.group_blocks = ceil_div(p.groups, plan.block_groups);
  plan.block_height = std::min(h.out, std::max(apart ? kFewestCopied : kFewestRows, caches().l2 / 4 / row));
  const Index copied = copied_planes(p, plan.block_groups, plan.block_height) + stored_plane(p, plan.block_height);
  if (copied > kMostCopied / static_cast<Index>(sizeof(T))) return false;
  const Index others = p.batch * plan.group_blocks * p.depth().out;
  while (plan.block_height >= 2 * kFewestRows && others * ceil_div(h.out, plan.block_height) < 4 * threads) {
    plan.block_height = ceil_div(plan.block_height, 2);
  }
  plan.blocks_h = ceil_div(h.out, plan.block_height);
  plan.blocks_w = 1;
  plan.block_width = w.out;
  return true;
}

template <class T>
std::size_t rolling_rows_workspace(const Problem& p, const DepthwisePlan& plan) {
  return Workspace::piece_bytes<std::int32_t>(p.width().kernel * kernels().of<T>().lanes) +
         Workspace::piece_bytes<T>(copied_weights<T>(p, plan.block_groups)) +
         Workspace::piece_bytes<T>(copied_planes(p, plan.block_groups, plan.block_height)) +
         Workspace::piece_bytes<T>(stored_plane(p, plan.block_height));
}

template <class T>
void rolling_rows_forward(const Problem& p, const DepthwisePlan& plan, const Operands<T>& a) {
  parallel_for(plan.threads, plan.tasks.count, [&](Index i) {
    const RollingRowsTask<T> task(p, plan, a);
    const Index first = plan.tasks.start(i), end = first + plan.tasks.size(i);
    for (Index block = first; block < end; ++block) task.run(block);
  });
}

template bool choose_rolling_block<float>(const Problem&, int, DepthwisePlan&);
template bool choose_rolling_block<double>(const Problem&, int, DepthwisePlan&);
template std::size_t rolling_rows_workspace<float>(const Problem&, const DepthwisePlan&);
template std::size_t rolling_rows_workspace<double>(const Problem&, const DepthwisePlan&);
template void rolling_rows_forward(const Problem&, const DepthwisePlan&, const Operands<float>&);
template void rolling_rows_forward(const Problem&, const DepthwisePlan&, const Operands<double>&);

}  // namespace fastconv
