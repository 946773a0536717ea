#include "conv.hpp"

#include <algorithm>
#include <cstdio>

#include "../conv/conv.hpp"
#include "../conv/gradients.hpp"
#include "../conv/pooled.hpp"
#include "../cpu.hpp"
#include "../parallel.hpp"
#include "conv_call.hpp"
#include "docs.hpp"
#include "method.hpp"

namespace fastconv {
namespace {

const Signature& forward_signature(int dims) {
  static const std::vector<const char*> names{"input",  "weight",      "bias",       "stride",    "padding", "dilation",
                                              "groups", "data_format", "activation", "algorithm", "out"};
  static const Signature s[] = {{"conv1d", names, 7, 2}, {"conv2d", names, 7, 2}, {"conv3d", names, 7, 2}};
  return s[dims - 1];
}
constexpr ConvOptionPositions kForwardOptions{3, 4, 5, 6, 7};

const Signature& backward_signature(int dims) {
  static const std::vector<const char*> names{"grad_output", "input",  "weight",      "stride",     "padding",
                                              "dilation",    "groups", "data_format", "output_mask"};
  static const Signature s[] = {
      {"conv1d_backward", names, 7, 3}, {"conv2d_backward", names, 7, 3}, {"conv3d_backward", names, 7, 3}};
  return s[dims - 1];
}
constexpr ConvOptionPositions kBackwardOptions{3, 4, 5, 6, 7};
constexpr ConvOptionPositions kPrepackOptions{2, 3, 4, 5, 6};
constexpr ConvOptionPositions kPlanOptions{2, 3, 4, 5, 6};

// ---- forward ------------------------------------------------------------------------------------

template <class T>
void run_forward(const Problem& problem, const Operands<T>& operands, Algorithm algorithm) {
  const Problem p = simplified(problem);
  const ConvPlan plan = plan_conv<T>(p, false, num_threads(), algorithm);
  const ReleaseGil release(p.flops() > kReleaseGil);
  conv_forward<T>(p, plan, operands, nullptr);
}

PyObject* forward(int dims, const Arguments& a) {
  Array input(a[0], "input"), weight(a[1], "weight"), bias;
  if (a.given(2)) bias = Array(a[2], "bias");
  const ConvOptions options = to_conv_options(a, kForwardOptions, dims);
  const bool relu = to_relu(a[8]);
  const Algorithm algorithm = to_algorithm(a[9]);
  ConvShapes shapes = conv_shapes(input.shape(), weight.shape(), options);
  Problem& p = shapes.problem;
  p.relu = relu;
  const Precision result = common_precision(input, weight, bias);
  const Precision computed = compute_precision(result);
  if (bias) check_shape(bias, Shape{p.groups * p.outputs});
  Output out(a[10], shapes.output, result, {&input, &weight, &bias});
  input.become(computed);
  weight.become(computed);
  if (bias) bias.become_dense(computed);
  p.x = shapes.input.layout.strides(input, p.channels);
  p.w = weight_strides(weight, p, dims);
  p.y = shapes.output_layout().strides(out, p.outputs);
  with_type(computed, [&](auto zero) {
    using T = decltype(zero);
    run_forward<T>(p, {input.data<T>(), weight.data<T>(), bias ? bias.data<T>() : nullptr, out.data<T>()}, algorithm);
  });
  return out.finish();
}

// ---- backward -----------------------------------------------------------------------------------

// The gradients of a convolution with these options.
PyObject* gradients_of(const ConvOptions& options, Array& grad_output, Array& input, Array& weight,
                       const std::array<bool, 3>& mask) {
  ConvShapes shapes = conv_shapes(input.shape(), weight.shape(), options);
  Problem& p = shapes.problem;
  check_shape(grad_output, shapes.output);
  const Precision result = common_precision(grad_output, input, weight);
  const Precision computed = compute_precision(result);
  grad_output.become(computed);
  if (mask[1] || mask[2]) input.become(computed);  // the way of the bias's gradient follows from that of the weights'
  if (mask[0]) weight.become(computed);
  Gradients gradients(mask, input.shape(), weight.shape(), p.groups * p.outputs, result);
  p.y = shapes.output_layout().strides(grad_output, p.outputs);
  GradientProblem problems{p, p};
  if (mask[0]) {
    problems.input.x = shapes.input.layout.strides(*gradients.input, p.channels);
    problems.input.w = weight_strides(weight, p, options.dims);
  }
  if (mask[1] || mask[2]) {
    problems.weight.x = shapes.input.layout.strides(input, p.channels);
    problems.weight.w = dense_weight_strides(p);
  }
  with_type(computed, [&](auto zero) {
    using T = decltype(zero);
    GradientOperands<T> a{grad_output.data<T>(), nullptr, nullptr, nullptr, nullptr, nullptr};
    if (mask[0]) a.w = weight.data<T>(), a.dx = gradients.input->data<T>();
    if (mask[1]) a.x = input.data<T>(), a.dw = gradients.weight->data<T>();
    if (mask[2]) a.db = gradients.bias->data<T>();
    const ReleaseGil release(p.flops() > kReleaseGil);
    conv_gradients(problems, a, num_threads());
  });
  return gradients.finish();
}

PyObject* backward(int dims, const Arguments& a) {
  Array grad_output(a[0], "grad_output"), input(a[1], "input"), weight(a[2], "weight");
  const ConvOptions options = to_conv_options(a, kBackwardOptions, dims);
  return gradients_of(options, grad_output, input, weight, to_mask(a[8], "output_mask"));
}

// ---- plans --------------------------------------------------------------------------------------

std::string axes_text(const Problem& p, Index Axis::*member, int dims) {
  std::string text;
  for (std::size_t s = static_cast<std::size_t>(kSpatial - dims); s < kSpatial; ++s) {
    text += (text.empty() ? "" : "x") + std::to_string(p.axis[s].*member);
  }
  return text;
}

std::string plan_text(const Problem& p, const ConvPlan& plan, const PlanInfo& info, int dims, Precision precision) {
  char line[512];
  std::string text;
  const auto add = [&](const char* label, const std::string& value) {
    std::snprintf(line, sizeof line, "%18s:  %s\n", label, value.c_str());
    text += line;
  };
  add("Problem", std::to_string(p.batch) + " x " + std::to_string(p.groups * p.channels) + " channels " +
                     axes_text(p, &Axis::in, dims) + " -> " + std::to_string(p.groups * p.outputs) + " channels " +
                     axes_text(p, &Axis::out, dims) + ", kernel " + axes_text(p, &Axis::kernel, dims) + ", groups " +
                     std::to_string(p.groups) + ", " + (precision == Precision::kDouble ? "float64" : "float32"));
  add("algorithm", info.algorithm);
  add("isa", info.isa);
  add("threads", std::to_string(info.threads));
  for (const auto& [label, value] : explain(p, plan)) add(label.c_str(), value);
  add("workspace_bytes", std::to_string(info.workspace_bytes));
  std::snprintf(line, sizeof line, "%.4g", static_cast<double>(info.flops));
  add("flops", line);
  std::snprintf(line, sizeof line, "%.4g (%.1f flops a byte)", static_cast<double>(info.bytes),
                info.bytes > 0 ? static_cast<double>(info.flops) / static_cast<double>(info.bytes) : 0.0);
  add("bytes", line);
  text.pop_back();
  return text;
}

// Contiguous strides, for a problem that has no arrays.
void pretend_contiguous(ConvShapes& shapes) {
  struct Dense {
    Shape shape;
    Index stride(int axis) const {
      Index s = 1;
      for (std::size_t i = shape.size(); i-- > static_cast<std::size_t>(axis) + 1;) s *= shape.begin()[i];
      return s;
    }
  };
  Problem& p = shapes.problem;
  AxisValues in{};
  for (std::size_t s = 0; s < kSpatial; ++s) in[s] = p.axis[s].in;
  const ImageLayout& layout = shapes.input.layout;
  p.x = layout.strides(Dense{layout.shape(p.batch, p.groups * p.channels, in)}, p.channels);
  p.y = layout.strides(Dense{shapes.output}, p.outputs);
  p.w = dense_weight_strides(p);
}

long long to_integer(double x) {
  if (x >= 9.2e18) throw ValueError("input_shape, weight_shape: the work of this problem exceeds 64 bits");
  return static_cast<long long>(x);
}

}  // namespace

const Signature& plan_signature(int dims) {
  static const std::vector<const char*> names{"input_shape", "weight_shape", "stride", "padding",   "dilation",
                                              "groups",      "data_format",  "dtype",  "algorithm", "prepacked"};
  static const Signature s[] = {
      {"conv1d_plan", names, 6, 2}, {"conv2d_plan", names, 6, 2}, {"conv3d_plan", names, 6, 2}};
  return s[dims - 1];
}

PlanInfo conv_plan(int dims, const Arguments& a) {
  const std::size_t most = static_cast<std::size_t>(dims) + 2;
  const std::vector<Index> input = to_shape(a[0], "input_shape", most - 1, most);
  const std::vector<Index> weight = to_shape(a[1], "weight_shape", most, most);
  const ConvOptions options = to_conv_options(a, kPlanOptions, dims);
  PyArray_Descr* descr = nullptr;
  if (a[7] != nullptr && PyArray_DescrConverter(a[7], &descr) == NPY_FAIL) {
    PyErr_Clear();
    throw TypeError("dtype: not a dtype; expected float32, float64 or float16");
  }
  const int type = descr == nullptr ? NPY_FLOAT : descr->type_num;
  Py_XDECREF(descr);
  if (type != NPY_FLOAT && type != NPY_DOUBLE && type != NPY_HALF) {
    throw TypeError("dtype: expected float32, float64 or float16");
  }
  const Precision precision = type == NPY_DOUBLE ? Precision::kDouble : Precision::kSingle;
  const Algorithm algorithm = to_algorithm(a[8]);
  const bool prepacked = to_bool(a[9], "prepacked", false);
  ConvShapes shapes = conv_shapes(input, weight, options);
  pretend_contiguous(shapes);
  const Problem p = simplified(shapes.problem);
  const ConvPlan plan = precision == Precision::kDouble ? plan_conv<double>(p, prepacked, num_threads(), algorithm)
                                                        : plan_conv<float>(p, prepacked, num_threads(), algorithm);
  const double size = precision == Precision::kDouble ? 8 : 4;
  double elements =
      static_cast<double>(p.batch) * static_cast<double>(p.groups * p.outputs) * static_cast<double>(p.pixels());
  double in = static_cast<double>(p.batch) * static_cast<double>(p.groups * p.channels);
  for (const Axis& axis : shapes.problem.axis) in *= static_cast<double>(axis.in);
  in = shapes.problem.batch == p.batch ? in : in * static_cast<double>(shapes.problem.batch);
  const double w = static_cast<double>(p.groups * p.outputs) * static_cast<double>(p.channels * p.taps());
  PlanInfo info;
  info.algorithm = name_of(plan.algorithm);
  info.isa = kernels().name;
  info.threads = plan.threads;
  info.workspace_bytes = plan.workspace * static_cast<std::size_t>(plan.threads) + plan.shared;
  info.flops = to_integer(p.flops());
  info.bytes = to_integer((elements + in + w) * size);
  info.text = plan_text(shapes.problem, plan, info, dims, precision);
  return info;
}

const Signature& prepack_signature(int dims) {
  static const std::vector<const char*> names{"weight", "bias",        "stride",     "padding",   "dilation",
                                              "groups", "data_format", "activation", "algorithm", "pool"};
  static const Signature s[] = {
      {"conv1d_prepack", names, 6, 1}, {"conv2d_prepack", names, 6, 1}, {"conv3d_prepack", names, 6, 1}};
  return s[dims - 1];
}

// ---- prepacked ----------------------------------------------------------------------------------

PackedConv::PackedConv(int dims, const Arguments& a)
    : options_(to_conv_options(a, kPrepackOptions, dims)),
      relu_(to_relu(a[7])),
      pool_(to_output_pool(a[9])),
      algorithm_(to_algorithm(a[8])),
      weight_(a[0], "weight") {
  if (a.given(1)) bias_ = Array(a[1], "bias");
  weight_shape_ = {weight_.shape().begin(), weight_.shape().end()};
  if (weight_shape_.size() != static_cast<std::size_t>(dims) + 2) {
    throw ValueError("weight: expected " + std::to_string(dims + 2) +
                     " dimensions (out, in / groups, kernel...), got size " + shape_text(weight_shape_));
  }
  if (std::any_of(weight_shape_.begin() + 2, weight_shape_.end(), [](Index k) { return k < 1; })) {
    throw ValueError("weight: the kernel is empty, size " + shape_text(weight_shape_));
  }
  std::array<Axis, kSpatial> axes{};
  for (int i = 0; i < dims; ++i) {
    const std::size_t s = static_cast<std::size_t>(kSpatial - dims + i);
    axes[s].kernel = weight_shape_[static_cast<std::size_t>(i) + 2];
    // Where there is one tap, a stride is no matter of the kernel; see simplified().
    axes[s].stride = axes[s].kernel == 1 ? 1 : options_.stride[s];
    axes[s].dilation = options_.dilation[s];
  }
  if (axes[kHeight].kernel == 1) std::swap(axes[kDepth], axes[kHeight]);  // as simplified() does
  check_algorithm(algorithm_, axes);
  if (weight_shape_[0] % options_.groups != 0) {
    throw ValueError("Given groups=" + std::to_string(options_.groups) +
                     ", expected weight to have a multiple of that many output channels, but got size " +
                     shape_text(weight_shape_));
  }
  check_algorithm(algorithm_, weight_shape_[1], weight_shape_[0] / options_.groups, axes[kDepth].kernel);
  if (bias_) check_shape(bias_, Shape{weight_shape_[0]});
  // Copies: the caller may write to his arrays afterwards.
  const auto own = [](Array& array, const char* name) {
    const Ref room = new_array(array.shape(), numpy_type(array.precision()));
    if (PyArray_CopyInto(reinterpret_cast<PyArrayObject*>(room.get()), array.get()) != 0) throw PythonError();
    array = Array(room.get(), name);
  };
  own(weight_, "weight");
  if (bias_) own(bias_, "bias");
}

// Null where the plan reads the weights as they are.
template <class T>
const T* PackedConv::packed(const Problem& p, const ConvPlan& plan, const T* weight) {
  const int form = packed_form(plan);
  if (form < 0 || p.flops() == 0) return nullptr;
  AlignedBlock& block = packed_[sizeof(T) == sizeof(double)][form];
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!block) {
    const Index bytes = checked_multiply(packed_elements<T>(p, plan), static_cast<Index>(sizeof(T)));
    AlignedBlock fresh = allocate_aligned(static_cast<std::size_t>(bytes));
    pack(p, plan, weight, static_cast<T*>(fresh.get()));
    block = std::move(fresh);
  }
  return static_cast<const T*>(block.get());
}

