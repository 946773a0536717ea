// From the arguments of a convolution to a checked Problem. All sizes are checked here, in 64 bits,
// before anything is allocated.
#pragma once

#include "../conv/plan.hpp"
#include "../problem.hpp"
#include "array.hpp"

namespace fastconv {

struct ConvOptions {
  int dims;
  AxisValues stride, dilation;
  Padding padding;
  Index groups;
  bool channels_last;
};

// Positions of the options that every convolution shares, within its signature.
struct ConvOptionPositions {
  std::size_t stride, padding, dilation, groups, data_format;
};

ConvOptions to_conv_options(const Arguments& a, const ConvOptionPositions& at, int dims);

// "relu" or None.
bool to_relu(PyObject* activation);
// "auto", "direct" or "winograd".
Algorithm to_algorithm(PyObject* object);

// Sizes and weight strides; the strides of x and y are zero. `weight_shape` is (O, I/groups, K...).
struct ConvShapes {
  Problem problem;
  ImageShape input;
  Shape output;  // the shape of the result
  ImageLayout output_layout() const { return input.layout; }
};
ConvShapes conv_shapes(ShapeView input, ShapeView weight, const ConvOptions& options);
// The shape of the result where windows of 2 along each axis are pooled.
Shape pooled_shape(const ConvShapes& shapes);

// A transposed convolution is the gradient of this problem's input: `input` is its y, `output` its x. `weight` is
// (I, O/groups, K...).
ConvShapes conv_transpose_shapes(ShapeView input, ShapeView weight, const ConvOptions& options,
                                 const AxisValues& output_padding);

// Strides of an OIHW array, any of which may be zero or negative; or of a contiguous one.
WeightStrides weight_strides(const Array& weight, const Problem& p, int dims);
WeightStrides dense_weight_strides(const Problem& p);

}  // namespace fastconv
