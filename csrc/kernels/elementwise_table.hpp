// Kernels that go element by element: steps of optimisers, the gradient of ReLU.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastconv {

// A step of Adam over n elements:
//   mean += mean_rate * (grad - mean)
//   square = square_decay * square + square_rate * grad^2
//   data -= rate * mean / (sqrt(square) + epsilon)
template <class T>
struct AdamStep {
  const T* grad;
  T *data, *mean, *square;
  std::ptrdiff_t n;
  T mean_rate, square_decay, square_rate, rate, epsilon;
};

// velocity = momentum * velocity + grad; data -= rate * velocity. Without a velocity, grad takes its place.
template <class T>
struct SgdStep {
  const T* grad;
  T *data, *velocity;  // the latter may be null
  std::ptrdiff_t n;
  T rate, momentum;
};

template <class T>
struct ElementwiseKernels {
  void (*adam)(const AdamStep<T>&);
  void (*sgd)(const SgdStep<T>&);
  // result[i] = y[i] > 0 ? grad[i] : 0; result may be grad.
  void (*relu_gradient)(const T* grad, const T* y, std::ptrdiff_t n, T* result);
};

}  // namespace fastconv
