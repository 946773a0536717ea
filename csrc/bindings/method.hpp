// From the interpreter's calling convention to a function over parsed Arguments.
#pragma once

#include "args.hpp"
#include "python.hpp"

namespace fastconv {

template <PyObject* (*Function)(const Arguments&), const Signature& (*Parser)()>
PyObject* entry(PyObject*, PyObject* const* args, Py_ssize_t n, PyObject* keywords) {
  return guarded([&] {
    Arguments a;
    Parser().parse(args, n, keywords, a.value.data());
    return Function(a);
  });
}

// The same for a function that serves 1, 2 and 3 spatial axes under three names.
template <PyObject* (*Function)(int, const Arguments&), const Signature& (*Parser)(int), int Dims>
PyObject* entry(PyObject*, PyObject* const* args, Py_ssize_t n, PyObject* keywords) {
  return guarded([&] {
    Arguments a;
    Parser(Dims).parse(args, n, keywords, a.value.data());
    return Function(Dims, a);
  });
}

// METH_FASTCALL functions have another type than PyCFunction; the method's flags tell which.
using FastCall = PyObject* (*)(PyObject*, PyObject* const*, Py_ssize_t, PyObject*);
inline PyCFunction as_method(FastCall f) { return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(f)); }

template <PyObject* (*Function)(const Arguments&), const Signature& (*Parser)()>
PyCFunction method() {
  return as_method(&entry<Function, Parser>);
}
template <PyObject* (*Function)(int, const Arguments&), const Signature& (*Parser)(int), int Dims>
PyCFunction method() {
  return as_method(&entry<Function, Parser, Dims>);
}

}  // namespace fastconv
