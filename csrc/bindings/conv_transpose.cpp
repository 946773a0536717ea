// Transposed convolution, by what it is: the gradient of a convolution's input. `Problem` is that convolution, which
// leads from the result's shape to the input's; its own gradients are that convolution and the gradient of its weight.
#include "../conv/conv.hpp"
#include "../parallel.hpp"
#include "conv.hpp"
#include "conv_call.hpp"
#include "docs.hpp"
#include "method.hpp"

namespace fastconv {
namespace {

const Signature& forward_signature(int dims) {
  static const std::vector<const char*> names{"input",          "weight", "bias",     "stride",      "padding",
                                              "output_padding", "groups", "dilation", "data_format", "out"};
  static const Signature s[] = {
      {"conv_transpose1d", names, 8, 2}, {"conv_transpose2d", names, 8, 2}, {"conv_transpose3d", names, 8, 2}};
  return s[dims - 1];
}
constexpr ConvOptionPositions kForwardOptions{3, 4, 7, 6, 8};

const Signature& backward_signature(int dims) {
  static const std::vector<const char*> names{"grad_output",    "input",  "weight",   "stride",      "padding",
                                              "output_padding", "groups", "dilation", "data_format", "output_mask"};
  static const Signature s[] = {{"conv_transpose1d_backward", names, 8, 3},
                                {"conv_transpose2d_backward", names, 8, 3},
                                {"conv_transpose3d_backward", names, 8, 3}};
  return s[dims - 1];
}
constexpr ConvOptionPositions kBackwardOptions{3, 4, 7, 6, 8};

PyObject* forward(int dims, const Arguments& a) {
  Array input(a[0], "input"), weight(a[1], "weight"), bias;
  if (a.given(2)) bias = Array(a[2], "bias");
  const ConvOptions options = to_conv_options(a, kForwardOptions, dims);
  const AxisValues output_padding = to_axes(a[5], "output_padding", dims, 0, 0);
  ConvShapes shapes = conv_transpose_shapes(input.shape(), weight.shape(), options, output_padding);
  Problem& p = shapes.problem;
  const Precision result = common_precision(input, weight, bias);
  const Precision computed = compute_precision(result);
  if (bias) check_shape(bias, Shape{p.groups * p.channels});
  Output out(a[9], shapes.output, result, {&input, &weight, &bias});
  input.become(computed);
  weight.become(computed);
  if (bias) bias.become_dense(computed);
  p.x = shapes.output_layout().strides(out, p.channels);
  p.w = weight_strides(weight, p, dims);
  p.y = shapes.input.layout.strides(input, p.outputs);
  with_type(computed, [&](auto zero) {
    using T = decltype(zero);
    const ReleaseGil release(p.flops() > kReleaseGil);
    conv_grad_input<T>(p, input.data<T>(), weight.data<T>(), bias ? bias.data<T>() : nullptr, out.data<T>(),
                       num_threads());
  });
  return out.finish();
}

// The channels of x, summed by position: the problem whose y lies where x does.
Problem with_output_of_x(const Problem& p) {
  Problem result = p;
  result.outputs = p.channels;
  result.y = p.x;
  for (Axis& a : result.axis) a.out = a.in;
  return result;
}

PyObject* backward(int dims, const Arguments& a) {
  Array grad_output(a[0], "grad_output"), input(a[1], "input"), weight(a[2], "weight");
  const ConvOptions options = to_conv_options(a, kBackwardOptions, dims);
  const AxisValues output_padding = to_axes(a[5], "output_padding", dims, 0, 0);
  const std::array<bool, 3> mask = to_mask(a[9], "output_mask");
  ConvShapes shapes = conv_transpose_shapes(input.shape(), weight.shape(), options, output_padding);
  Problem& p = shapes.problem;
  check_shape(grad_output, shapes.output);
  const Precision result = common_precision(grad_output, input, weight);
  const Precision computed = compute_precision(result);
  grad_output.become(computed);
  if (mask[1]) input.become(computed);
  if (mask[0]) weight.become(computed);
  Gradients gradients(mask, input.shape(), weight.shape(), p.groups * p.channels, result);
  p.x = shapes.output_layout().strides(grad_output, p.channels);
  with_type(computed, [&](auto zero) {
    using T = decltype(zero);
    const ReleaseGil release(p.flops() > kReleaseGil);
    const T* dy = grad_output.data<T>();
    if (mask[0]) {
      p.w = weight_strides(weight, p, dims);
      p.y = shapes.input.layout.strides(*gradients.input, p.outputs);
      const Problem q = simplified(p);
      conv_forward<T>(q, plan_conv<T>(q, false, num_threads()),
                      {dy, weight.data<T>(), nullptr, gradients.input->data<T>()}, nullptr);
    }
    if (mask[1]) {
      p.w = dense_weight_strides(p);
      p.y = shapes.input.layout.strides(input, p.outputs);
      conv_grad_weight<T>(p, dy, input.data<T>(), gradients.weight->data<T>(), num_threads());
    }
    if (mask[2]) conv_grad_bias<T>(with_output_of_x(p), dy, gradients.bias->data<T>(), num_threads());
  });
  return gradients.finish();
}

}  // namespace

void register_conv_transpose(PyObject* module) {
  constexpr int fast = METH_FASTCALL | METH_KEYWORDS;
  static PyMethodDef methods[] = {
      {"conv_transpose1d", method<forward, forward_signature, 1>(), fast, kConvTranspose1dDoc},
      {"conv_transpose2d", method<forward, forward_signature, 2>(), fast, kConvTranspose2dDoc},
      {"conv_transpose3d", method<forward, forward_signature, 3>(), fast, kConvTranspose3dDoc},
      {"conv_transpose1d_backward", method<backward, backward_signature, 1>(), fast, kConvTranspose1dBackwardDoc},
      {"conv_transpose2d_backward", method<backward, backward_signature, 2>(), fast, kConvTranspose2dBackwardDoc},
      {"conv_transpose3d_backward", method<backward, backward_signature, 3>(), fast, kConvTranspose3dBackwardDoc},
      {nullptr, nullptr, 0, nullptr},
  };
  if (PyModule_AddFunctions(module, methods) != 0) throw PythonError();
}

}  // namespace fastconv