template <class T>
PyObject* PackedConv::run(Array& input, Precision result, PyObject* out_argument) {
  ConvShapes shapes = conv_shapes(input.shape(), weight_shape_, options_);
  Problem& p = shapes.problem;
  p.relu = relu_;
  if (pool_ != OutputPool::kNone) shapes.output = pooled_shape(shapes);
  Output out(out_argument, shapes.output, result, {&input});
  const Precision computed = compute_precision(result);
  Array weight = weight_.share(), bias = bias_.share();
  input.become(computed);
  weight.become(computed);
  if (bias) bias.become(computed);
  p.x = shapes.input.layout.strides(input, p.channels);
  p.w = dense_weight_strides(p);
  p.y = shapes.output_layout().strides(out, p.outputs);
  const Operands<T> operands{input.data<T>(), weight.data<T>(), bias ? bias.data<T>() : nullptr, out.data<T>()};
  {
    // The mutex is taken without the GIL: a thread that waits for it holds nothing up.
    const ReleaseGil release(p.flops() > kReleaseGil);
    if (pool_ == OutputPool::kNone) {
      p = simplified(p);
      const ConvPlan plan = plan_conv<T>(p, true, num_threads(), algorithm_);
      conv_forward<T>(p, plan, operands, packed<T>(p, plan, operands.w));
    } else {
      const auto pack = [&](const Problem& part, const ConvPlan& plan) { return packed<T>(part, plan, operands.w); };
      conv_pool_forward<T>(p, pool_, options_.dims, algorithm_, operands, pack, num_threads());
    }
  }
  return out.finish();
}

