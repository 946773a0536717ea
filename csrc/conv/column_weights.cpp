// dW of a 1-D convolution with wide kernels and a stride, over few pixels:
//
//     dW[o, (c, k)]  =  sum over pixels of  dy[o, pixel] * x[c, s * pixel - pad + k]
//
// With (c, k) in the lanes, x comes as rows of taps that are copied side by side, dy is read where it lies, and tiles
// add to dW itself. (The general algorithm has o in the lanes, and would transpose dW: as much work as its few
// products.)
//
// A task is some channels of x and all o. Its blocks of pixels follow from the problem alone, and so do the bits.
#include <algorithm>

#include "../cpu.hpp"
#include "../parallel.hpp"
#include "../workspace.hpp"
#include "column_products.hpp"
#include "direct_plan.hpp"

namespace fastconv {
namespace {

template <class T>
class ColumnWeights {
 public:
  ColumnWeights(const Problem& forward, const T* x, const T* dy, T* dw)
      : p_(forward),
        k_(kernels().of<T>()),
        taps_(p_.width().kernel),
        x_(x),
        dy_(dy),
        dw_(dw),
        ranges_(p_.channels, std::max<Index>(1, kColumns / taps_)),
        blocks_(p_.width().out, reduction_depth(k_.tile_vectors, sizeof(T) * static_cast<std::size_t>(k_.lanes))) {}

  Index tasks() const { return p_.groups * ranges_.count; }

  void run(Index task) const {
    const Index range = task % ranges_.count, group = task / ranges_.count;
    const Index first = ranges_.start(range), columns = ranges_.size(range) * taps_;
    Workspace workspace(Workspace::piece_bytes<T>(blocks_.size(0) * width()));
    T* const panel = workspace.take<T>(blocks_.size(0) * width());
    T* const dw = dw_ + group * p_.w.group + first * taps_;
    const T* const x = x_ + group * p_.x.group + first * p_.x.channel;
    const T* const dy = dy_ + group * p_.y.group;
    for (Index n = 0; n < p_.batch; ++n) {
      for (Index i = 0; i < blocks_.count; ++i) {
        for (Index column = 0; column < columns; column += width()) {
          const Range lanes{column, std::min(column + width(), columns)};
          fill_panel(x + n * p_.x.batch, blocks_.start(i), blocks_.size(i), lanes, panel);
          multiply(dy + n * p_.y.batch + blocks_.start(i), blocks_.size(i), lanes, panel, n + i > 0, dw + column);
        }
      }
    }
  }

 private:
  Index width() const { return k_.lanes * k_.tile_vectors; }
  // Of a panel that holds these lanes.
  Index vectors(const Range& lanes) const { return ceil_div(lanes.size(), k_.lanes); }

  // Panel [pixel][lane], zero where a tap meets padding. A row of taps may lie in two panels.
  void fill_panel(const T* x, Index pixel, Index pixels, const Range& lanes, T* panel) const {
    const Index ld = vectors(lanes) * k_.lanes;
    std::fill_n(panel, pixels * ld, T(0));
    for (Index lane = lanes.first; lane < lanes.last;) {
      const Index c = lane / taps_, tap = lane % taps_, count = std::min(taps_ - tap, lanes.last - lane);
      fill_taps(x + c * p_.x.channel, p_.width().input_of(pixel, tap), pixels, count, panel + lane - lanes.first, ld);
      lane += count;
    }
  }

  // Taps [start + s * i, ... + count) of each pixel i, as far as they lie within the row.
  void fill_taps(const T* row, Index start, Index pixels, Index count, T* to, Index ld) const {
    const Index stride = p_.width().stride, in = p_.width().in;
    const auto [first, end] = whole_rows(in, count, stride, start, pixels);
    k_.copy({row + start + first * stride, stride, end - first, count, to + first * ld, ld});
    for (const Range part : {Range{0, first}, Range{end, pixels}}) {
      for (Index i = part.first; i < part.last; ++i) {
        const Index at = start + i * stride;
        for (Index k = std::max<Index>(0, -at); k < std::min(count, in - at); ++k) to[i * ld + k] = row[at + k];
      }
    }
  }

  void multiply(const T* dy, Index pixels, const Range& lanes, const T* panel, bool accumulate, T* dw) const {
    const Panels rows(p_.outputs, k_.tile_rows);
    Tile<T> tile{};
    tile.depth = pixels;
    tile.b = panel;
    tile.lda = p_.y.channel;
    tile.ldc = p_.w.out;
    tile.lanes = lanes.size();
    tile.accumulate = accumulate;
    for (Index i = 0; i < rows.count; i += tile.tiles) {
      tile.a = dy + rows.start(i) * p_.y.channel;
      tile.c = dw + rows.start(i) * p_.w.out;
      tile.next.a = rows.size(i) * p_.y.channel;
      tile.next.c = rows.size(i) * p_.w.out;
      tile.tiles = rows.end_of_size(i) - i;
      k_.pixel_lanes[rows.size(i) - 1][vectors(lanes) - 1](tile);
    }
  }

  const Problem& p_;
  const Kernels<T>& k_;
  Index taps_;
  const T* x_;
  const T* dy_;
  T* dw_;
  Panels ranges_;  // of channels
  Panels blocks_;  // of pixels
};

}  // namespace

template <class T>
bool column_products_grad_weight(const Problem& forward, const T* x, const T* grad_output, T* grad_weight,
                                 int threads) {
  if (!wide_kernels(forward) || forward.flops() == 0) return false;
  const ColumnWeights<T> columns(forward, x, grad_output, grad_weight);
  parallel_for(useful_threads(forward.flops(), columns.tasks(), threads), columns.tasks(),
               [&](Index task) { columns.run(task); });
  return true;
}

template bool column_products_grad_weight(const Problem&, const float*, const float*, float*, int);
template bool column_products_grad_weight(const Problem&, const double*, const double*, double*, int);

}  // namespace fastconv
