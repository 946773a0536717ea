#include "nn.hpp"

#include <cmath>

#include "../nn/elementwise.hpp"
#include "../parallel.hpp"
#include "array.hpp"
#include "method.hpp"

namespace fastconv {
namespace {

constexpr npy_intp kReleaseGil = 10000;  // elements; below, the switch costs as much as the work

PyArrayObject* numpy(const Ref& array) { return reinterpret_cast<PyArrayObject*>(array.get()); }

// An array that a step changes in place: one run of native floats.
Ref to_writable(PyObject* object, const char* name) {
  if (object == nullptr || !PyArray_Check(object)) throw TypeError(std::string(name) + ": expected a numpy.ndarray");
  PyArrayObject* array = reinterpret_cast<PyArrayObject*>(object);
  const int type = PyArray_TYPE(array);
  if (type != NPY_FLOAT && type != NPY_DOUBLE) {
    throw TypeError(std::string(name) + ": expected float32 or float64");
  }
  if (!PyArray_ISCARRAY(array)) {
    throw ValueError(std::string(name) + ": expected a writable, C-contiguous, aligned array of native byte order");
  }
  return Ref::borrow(object);
}

void check_same(PyArrayObject* array, const char* name, PyArrayObject* like, const char* like_name) {
  if (PyArray_SAMESHAPE(array, like)) return;
  throw ValueError(std::string(name) + ": expected the shape of " + like_name);
}

// An array that a step reads: of `like`'s shape and dtype, as one run; converted if it is not.
Ref to_readable(PyObject* object, const char* name, PyArrayObject* like, const char* like_name) {
  const Array given(object, name);  // names the argument if it is no array of floats
  check_same(given.get(), name, like, like_name);
  return checked(PyArray_FROMANY(reinterpret_cast<PyObject*>(given.get()), PyArray_TYPE(like), 0, 0,
                                 NPY_ARRAY_CARRAY_RO | NPY_ARRAY_NOTSWAPPED | NPY_ARRAY_FORCECAST));
}

Ref to_state(PyObject* object, const char* name, PyArrayObject* data) {
  Ref state = to_writable(object, name);
  check_same(numpy(state), name, data, "data");
  if (PyArray_TYPE(numpy(state)) != PyArray_TYPE(data)) {
    throw TypeError(std::string(name) + ": expected the dtype of data");
  }
  return state;
}

// The kernels assume that what they write is nothing else that they read or write.
void check_apart(const Ref& a, const char* a_name, const Ref& b, const char* b_name) {
  const char *first = PyArray_BYTES(numpy(a)), *second = PyArray_BYTES(numpy(b));
  if (first + PyArray_NBYTES(numpy(a)) <= second || second + PyArray_NBYTES(numpy(b)) <= first) return;
  throw ValueError(std::string(a_name) + ": shares memory with " + b_name);
}

double to_number(PyObject* object, const char* name) {
  const double value = object == nullptr ? NAN : PyFloat_AsDouble(object);
  if (PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    throw TypeError(std::string(name) + ": expected a number");
  }
  return value;
}

// Calls f with a float or a double, for the array's type.
template <class F>
void with_element(PyArrayObject* array, F&& f) {
  const ReleaseGil release(PyArray_SIZE(array) > kReleaseGil);
  PyArray_TYPE(array) == NPY_DOUBLE ? f(double{}) : f(float{});
}

template <class T>
T* elements(const Ref& array) {
  return array ? static_cast<T*>(PyArray_DATA(numpy(array))) : nullptr;
}

constexpr const char* kAdamDoc =
    R"(adam_step(data, grad, mean, square, rate, beta1, beta2, epsilon)
--

``mean`` and ``square`` approach grad and grad**2; ``data -= rate * mean / (sqrt(square) + epsilon)``.

All in one pass and in place; the corrections of the two means' bias belong in `rate` and `epsilon`.)";

const Signature& adam_signature() {
  static const Signature s("adam_step", {"data", "grad", "mean", "square", "rate", "beta1", "beta2", "epsilon"}, 8, 8);
  return s;
}

PyObject* adam_step(const Arguments& a) {
  const Ref data = to_writable(a[0], "data");
  const Ref grad = to_readable(a[1], "grad", numpy(data), "data");
  const Ref mean = to_state(a[2], "mean", numpy(data)), square = to_state(a[3], "square", numpy(data));
  check_apart(grad, "grad", data, "data");
  check_apart(grad, "grad", mean, "mean");
  check_apart(grad, "grad", square, "square");
  check_apart(mean, "mean", data, "data");
  check_apart(square, "square", data, "data");
  check_apart(square, "square", mean, "mean");
  const double rate = to_number(a[4], "rate"), beta1 = to_number(a[5], "beta1"), beta2 = to_number(a[6], "beta2"),
               epsilon = to_number(a[7], "epsilon");
  with_element(numpy(data), [&](auto zero) {
    using T = decltype(zero);
    adam<T>({elements<T>(grad), elements<T>(data), elements<T>(mean), elements<T>(square), PyArray_SIZE(numpy(data)),
             T(1 - beta1), T(beta2), T(1 - beta2), T(rate), T(epsilon)},
            num_threads());
  });
  return Py_NewRef(Py_None);
}

constexpr const char* kSgdDoc =
    R"(sgd_step(data, grad, velocity, rate, momentum)
--

``velocity = momentum * velocity + grad``; ``data -= rate * velocity``, in one pass and in place.

Without a velocity (None), ``data -= rate * grad``.)";

const Signature& sgd_signature() {
  static const Signature s("sgd_step", {"data", "grad", "velocity", "rate", "momentum"}, 5, 5);
  return s;
}

PyObject* sgd_step(const Arguments& a) {
  const Ref data = to_writable(a[0], "data");
  const Ref grad = to_readable(a[1], "grad", numpy(data), "data");
  check_apart(grad, "grad", data, "data");
  Ref velocity;
  if (a.given(2)) {
    velocity = to_state(a[2], "velocity", numpy(data));
    check_apart(velocity, "velocity", data, "data");
    check_apart(grad, "grad", velocity, "velocity");
  }
  const double rate = to_number(a[3], "rate"), momentum = to_number(a[4], "momentum");
  with_element(numpy(data), [&](auto zero) {
    using T = decltype(zero);
    sgd<T>(
        {elements<T>(grad), elements<T>(data), elements<T>(velocity), PyArray_SIZE(numpy(data)), T(rate), T(momentum)},
        num_threads());
  });
  return Py_NewRef(Py_None);
}

constexpr const char* kReluBackwardDoc =
    R"(relu_backward(grad_output, output)
--

``grad_output`` where ``output > 0``, else 0: a new C-contiguous array of `output`'s dtype, in one pass.)";

const Signature& relu_backward_signature() {
  static const Signature s("relu_backward", {"grad_output", "output"}, 2, 2);
  return s;
}

PyObject* relu_backward(const Arguments& a) {
  Array output(a[1], "output");
  output.become(compute_precision(output.precision()));
  const Ref y = to_readable(reinterpret_cast<PyObject*>(output.get()), "output", output.get(), "output");
  const Ref grad = to_readable(a[0], "grad_output", numpy(y), "output");
  Ref result = new_array(output.shape(), PyArray_TYPE(numpy(y)));
  with_element(numpy(y), [&](auto zero) {
    using T = decltype(zero);
    relu_gradient<T>(elements<T>(grad), elements<T>(y), PyArray_SIZE(numpy(y)), elements<T>(result), num_threads());
  });
  return result.release();
}

}  // namespace

void register_nn(PyObject* module) {
  constexpr int fast = METH_FASTCALL | METH_KEYWORDS;
  static PyMethodDef methods[] = {
      {"adam_step", method<adam_step, adam_signature>(), fast, kAdamDoc},
      {"sgd_step", method<sgd_step, sgd_signature>(), fast, kSgdDoc},
      {"relu_backward", method<relu_backward, relu_backward_signature>(), fast, kReluBackwardDoc},
      {nullptr, nullptr, 0, nullptr},
  };
  if (PyModule_AddFunctions(module, methods) != 0) throw PythonError();
}

}  // namespace fastconv
