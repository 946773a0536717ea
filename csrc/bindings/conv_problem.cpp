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

void check_channels(ShapeView input, ShapeView weight, Index channels, Index groups) {
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

void check_transposed_channels(ShapeView input, ShapeView weight, Index channels, Index groups) {
  if (weight[0] % groups != 0) {
    throw ValueError("Given groups=" + std::to_string(groups) + ", expected weight to have a multiple of " +
                     std::to_string(groups) + " input channels at dimension 0, but got weight of size " +
                     shape_text(weight) + " instead");
  }
  if (weight[0] == channels) return;
  throw ValueError("Given transposed=1, weight of size " + shape_text(weight) + ", expected input" + shape_text(input) +
                   " to have " + std::to_string(weight[0]) + " channels, but got " + std::to_string(channels) +
                   " channels instead");
}

void check_weight_rank(ShapeView weight, int dims, const char* axes) {
  if (weight.size() == static_cast<std::size_t>(dims) + 2) return;
  throw ValueError("weight: expected " + std::to_string(dims + 2) + " dimensions " + axes + ", got size " +
                   shape_text(weight));
}

// What the options and the weight say about spatial axis s.
Axis axis_of(const ConvOptions& o, ShapeView weight, std::size_t s) {
  Axis a;
  if (s < first_axis(o.dims)) return a;
  a.kernel = weight[2 + s - first_axis(o.dims)];
  a.stride = o.stride[s];
  a.dilation = o.dilation[s];
  a.pad = o.padding.before[s];
  if (a.kernel < 1) throw ValueError("weight: the kernel is empty, size " + shape_text(weight));
  return a;
}

// The bytes of the result fit 64 bits.
void check_bytes(Index batch, Index channels, const AxisValues& space) {
  Index total = checked_multiply(checked_multiply(batch, channels), static_cast<Index>(sizeof(double)));
  for (const Index n : space) total = checked_multiply(total, n);
}

// How many elements a.out windows are spread over. With 'same' that is out * stride, and a.pad is set.
Index transposed_size(Axis& a, const Padding& padding, std::size_t s, Index output_padding) {
  if (output_padding >= std::max(a.stride, a.dilation)) {
    throw ValueError("output_padding: must be smaller than either stride or dilation, but got " +
                     std::to_string(output_padding) + " with stride " + std::to_string(a.stride) + " and dilation " +
                     std::to_string(a.dilation));
  }
  if (padding.is_same()) {
    if (output_padding != 0) {
      throw ValueError("output_padding: must be 0 with padding='same', which makes the output size * stride; got " +
                       std::to_string(output_padding));
    }
    a.in = checked_multiply(a.out, a.stride);
    pad_same(a, padding.kind == Padding::kSameLower);
    return a.in;
  }
  const Index span = checked_add(checked_multiply(a.dilation, a.kernel - 1), 1);
  const Index full = checked_add(checked_multiply(a.out - 1, a.stride), span);
  return checked_add(checked_add(checked_add(full, output_padding), -padding.before[s]), -padding.after[s]);
}

void check_transposed_output(const Problem& p, int dims) {
  AxisValues in{}, out{};
  for (std::size_t s = 0; s < kSpatial; ++s) {
    in[s] = p.axis[s].out;
    out[s] = p.axis[s].in;
  }
  if (*std::min_element(out.begin(), out.end()) >= 1) return;
  throw ValueError("Given input size per channel: " + size_text(in, dims) + ". Calculated output size per channel: " +
                   size_text(out, dims) + ". Output size is too small; padding takes it all away");
}

void check_output(const Problem& p, const AxisValues& after, int dims) {
  if (std::all_of(p.axis.begin(), p.axis.end(), [](const Axis& a) { return a.out >= 1; })) return;
  AxisValues padded{}, kernel{};
  for (std::size_t s = 0; s < kSpatial; ++s) {
    padded[s] = p.axis[s].in + p.axis[s].pad + after[s];
    kernel[s] = p.axis[s].span();
  }
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
  to_choice(activation, "activation", {"relu"});
  return true;
}

Algorithm to_algorithm(PyObject* object) {
  constexpr Algorithm algorithms[] = {Algorithm::kAuto, Algorithm::kDirect, Algorithm::kWinograd};
  return algorithms[to_choice(object, "algorithm", {"auto", "direct", "winograd"})];
}

ConvShapes conv_shapes(ShapeView input, ShapeView weight, const ConvOptions& o) {
  const ImageShape image(input, "input", o.dims, o.channels_last);
  check_weight_rank(weight, o.dims, "(out, in / groups, kernel...)");
  check_channels(input, weight, image.channels, o.groups);
  ConvShapes result{Problem{}, image, {}};
  Problem& p = result.problem;
  p.batch = image.batch;
  p.groups = o.groups;
  p.outputs = weight[0] / o.groups;
  p.channels = weight[1];
  AxisValues after = o.padding.after, space{};
  for (std::size_t s = 0; s < kSpatial; ++s) {
    Axis& a = p.axis[s];
    a = axis_of(o, weight, s);
    a.in = image.space[s];
    if (a.in < 1) throw ValueError("input: a spatial axis is empty, size " + shape_text(input));
    if (o.padding.is_same()) after[s] = pad_same(a, o.padding.kind == Padding::kSameLower);
    space[s] = a.out = output_size(a.in, a.pad, after[s], a, false);
    if (a.out == 1) a.stride = std::min(a.stride, a.in);  // never taken, and it may be huge
  }
  check_output(p, after, o.dims);
  check_bytes(p.batch, weight[0], space);
  result.output = image.layout.shape(p.batch, weight[0], space);
  return result;
}

Shape pooled_shape(const ConvShapes& shapes) {
  const Problem& p = shapes.problem;
  const ImageLayout layout = shapes.output_layout();
  AxisValues space{};
  for (std::size_t s = first_axis(layout.dims); s < kSpatial; ++s) {
    space[s] = p.axis[s].out / 2;
    if (space[s] >= 1) continue;
    throw ValueError("pool: the window of 2 exceeds the convolution's result of size " + shape_text(shapes.output) +
                     "; the output would be empty");
  }
  return layout.shape(p.batch, p.groups * p.outputs, space);
}

ConvShapes conv_transpose_shapes(ShapeView input, ShapeView weight, const ConvOptions& o,
                                 const AxisValues& output_padding) {
  const ImageShape image(input, "input", o.dims, o.channels_last);
  check_weight_rank(weight, o.dims, "(in, out / groups, kernel...)");
  check_transposed_channels(input, weight, image.channels, o.groups);
  ConvShapes result{Problem{}, image, {}};
  Problem& p = result.problem;
  p.batch = image.batch;
  p.groups = o.groups;
  p.outputs = weight[0] / o.groups;
  p.channels = weight[1];
  AxisValues space{};
  for (std::size_t s = 0; s < kSpatial; ++s) {
    Axis& a = p.axis[s];
    a = axis_of(o, weight, s);
    a.out = image.space[s];
    if (a.out < 1) throw ValueError("input: a spatial axis is empty, size " + shape_text(input));
    space[s] = a.in = transposed_size(a, o.padding, s, output_padding[s]);
  }
  check_transposed_output(p, o.dims);
  const Index channels = checked_multiply(weight[1], o.groups);
  check_bytes(p.batch, channels, space);
  result.output = image.layout.shape(p.batch, channels, space);
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

}  // namespace fastconv
