// dx of a 1-D convolution with wide kernels and a stride. Every dy is multiplied with a whole kernel, and the products
// are added where they belong:
//
//     P[pixel, (c, k)]             =  sum over o of  dy[o, pixel] * w[o, (c, k)]        a matrix product
//     dx[c, s * pixel - pad + k]  +=  P[pixel, (c, k)]                                  a row of taps at a time
//
// The product reads w as it lies: phases (grad_input_phase in problem.hpp) would transpose every tap of it, which few
// pixels do not pay for. A task computes some channels of one image, block after block of its pixels, so that P stays
// in L2 and the order of the additions is its own.
#include "column_products.hpp"

#include <algorithm>

#include "../cpu.hpp"
#include "../memory.hpp"
#include "../parallel.hpp"
#include "conv.hpp"
#include "weights.hpp"

namespace fastconv {
namespace {

constexpr Index kFewestTaps = 8;  // fewer would be moved by pieces of a vector
constexpr Index kMostTaps = 1024;
constexpr Index kFewestOutputs = 32;  // with fewer, a product costs less than its addition
constexpr Index kMostPixels = 512;    // of all images: with more, packing is worth its time
constexpr Index kMostColumns = 128;   // few
constexpr Index kManyOutputs = 96;    // which share what is copied for few columns, and threads
constexpr Index kPixels = 256;        // of a block
constexpr Index kChannels = 8;        // whose rows are added to in turn

bool one_row(const Axis& a) { return a.in == 1 && a.kernel == 1 && a.out == 1 && a.pad == 0; }

// Rows of taps that lie side by side in x and w.
bool rows_of_taps(const Problem& forward) {
  const Axis& w = forward.width();
  return one_row(forward.depth()) && one_row(forward.height()) && w.kernel >= kFewestTaps && w.kernel <= kMostTaps &&
         w.dilation == 1 && forward.x.space[kWidth] == 1 && forward.y.space[kWidth] == 1 &&
         reduction_contiguous(forward);
}

}  // namespace

bool wide_kernels(const Problem& forward) {
  const Axis& w = forward.width();
  return rows_of_taps(forward) && w.stride > 1 && forward.channels > 1 && forward.outputs >= kFewestOutputs &&
         forward.batch <= kMostPixels && forward.batch * std::min(w.out, kMostPixels + 1) <= kMostPixels;
}

template <class T>
bool few_columns(const Problem& forward) {
  const Index lanes = kernels().of<T>().lanes, columns = forward.channels * forward.width().kernel;
  return rows_of_taps(forward) && columns <= kMostColumns && forward.outputs >= kManyOutputs &&
         10 * columns >= 8 * round_up(columns, lanes);
}

template bool few_columns<float>(const Problem&);
template bool few_columns<double>(const Problem&);

Range whole_rows(Index in, Index taps, Index stride, Index start, Index pixels) {
  const Index first = std::clamp<Index>(ceil_div(std::max<Index>(-start, 0), stride), 0, pixels);
  const Index last = in - taps;
  return {first, last < start ? first : std::clamp<Index>((last - start) / stride + 1, first, pixels)};
}

namespace {

template <class T>
class ColumnProducts {
 public:
  ColumnProducts(const Problem& forward, const Operands<T>& a)
      : p_(forward),
        taps_(p_.width().kernel),
        a_(a),
        ranges_(p_.channels, std::max<Index>(1, kColumns / taps_)),
        blocks_(p_.width().out, kPixels) {}

  Index tasks() const { return p_.batch * p_.groups * ranges_.count; }

  void run(Index task) const {
    const Index range = task % ranges_.count, group = task / ranges_.count % p_.groups;
    const Index n = task / ranges_.count / p_.groups, first = ranges_.start(range), channels = ranges_.size(range);
    const T* const dy = a_.x + n * p_.y.batch + group * p_.y.group;
    const T* const w = a_.w + group * p_.w.group + first * taps_;
    T* const dx = a_.y + n * p_.x.batch + group * p_.x.group + first * p_.x.channel;
    for (Index c = 0; c < channels; ++c) {
      const T value = a_.bias == nullptr ? T(0) : a_.bias[group * p_.channels + first + c];
      std::fill_n(dx + c * p_.x.channel, p_.width().in, value);
    }
    const RecycledBlock products(static_cast<std::size_t>(blocks_.size(0) * channels * taps_) * sizeof(T));
    for (Index i = 0; i < blocks_.count; ++i) {
      multiply(dy + blocks_.start(i), w, blocks_.size(i), channels, products.as<T>());
      add(products.as<const T>(), p_.width().input_of(blocks_.start(i), 0), blocks_.size(i), channels, dx);
    }
  }

 private:
  // A convolution with one tap, whose outputs are all (c, k).
  void multiply(const T* dy, const T* w, Index pixels, Index channels, T* products) const {
    Problem product;
    product.channels = p_.outputs;
    product.outputs = channels * taps_;
    product.axis[kWidth].in = product.axis[kWidth].out = pixels;
    product.x = p_.y;
    product.w.in = p_.w.out;
    product.w.out = 1;
    product.y.channel = 1;
    product.y.space[kWidth] = product.outputs;
    const ConvPlan plan = plan_conv<T>(product, false, 1, Algorithm::kDirect);
    conv_forward<T>(product, plan, {dy, w, nullptr, products}, nullptr);
  }

  // Rows of taps that lie within dx are added as a whole; at its ends only some of their taps exist. `start`: where the
  // first tap of the first pixel belongs.
  void add(const T* products, Index start, Index pixels, Index channels, T* dx) const {
    const Index stride = p_.width().stride, ld = channels * taps_;
    const auto [first, end] = whole_rows(p_.width().in, taps_, stride, start, pixels);
    for (Index i = 0; i < first; ++i) add_some(products + i * ld, start + i * stride, channels, dx);
    for (Index c = 0; c < channels; c += kChannels) {
      kernels().of<T>().add_runs({products + first * ld + c * taps_, taps_, ld, std::min(kChannels, channels - c),
                                  end - first, taps_, dx + c * p_.x.channel + start + first * stride, p_.x.channel,
                                  stride});
    }
    for (Index i = end; i < pixels; ++i) add_some(products + i * ld, start + i * stride, channels, dx);
  }

  void add_some(const T* products, Index start, Index channels, T* dx) const {
    const Index first = std::max<Index>(0, -start), end = std::min(taps_, p_.width().in - start);
    for (Index c = 0; c < channels; ++c) {
      for (Index k = first; k < end; ++k) dx[c * p_.x.channel + start + k] += products[c * taps_ + k];
    }
  }

  const Problem& p_;
  Index taps_;
  Operands<T> a_;
  Panels ranges_;  // of channels
  Panels blocks_;  // of pixels
};

}  // namespace

template <class T>
bool column_products_grad_input(const Problem& forward, const T* grad_output, const T* w, const T* bias, T* grad_input,
                                int threads) {
  if (!wide_kernels(forward) || forward.flops() == 0) return false;
  const ColumnProducts<T> columns(forward, {grad_output, w, bias, grad_input});
  parallel_for(useful_threads(forward.flops(), columns.tasks(), threads), columns.tasks(),
               [&](Index task) { columns.run(task); });
  return true;
}

template bool column_products_grad_input(const Problem&, const float*, const float*, const float*, float*, int);
template bool column_products_grad_input(const Problem&, const double*, const double*, const double*, double*, int);

}  // namespace fastconv
