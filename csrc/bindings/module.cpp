// The extension module. Hot functions are METH_FASTCALL (conv.cpp, pool.cpp); what is called seldom
// goes through pybind11.
#define FASTCONV_IMPORTS_NUMPY
#include "python.hpp"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>

#include "../cpu.hpp"
#include "../memory.hpp"
#include "../parallel.hpp"
#include "conv.hpp"
#include "docs.hpp"
#include "measure.hpp"
#include "method.hpp"
#include "nn.hpp"
#include "pool.hpp"

namespace py = pybind11;

namespace fastconv {
namespace {

// A type of its own for each number of spatial axes: PackedConv1d, PackedConv2d, PackedConv3d.
template <int Dims>
struct PackedConvOf : PackedConv {
  explicit PackedConvOf(const Arguments& a) : PackedConv(Dims, a) {}
};

template <int Dims>
PyObject* packed(const Arguments& a) {
  return py::cast(std::make_unique<PackedConvOf<Dims>>(a)).release().ptr();
}

PyObject* prepack(int dims, const Arguments& a) {
  return dims == 1 ? packed<1>(a) : dims == 2 ? packed<2>(a) : packed<3>(a);
}

PyObject* plan(int dims, const Arguments& a) { return py::cast(conv_plan(dims, a)).release().ptr(); }

const Signature& set_num_threads_signature() {
  static const Signature s("set_num_threads", {"n"}, 1, 1);
  return s;
}
const Signature& get_num_threads_signature() {
  static const Signature s("get_num_threads", {}, 0, 0);
  return s;
}

PyObject* set_num_threads_checked(const Arguments& a) {
  const Index n = to_positive(a[0], "n", 1);
  if (n > 1 << 16) throw ValueError("n: " + std::to_string(n) + " threads are too many");
  set_num_threads(static_cast<int>(n));
  return Py_NewRef(Py_None);
}

PyObject* get_num_threads(const Arguments&) { return PyLong_FromLong(num_threads()); }

void register_functions(PyObject* module) {
  constexpr int fast = METH_FASTCALL | METH_KEYWORDS;
  static PyMethodDef methods[] = {
      {"conv1d_prepack", method<prepack, prepack_signature, 1>(), fast, kConv1dPrepackDoc},
      {"conv2d_prepack", method<prepack, prepack_signature, 2>(), fast, kConv2dPrepackDoc},
      {"conv3d_prepack", method<prepack, prepack_signature, 3>(), fast, kConv3dPrepackDoc},
      {"conv1d_plan", method<plan, plan_signature, 1>(), fast, kConv1dPlanDoc},
      {"conv2d_plan", method<plan, plan_signature, 2>(), fast, kConv2dPlanDoc},
      {"conv3d_plan", method<plan, plan_signature, 3>(), fast, kConv3dPlanDoc},
      {"set_num_threads", method<set_num_threads_checked, set_num_threads_signature>(), fast, kSetNumThreadsDoc},
      {"get_num_threads", method<get_num_threads, get_num_threads_signature>(), fast, kGetNumThreadsDoc},
      {nullptr, nullptr, 0, nullptr},
  };
  if (PyModule_AddFunctions(module, methods) != 0) throw py::error_already_set();
}

// Our exceptions, from pybind11's functions.
py::object result_or_raise(PyObject* result) {
  if (result == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(result);
}

// Without this, cls.__new__(cls) would make an object whose C++ half was never constructed.
void refuse_new(PyHeapTypeObject* type) {
  type->ht_type.tp_new = [](PyTypeObject* cls, PyObject*, PyObject*) -> PyObject* {
    PyErr_Format(PyExc_TypeError, "%s objects are made by functions like conv2d_prepack and conv2d_plan only",
                 cls->tp_name);
    return nullptr;
  };
}

void register_packed(py::module_& m) {
  py::class_<PackedConv>(m, "PackedConv", py::custom_type_setup(&refuse_new),
                         "A convolution with constant weights; see `conv2d_prepack`.")
      .def(
          "__call__",
          [](PackedConv& self, const py::object& input, const py::object& out) {
            return result_or_raise(guarded([&] { return self.call(input.ptr(), out.ptr()); }));
          },
          py::arg("input"), py::arg("out") = py::none(),
          "The convolution of `input`; written to `out` if given. See `conv2d`.")
      .def(
          "backward",
          [](PackedConv& self, const py::object& grad_output, const py::object& input, const py::object& output_mask) {
            return result_or_raise(
                guarded([&] { return self.backward(grad_output.ptr(), input.ptr(), output_mask.ptr()); }));
          },
          py::arg("grad_output"), py::arg("input"), py::arg("output_mask") = py::make_tuple(true, true, true),
          kPackedBackwardDoc)
      .def("__repr__", &PackedConv::text);
  py::class_<PackedConvOf<1>, PackedConv>(m, "PackedConv1d", "A convolution that `conv1d_prepack` made.");
  py::class_<PackedConvOf<2>, PackedConv>(m, "PackedConv2d", "A convolution that `conv2d_prepack` made.");
  py::class_<PackedConvOf<3>, PackedConv>(m, "PackedConv3d", "A convolution that `conv3d_prepack` made.");
}

void register_plan(py::module_& m) {
  py::class_<PlanInfo>(m, "Plan", py::custom_type_setup(&refuse_new), "What a convolution does; see `conv2d_plan`.")
      .def_readonly("algorithm", &PlanInfo::algorithm)
      .def_readonly("isa", &PlanInfo::isa)
      .def_readonly("threads", &PlanInfo::threads)
      .def_readonly("workspace_bytes", &PlanInfo::workspace_bytes)
      .def_readonly("flops", &PlanInfo::flops)
      .def_readonly("bytes", &PlanInfo::bytes)
      .def("__str__", [](const PlanInfo& plan) { return plan.text; })
      .def("__repr__", [](const PlanInfo& plan) {
        return "<Plan " + plan.algorithm + ", " + plan.isa + ", " + std::to_string(plan.threads) + " threads>";
      });
}

py::dict config() {
  py::dict isa, threads, sizes, all;
  isa["chosen"] = kernels().name;
  isa["built"] = isas_built();
  isa["available"] = isas_available();
  threads["num_threads"] = num_threads();
  threads["openmp"] = built_with_openmp();
  sizes["L1d"] = caches().l1;
  sizes["L2"] = caches().l2;
  sizes["L3"] = caches().l3;
  all["isa"] = isa;
  all["threads"] = threads;
#if defined(__clang__)
  all["compiler"] = "clang " __clang_version__;
#else
  all["compiler"] = "gcc " __VERSION__;
#endif
  all["caches"] = sizes;
  py::dict memory;
  memory["recycling_limit"] = recycling_limit();
  memory["recycled_bytes"] = recycled_bytes();
  all["memory"] = memory;
  return all;
}

}  // namespace
}  // namespace fastconv

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
  using namespace fastconv;
  if (PyArray_ImportNumPyAPI() < 0) throw py::error_already_set();
  try {
    init_kernels();
    init_threads();
    init_recycling();
  } catch (const std::invalid_argument& e) {
    throw py::import_error(e.what());
  }
  m.doc() = "The compiled core of fastconv.";
  register_conv(m.ptr());
  register_conv_transpose(m.ptr());
  register_pool(m.ptr());
  register_nn(m.ptr());
  register_functions(m.ptr());
  register_packed(m);
  register_plan(m);
  m.def("config", &config, "ISA, threads, compiler and caches, as a dict.");
  m.def("fma_peak", &fma_peak, py::arg("dtype") = "float32", py::arg("threads") = 1, py::arg("seconds") = 0.02,
        "Floating-point operations a second of independent FMA chains in the ISA in use.");
  m.def("copy_bandwidth", &copy_bandwidth, py::arg("bytes"), py::arg("threads") = 1, py::arg("seconds") = 0.02,
        "Bytes a second, read and written, of copying a block of `bytes`.");
}
