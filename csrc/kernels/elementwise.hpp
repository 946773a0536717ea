// Passes over whole arrays, one element at a time: optimiser steps and the gradient of ReLU. They are
// limited by memory, so each reads and writes every array once. Plain loops: the compiler makes vectors
// of them, of the square root too, for which the vector extensions have no word.
#pragma once

#include "simd.hpp"
#include "table.hpp"

namespace {

using fastconv::AdamStep;
using fastconv::SgdStep;

inline float square_root(float x) { return __builtin_sqrtf(x); }
inline double square_root(double x) { return __builtin_sqrt(x); }

// m and v approach grad and grad^2; written as m + (1 - b1) (grad - m) the mean takes one rounding less.
template <class T>
void adam(const AdamStep<T>& s) {
  const T* __restrict grad = s.grad;
  T* __restrict data = s.data;
  T* __restrict mean = s.mean;
  T* __restrict square = s.square;
  for (std::ptrdiff_t i = 0; i < s.n; ++i) {
    const T g = grad[i];
    const T m = mean[i] + s.mean_rate * (g - mean[i]);
    const T v = s.square_decay * square[i] + s.square_rate * g * g;
    mean[i] = m;
    square[i] = v;
    data[i] -= s.rate * m / (square_root(v) + s.epsilon);
  }
}

template <class T>
void sgd(const SgdStep<T>& s) {
  const T* __restrict grad = s.grad;
  T* __restrict data = s.data;
  if (s.velocity == nullptr) {
    for (std::ptrdiff_t i = 0; i < s.n; ++i) data[i] -= s.rate * grad[i];
    return;
  }
  T* __restrict velocity = s.velocity;
  for (std::ptrdiff_t i = 0; i < s.n; ++i) {
    velocity[i] = s.momentum * velocity[i] + grad[i];
    data[i] -= s.rate * velocity[i];
  }
}

// `result` may be `grad`: an element is read before it is written, and no other is.
template <class T>
void relu_gradient(const T* grad, const T* y, std::ptrdiff_t n, T* result) {
  std::ptrdiff_t i = 0;
  for (; i + kLanes<T> <= n; i += kLanes<T>) {
    store(result + i, load(y + i) > Vector<T>{} ? load(grad + i) : Vector<T>{});
  }
  for (; i < n; ++i) result[i] = y[i] > T(0) ? grad[i] : T(0);
}

}  // namespace
