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

// METH_FASTCALL functions have another type than PyCFunction; the method's flags tell which.
template <PyObject* (*Function)(const Arguments&), const Signature& (*Parser)()>
PyCFunction method() {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&entry<Function, Parser>));
}

}  // namespace fastconv
