// From sums in the workspace to the output array, with bias and ReLU, for any output strides.
#pragma once

#include "../problem.hpp"
#include "pixel_panel.hpp"
#include "stage.hpp"

namespace fastconv {

// Output channels [first, first + outputs) of a rectangle of pixels.
template <class T>
class OutputBlock {
 public:
  OutputBlock(const Problem& p, const Rectangle& r, T* y, Index first, Index outputs, const T* bias)
      : p_(p),
        r_(r),
        data_(y + r.n * p.y.batch + r.g * p.y.group + r.od * p.y.space[kDepth] + p.stored(r.oh) * p.y.space[kHeight] +
              p.stored(r.ow) * p.y.space[kWidth] + first * p.y.channel),
        outputs_(outputs),
        bias_(bias) {}

  T* data() const { return data_; }
  Index outputs() const { return outputs_; }
  const T* bias() const { return bias_; }

  // sums[pixel][width], pixel by pixel as in the rectangle; lost, if the problem pools them.
  void store_pixel_rows(T* sums, Index width) const;

 private:
  struct Finish {  // what is left to do
    const T* bias;
    bool relu;
  };
  void store_rows(const T* sums, Index width, Index height, Index columns, const Finish& finish) const;
  void store_run(const T* sums, Index width, Index pixels, T* y, const Finish& finish) const;

  const Problem& p_;
  const Rectangle& r_;
  T* data_;
  Index outputs_;
  const T* bias_;
};

// sums[output][width]: a run of pixels, output by output.
template <class T>
void store_output_rows(const Problem& p, const PixelRun& run, T* y, Index first, Index outputs, const T* sums,
                       Index width, const T* bias);

// y = bias (or zero): what a convolution over no channels gives.
template <class T>
void fill_with_bias(const Problem& p, T* y, const T* bias);

}  // namespace fastconv
