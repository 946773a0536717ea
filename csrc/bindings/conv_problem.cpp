#include "conv_problem.hpp"

#include <algorithm>

namespace fastconv {
namespace {

std::size_t first_axis(int dims) { return static_cast<std::size_t>(kSpatial - dims); }

std::string size_text(const AxisValues& v, int dims) {
  std::string text = "(";
  for (std::size_t s = first_axis(dims); s < kSpatial; ++s) {
    text += (s == first_axis(dims) ? "" : " x ") + std::to_string(v[s]);
  }
  return text + ")";
}

void check_channels(const std::vector<Index>& input, const std::vector<Index>& weight, Index channels, Index groups) {
  if (weight[0] % groups != 0 || (weight[0] < groups && weight[0] != 0)) {
    throw ValueError("Given groups=" + std::to_string(groups) + ", expected weight to have a multiple of " +
                     std::to_string(groups) + " output channels at dimension 0, but got weight of size " +
                     shape_text(weight) + " instead");
  }
  if (checked_multiply(weight[1], groups) == channels) return;
  throw ValueError("Given groups=" + std::to_string(groups) + ", weight of size " + shape_text(weight) +
                   ", expected input" + shape_text(input) + " to have " + std::to_string(weight[1] * groups) +
                   " channels, but got " + std::to_string(channels) + " channels instead");
}

void check_output(const Problem& p, const AxisValues& after, int dims) {
  bool empty = false;
  AxisValues padded{}, kernel{};
  for (std::size_t s = 0; s < kSpatial; ++s) {
    padded[s] = p.axis[s].in + p.axis[s].pad + after[s];
    kernel[s] = p.axis[s].span();
    empty = empty || p.axis[s].out < 1;
  }
  if (!empty) return;
  throw ValueError("Calculated padded input size per channel: " + size_text(padded, dims) + ". Kernel size: " +
                   size_text(kernel, dims) + ". Kernel size can't be greater than actual input size");
}

}  // namespace

ConvOptions to_conv_options(const Arguments& a, const ConvOptionPositions& at, int dims) {
  return {dims,
          to_axes(a[at.stride], "stride", dims, 1, 1),
          to_axes(a[at.dilation], "dilation", dims, 1, 1),
          to_padding(a[at.padding], dims),
          to_positive(a[at.groups], "groups", 1),
          to_channels_last(a[at.data_format], dims)};
}

bool to_relu(PyObject* activation) {
  if (activation == nullptr || activation == Py_None) return false;
  const std::string text = to_text(activation, "activation", "");
  if (text == "relu") return true;
  throw ValueError("activation: expected None or 'relu', got '" + text + "'");
}

Algorithm to_algorithm(PyObject* object) {
  const std::string text = to_text(object, "algorithm", "auto");
  if (text == "auto") return Algorithm::kAuto;
  if (text == "direct") return Algorithm::kDirect;
  if (text == "winograd") return Algorithm::kWinograd;
  throw ValueError("algorithm: expected 'auto', 'direct' or 'winograd', got '" + text + "'");
}

ConvShapes conv_shapes(const std::vector<Index>& input, const std::vector<Index>& weight, const ConvOptions& o) {
  const ImageShape image(input, "input", o.dims, o.channels_last);
  if (weight.size() != static_cast<std::size_t>(o.dims) + 2) {
    throw ValueError("weight: expected " + std::to_string(o.dims + 2) +
                     " dimensions (out, in / groups, kernel...), got size " + shape_text(weight));
  }
  check_channels(input, weight, image.channels, o.groups);
  ConvShapes result{Problem{}, image, {}};
  Problem& p = result.problem;
  p.batch = image.batch;
  p.groups = o.groups;
  p.outputs = weight[0] / o.groups;
  p.channels = weight[1];
  AxisValues after = o.padding.after;
  for (std::size_t s = first_axis(o.dims); s < kSpatial; ++s) {
    Axis& a = p.axis[s];
    a.in = image.space[s];
    a.kernel = weight[2 + s - first_axis(o.dims)];
    a.stride = o.stride[s];
    a.dilation = o.dilation[s];
    a.pad = o.padding.before[s];
    if (a.in < 1) throw ValueError("input: a spatial axis is empty, size " + shape_text(input));
    if (a.kernel < 1) throw ValueError("weight: the kernel is empty, size " + shape_text(weight));
    if (o.padding.is_same()) after[s] = pad_same(a, o.padding.kind == Padding::kSameLower);
    a.out = output_size(a.in, a.pad, after[s], a, false);
  }
  check_output(p, after, o.dims);
  Index total = checked_multiply(p.batch, weight[0]);
  for (const Axis& a : p.axis) total = checked_multiply(total, a.out);
  checked_multiply(total, static_cast<Index>(sizeof(double)));
  AxisValues space{};
  for (std::size_t s = 0; s < kSpatial; ++s) space[s] = p.axis[s].out;
  result.output = image.layout.shape(p.batch, weight[0], space);
  return result;
}

WeightStrides weight_strides(const Array& weight, const Problem& p, int dims) {
  WeightStrides s;
  s.out = weight.stride(0);
  s.in = weight.stride(1);
  s.group = p.outputs * s.out;
  for (int i = 0; i < dims; ++i) s.space[static_cast<std::size_t>(kSpatial - dims + i)] = weight.stride(2 + i);
  return s;
}

WeightStrides dense_weight_strides(const Problem& p) {
  WeightStrides s;
  s.space = {p.height().kernel * p.width().kernel, p.width().kernel, 1};
  s.in = p.taps();
  s.out = p.channels * p.taps();
  s.group = p.outputs * s.out;
  return s;
}

void check_bias(Array& bias, Index outputs, Precision precision) {
  if (bias.ndim() != 1 || bias.dim(0) != outputs) {
    throw ValueError("bias: expected shape [" + std::to_string(outputs) + "], got " + shape_text(bias.shape()));
  }
  bias.become(precision);
  if (bias.stride(0) == 1 || outputs <= 1) return;
  Array dense;
  const Ref copy = checked(PyArray_NewCopy(bias.get(), NPY_CORDER));
  dense = Array(copy.get(), "bias");
  bias = std::move(dense);
}

}  // namespace fastconv
