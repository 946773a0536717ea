#include "pool.hpp"

#include <algorithm>

#include "../parallel.hpp"
#include "../pool/pool.hpp"
#include "array.hpp"
#include "docs.hpp"
#include "method.hpp"

namespace fastconv {
namespace {

constexpr double kReleaseGil = 10e3;  // window elements; below, the switch costs as much as the work

struct Names {
  const char *max_pool, *max_pool_backward, *avg_pool, *avg_pool_backward;
};
constexpr Names kNames[] = {
    {"max_pool1d", "max_pool1d_backward", "avg_pool1d", "avg_pool1d_backward"},
    {"max_pool2d", "max_pool2d_backward", "avg_pool2d", "avg_pool2d_backward"},
    {"max_pool3d", "max_pool3d_backward", "avg_pool3d", "avg_pool3d_backward"},
};

struct PoolOptions {
  int dims;
  AxisValues kernel, stride, dilation;
  Padding padding;
  bool ceil_mode, channels_last;
};

struct PoolShapes {
  PoolProblem problem;
  ImageShape input;
  Shape output;
};

PoolOptions to_pool_options(PyObject* kernel, PyObject* stride, PyObject* padding, PyObject* dilation,
                            PyObject* ceil_mode, PyObject* data_format, int dims) {
  PoolOptions o{};
  o.dims = dims;
  o.kernel = to_axes(kernel, "kernel_size", dims, 1, 1);
  o.stride = stride == nullptr || stride == Py_None ? o.kernel : to_axes(stride, "stride", dims, 1, 1);
  o.dilation = to_axes(dilation, "dilation", dims, 1, 1);
  o.padding = to_padding(padding, dims);
  o.ceil_mode = to_bool(ceil_mode, "ceil_mode", false);
  o.channels_last = to_channels_last(data_format, dims);
  return o;
}

PoolShapes pool_shapes(ShapeView input, const char* name, const PoolOptions& o) {
  PoolShapes result{PoolProblem{}, ImageShape(input, name, o.dims, o.channels_last), {}};
  PoolProblem& p = result.problem;
  p.batch = result.input.batch;
  p.channels = result.input.channels;
  p.pad_after = o.padding.after;
  for (std::size_t s = static_cast<std::size_t>(kSpatial - o.dims); s < kSpatial; ++s) {
    Axis& a = p.axis[s];
    a.in = result.input.space[s];
    a.kernel = o.kernel[s];
    a.stride = o.stride[s];
    a.dilation = o.dilation[s];
    a.pad = o.padding.before[s];
    if (a.in < 1) throw ValueError(std::string(name) + ": a spatial axis is empty, size " + shape_text(input));
    const Index span = checked_add(checked_multiply(a.dilation, a.kernel - 1), 1);
    if (o.padding.is_same()) p.pad_after[s] = pad_same(a, o.padding.kind == Padding::kSameLower);
    if (a.pad >= span || p.pad_after[s] >= span) {
      throw ValueError("padding: must be below the effective kernel size, but got " +
                       std::to_string(std::max(a.pad, p.pad_after[s])) + " with kernel_size " +
                       std::to_string(a.kernel) + " and dilation " + std::to_string(a.dilation));
    }
    a.out = output_size(a.in, a.pad, p.pad_after[s], a, o.ceil_mode);
    if (a.out == 1) a.stride = std::min(a.stride, a.in);  // never taken, and it may be huge
    if (a.out < 1) {
      throw ValueError("kernel_size: the window of " + std::to_string(span) + " exceeds the padded " + name + " of " +
                       std::to_string(a.in + a.pad + p.pad_after[s]) + "; the output would be empty");
    }
  }
  AxisValues space{};
  for (std::size_t s = 0; s < kSpatial; ++s) space[s] = p.axis[s].out;
  result.output = result.input.layout.shape(p.batch, p.channels, space);
  return result;
}

// Gradients come from contiguous arrays only, so that their order of additions is a matter of the shape.
void make_contiguous(Array& array, Precision precision) {
  array.become(precision);
  if (PyArray_IS_C_CONTIGUOUS(array.get())) return;
  array = Array(checked(PyArray_NewCopy(array.get(), NPY_CORDER)).get(), array.name());
}

bool heavy(const PoolProblem& p) {
  return static_cast<double>(p.planes()) * static_cast<double>(p.pixels()) *
             static_cast<double>(p.axis[0].kernel * p.axis[1].kernel * p.axis[2].kernel) >
         kReleaseGil;
}

// Indices of maxima: int64, contiguous, of the output's shape.
class IndexArray {
 public:
  void allocate(const PoolShapes& shapes, PoolProblem& p) { adopt(new_array(shapes.output, NPY_INT64), shapes, p); }
  void read(PyObject* given, const PoolShapes& shapes, PoolProblem& p) {
    adopt(to_indices(given, "indices", shapes.output), shapes, p);
  }
  PyObject* get() const { return array_.get(); }
  Index* data() const { return array_ ? static_cast<Index*>(PyArray_DATA(numpy())) : nullptr; }
  Index stride(int i) const { return PyArray_STRIDE(numpy(), i) / PyArray_ITEMSIZE(numpy()); }

