// The pooling functions of the module.
#pragma once

#include "python.hpp"

namespace fastconv {

void register_pool(PyObject* module);

}  // namespace fastconv
