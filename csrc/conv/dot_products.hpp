// Dense layers over few samples, and pointwise convolutions of few pixels, as dot products of rows of x with rows of w:
// see dot_products.cpp.
#pragma once

#include "../problem.hpp"

namespace fastconv {

struct DotPlan {
  int threads;
  Index outputs;          // of a task
  Index steps;            // vectors of a row that are multiplied before others have their turn
  std::size_t workspace;  // bytes for each thread
};

// False where the problem is none for this algorithm.
template <class T>
bool plan_dots(const Problem& p, int threads, DotPlan& plan);
template <class T>
void dots_forward(const Problem& p, const DotPlan& plan, const Operands<T>& a);

}  // namespace fastconv
