// dW of a 1-D convolution with wide kernels, over few pixels or with few columns (c, k):
//
//     dW[o, (c, k)]  =  sum over pixels of  dy[o, pixel] * x[c, s * pixel - pad + k]
//
// With (c, k) in the lanes, x comes as rows of taps that are copied side by side, dy is read where it lies, and tiles
// add to dW itself. (The general algorithm has o in the lanes. It would transpose dW, with few pixels as much work as
// the products, or dy, with few columns so too.)
//
// A task is some channels of x and some o. Its blocks of pixels follow from the problem alone, and so do the bits.
#include <algorithm>

#include "../cpu.hpp"
#include "../parallel.hpp"
#include "../workspace.hpp"
#include "column_products.hpp"
#include "direct_plan.hpp"
#include "grad_parts.hpp"

namespace fastconv {
namespace {

constexpr Index kOutputs = 48;   // of a task: enough to pay for its copy of x
constexpr Index kPixels = 1024;  // of a block whose taps are a single vector, read where they lie

template <class T>
class ColumnWeights {
 public:
  ColumnWeights(const Problem& forward, const T* x, const T* dy, T* dw, T* db)
      : p_(forward),
        k_(kernels().of<T>()),
        taps_(p_.width().kernel),
        x_(x),
        dy_(dy),
        dw_(dw),
        db_(db),
        ranges_(p_.channels, std::max<Index>(1, kColumns / taps_)),
        blocks_(p_.width().out, pixels()),
        outputs_(few_columns<T>(p_) ? kOutputs : p_.outputs) {}

  Index tasks() const { return p_.groups * ranges_.count * parts(); }

  void run(Index task) const {
    const Index range = task / parts() % ranges_.count, group = task / parts() / ranges_.count;
    const Index o = task % parts() * outputs_, outputs = std::min(outputs_, p_.outputs - o);
    const Index first = ranges_.start(range), columns = dw_ == nullptr ? 0 : ranges_.size(range) * taps_;
    Workspace workspace(Workspace::piece_bytes<T>(blocks_.size(0) * width()) + Workspace::piece_bytes<double>(outputs));
    T* const panel = workspace.take<T>(blocks_.size(0) * width());
    double* const biases = workspace.take<double>(outputs);
    std::fill_n(biases, outputs, 0.0);
    const T* const x = x_ + group * p_.x.group + first * p_.x.channel;
    for (Index n = 0; n < p_.batch; ++n) {
      for (Index i = 0; i < blocks_.count; ++i) {
        const T* const dy = dy_ + group * p_.y.group + o * p_.y.channel + n * p_.y.batch + blocks_.start(i);
        for (Index column = 0; column < columns; column += width()) {
          const Range lanes{column, std::min(column + width(), columns)};
          const Taps taps = taps_of(x + n * p_.x.batch, blocks_.start(i), blocks_.size(i), lanes, panel);
          multiply(dy, outputs, blocks_.size(i), lanes, taps, n + i > 0,
                   dw_ + group * p_.w.group + o * p_.w.out + first * taps_ + column);
        }
        // While dy is in the cache.
        if (db_ != nullptr && range == 0) add_row_sums(dy, p_.y.channel, outputs, blocks_.size(i), biases);
      }
    }
    if (db_ == nullptr || range > 0) return;
    std::transform(biases, biases + outputs, db_ + group * p_.outputs + o, [](double v) { return static_cast<T>(v); });
  }

 private:
  // Of a block.
  Index pixels() const {
    if (p_.channels == 1 && taps_ == k_.lanes) return kPixels;
    return reduction_depth(k_.tile_vectors, sizeof(T) * static_cast<std::size_t>(k_.lanes));
  }
  Index parts() const { return ceil_div(p_.outputs, outputs_); }
  Index width() const { return k_.lanes * k_.tile_vectors; }
  // Of a panel that holds these lanes.
  Index vectors(const Range& lanes) const { return ceil_div(lanes.size(), k_.lanes); }

  struct Taps {
    const T* data;
    Index ld;  // from a pixel's to the next
  };

  // A vector of taps of one channel is read where it lies, unless it reaches beyond x; others are copied to the panel.
  Taps taps_of(const T* x, Index pixel, Index pixels, const Range& lanes, T* panel) const {
    const Index c = lanes.first / taps_, start = p_.width().input_of(pixel, lanes.first % taps_);
    if (lanes.size() == k_.lanes && (lanes.last - 1) / taps_ == c) {
      const Range whole = whole_rows(p_.width().in, k_.lanes, p_.width().stride, start, pixels);
      if (whole.size() == pixels) return {x + c * p_.x.channel + start, p_.width().stride};
    }
    fill_panel(x, pixel, pixels, lanes, panel);
    return {panel, vectors(lanes) * k_.lanes};
  }

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

  void multiply(const T* dy, Index outputs, Index pixels, const Range& lanes, const Taps& taps, bool accumulate,
                T* dw) const {
    if (lanes.size() == k_.lanes) {  // more rows than a tile of table.hpp has for a single vector
      k_.tall({outputs, pixels, dy, p_.y.channel, taps.data, taps.ld, dw, p_.w.out, accumulate});
      return;
    }
    const Panels rows(outputs, k_.tile_rows);
    Tile<T> tile{};
    tile.depth = pixels;
    tile.b = taps.data;
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
  T* db_;
  Panels ranges_;  // of channels
  Panels blocks_;  // of pixels
  Index outputs_;  // of a task
};

}  // namespace

template <class T>
void column_products_grad_weight(const Problem& forward, const T* x, const T* grad_output, T* grad_weight, T* grad_bias,
                                 int threads) {
  const ColumnWeights<T> columns(forward, x, grad_output, grad_weight, grad_bias);
  parallel_for(useful_threads(forward.flops(), columns.tasks(), threads), columns.tasks(),
               [&](Index task) { columns.run(task); });
}

template void column_products_grad_weight(const Problem&, const float*, const float*, float*, float*, int);
template void column_products_grad_weight(const Problem&, const double*, const double*, double*, double*, int);

}  // namespace fastconv