PyObject* PackedConv::call(PyObject* input_argument, PyObject* out) {
  Array input(input_argument, "input");
  const Precision result = common_precision(input, weight_, bias_);
  return with_type(compute_precision(result), [&](auto zero) { return run<decltype(zero)>(input, result, out); });
}

PyObject* PackedConv::backward(PyObject* grad_output_argument, PyObject* input_argument, PyObject* output_mask) {
  if (pool_ != OutputPool::kNone) {
    throw ValueError(
        "pool: an operator that pools has no backward, since it keeps no winners; use the gradients of conv2d and of "
        "max_pool2d or avg_pool2d");
  }
  Array grad_output(grad_output_argument, "grad_output"), input(input_argument, "input"), weight = weight_.share();
  return gradients_of(options_, grad_output, input, weight, to_mask(output_mask, "output_mask"));
}

namespace {

const char* pool_text(OutputPool pool) {
  return pool == OutputPool::kMax ? ", max pool 2" : pool == OutputPool::kAverage ? ", avg pool 2" : "";
}

}  // namespace

std::string PackedConv::text() const {
  return "PackedConv" + std::to_string(options_.dims) + "d(weight " + shape_text(weight_shape_) + ", groups " +
         std::to_string(options_.groups) + (relu_ ? ", relu" : "") + pool_text(pool_) + ")";
}

void register_conv(PyObject* module) {
  constexpr int fast = METH_FASTCALL | METH_KEYWORDS;
  static PyMethodDef methods[] = {
      {"conv1d", method<forward, forward_signature, 1>(), fast, kConv1dDoc},
      {"conv2d", method<forward, forward_signature, 2>(), fast, kConv2dDoc},
      {"conv3d", method<forward, forward_signature, 3>(), fast, kConv3dDoc},
      {"conv1d_backward", method<backward, backward_signature, 1>(), fast, kConv1dBackwardDoc},
      {"conv2d_backward", method<backward, backward_signature, 2>(), fast, kConv2dBackwardDoc},
      {"conv3d_backward", method<backward, backward_signature, 3>(), fast, kConv3dBackwardDoc},
      {nullptr, nullptr, 0, nullptr},
  };
  if (PyModule_AddFunctions(module, methods) != 0) throw PythonError();
}

}  // namespace fastconv
