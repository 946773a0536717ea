// The direct algorithm: implicit GEMM, for every problem. The driver is direct.cpp.
#pragma once

#include "../problem.hpp"
#include "direct_plan.hpp"

namespace fastconv {

template <class T>
void direct_forward(const Problem& p, const DirectPlan& plan, const Operands<T>& a, const T* packed);

}  // namespace fastconv