 private:
  void adopt(Ref array, const PoolShapes& shapes, PoolProblem& p) {
    array_ = std::move(array);
    p.indices = shapes.input.layout.strides(*this, 1);
  }
  PyArrayObject* numpy() const { return reinterpret_cast<PyArrayObject*>(array_.get()); }
  Ref array_;
};

// ---- max ----------------------------------------------------------------------------------------

template <int D>
const Signature& max_pool_signature() {
  static const Signature s(
      kNames[D - 1].max_pool,
      {"input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices", "data_format", "out"}, 7,
      2);
  return s;
}

template <int D>
PyObject* call_max_pool(const Arguments& a) {
  Array input(a[0], "input");
  const PoolOptions o = to_pool_options(a[1], a[2], a[3], a[4], a[5], a[7], D);
  const bool with_indices = to_bool(a[6], "return_indices", false);
  PoolShapes shapes = pool_shapes(input.shape(), "input", o);
  PoolProblem& p = shapes.problem;
  const Precision precision = input.precision();
  Output out(a[8], shapes.output, precision, precision, {&input});
  IndexArray indices;
  if (with_indices) indices.allocate(shapes, p);
  if (precision == Precision::kHalf) {
    input.become_dense(precision);
    const ReleaseGil release(heavy(p));
    max_pool_half(p, o.channels_last, input.data<std::uint16_t>(), out.data<std::uint16_t>(), indices.data(),
                  num_threads());
  } else {
    input.become(precision);
    p.x = shapes.input.layout.strides(input, 1);
    p.y = shapes.input.layout.strides(out, 1);
    with_type(precision, [&](auto zero) {
      using T = decltype(zero);
      const ReleaseGil release(heavy(p));
      max_pool<T>(p, input.data<T>(), out.data<T>(), indices.data(), num_threads());
    });
  }
  Ref values(out.finish());
  if (!values) throw PythonError();
  return with_indices ? PyTuple_Pack(2, values.get(), indices.get()) : values.release();
}

template <int D>
const Signature& max_pool_backward_signature() {
  static const Signature s(
      kNames[D - 1].max_pool_backward,
      {"grad_output", "input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "indices", "data_format"},
      7, 3);
  return s;
}

template <int D>
PyObject* call_max_pool_backward(const Arguments& a) {
  Array grad_output(a[0], "grad_output"), input(a[1], "input");
  const PoolOptions o = to_pool_options(a[2], a[3], a[4], a[5], a[6], a[8], D);
  PoolShapes shapes = pool_shapes(input.shape(), "input", o);
  PoolProblem& p = shapes.problem;
  check_shape(grad_output, shapes.output);
  const Precision result = std::max(grad_output.precision(), input.precision());
  IndexArray indices;
  if (a.given(7)) indices.read(a[7], shapes, p);
  Output grad_input(nullptr, input.shape(), result, {});
  make_contiguous(grad_output, compute_precision(result));
  make_contiguous(input, compute_precision(result));
  p.x = shapes.input.layout.strides(input, 1);
  p.y = shapes.input.layout.strides(grad_output, 1);
  p.gradient = shapes.input.layout.strides(grad_input, 1);
  bool valid = true;
  with_type(result, [&](auto zero) {
    using T = decltype(zero);
    const ReleaseGil release(heavy(p));
    valid = max_pool_backward<T>(p, input.data<T>(), indices.data(), grad_output.data<T>(), grad_input.data<T>(),
                                 num_threads());
  });
  if (!valid) {
    throw ValueError("indices: a value lies outside the input plane of " + std::to_string(p.plane_size()) +
                     " elements");
  }
  return grad_input.finish();
}

// ---- average ------------------------------------------------------------------------------------

// count_include_pad and divisor_override.
void to_divisor(PyObject* count_include_pad, PyObject* divisor, PoolProblem& p) {
  p.count_include_pad = to_bool(count_include_pad, "count_include_pad", true);
  if (divisor == nullptr || divisor == Py_None) return;
  p.divisor = to_index(divisor, "divisor_override");
  if (p.divisor == 0) throw ValueError("divisor_override: must not be zero");
}

template <int D>
const Signature& avg_pool_signature() {
  static const Signature s(kNames[D - 1].avg_pool,
                           {"input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad",
                            "divisor_override", "data_format", "out"},
                           7, 2);
  return s;
}

template <int D>
PyObject* call_avg_pool(const Arguments& a) {
  Array input(a[0], "input");
  const PoolOptions o = to_pool_options(a[1], a[2], a[3], nullptr, a[4], a[7], D);
  PoolShapes shapes = pool_shapes(input.shape(), "input", o);
  PoolProblem& p = shapes.problem;
  to_divisor(a[5], a[6], p);
  Output out(a[8], shapes.output, input.precision(), {&input});
  input.become(compute_precision(input.precision()));
  p.x = shapes.input.layout.strides(input, 1);
  p.y = shapes.input.layout.strides(out, 1);
  with_type(input.precision(), [&](auto zero) {
    using T = decltype(zero);
    const ReleaseGil release(heavy(p));
    avg_pool<T>(p, input.data<T>(), out.data<T>(), num_threads());
  });
  return out.finish();
}

template <int D>
const Signature& avg_pool_backward_signature() {
  static const Signature s(kNames[D - 1].avg_pool_backward,
                           {"grad_output", "input_size", "kernel_size", "stride", "padding", "ceil_mode",
                            "count_include_pad", "divisor_override", "data_format"},
                           8, 3);
  return s;
}

template <int D>
PyObject* call_avg_pool_backward(const Arguments& a) {
  Array grad_output(a[0], "grad_output");
  const std::vector<Index> input_size = to_shape(a[1], "input_size", D + 1, D + 2);
  const PoolOptions o = to_pool_options(a[2], a[3], a[4], nullptr, a[5], a[8], D);
  PoolShapes shapes = pool_shapes(input_size, "input_size", o);
  PoolProblem& p = shapes.problem;
  to_divisor(a[6], a[7], p);
  check_shape(grad_output, shapes.output);
  const Precision result = grad_output.precision();
  Output grad_input(nullptr, input_size, result, {});
  make_contiguous(grad_output, compute_precision(result));
  p.y = shapes.input.layout.strides(grad_output, 1);
  p.gradient = shapes.input.layout.strides(grad_input, 1);
  with_type(result, [&](auto zero) {
    using T = decltype(zero);
    const ReleaseGil release(heavy(p));
    avg_pool_backward<T>(p, grad_output.data<T>(), grad_input.data<T>(), num_threads());
  });
  return grad_input.finish();
}

}  // namespace

void register_pool(PyObject* module) {
  constexpr int fast = METH_FASTCALL | METH_KEYWORDS;
  static PyMethodDef methods[] = {
      {"max_pool1d", method<call_max_pool<1>, max_pool_signature<1>>(), fast, kMaxPool1dDoc},
      {"max_pool1d_backward", method<call_max_pool_backward<1>, max_pool_backward_signature<1>>(), fast,
       kMaxPool1dBackwardDoc},
      {"avg_pool1d", method<call_avg_pool<1>, avg_pool_signature<1>>(), fast, kAvgPool1dDoc},
      {"avg_pool1d_backward", method<call_avg_pool_backward<1>, avg_pool_backward_signature<1>>(), fast,
       kAvgPool1dBackwardDoc},
      {"max_pool2d", method<call_max_pool<2>, max_pool_signature<2>>(), fast, kMaxPool2dDoc},
      {"max_pool2d_backward", method<call_max_pool_backward<2>, max_pool_backward_signature<2>>(), fast,
       kMaxPool2dBackwardDoc},
      {"avg_pool2d", method<call_avg_pool<2>, avg_pool_signature<2>>(), fast, kAvgPool2dDoc},
      {"avg_pool2d_backward", method<call_avg_pool_backward<2>, avg_pool_backward_signature<2>>(), fast,
       kAvgPool2dBackwardDoc},
      {"max_pool3d", method<call_max_pool<3>, max_pool_signature<3>>(), fast, kMaxPool3dDoc},
      {"max_pool3d_backward", method<call_max_pool_backward<3>, max_pool_backward_signature<3>>(), fast,
       kMaxPool3dBackwardDoc},
      {"avg_pool3d", method<call_avg_pool<3>, avg_pool_signature<3>>(), fast, kAvgPool3dDoc},
      {"avg_pool3d_backward", method<call_avg_pool_backward<3>, avg_pool_backward_signature<3>>(), fast,
       kAvgPool3dBackwardDoc},
      {nullptr, nullptr, 0, nullptr},
  };
  if (PyModule_AddFunctions(module, methods) != 0) throw PythonError();
}

}  // namespace fastconv
