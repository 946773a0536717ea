// What fastconv.nn needs of the core beside convolution and pooling; private to the package.
#pragma once

#include "python.hpp"

namespace fastconv {

void register_nn(PyObject* module);

}  // namespace fastconv
