#include "elementwise.hpp"

#include <algorithm>

#include "../cpu.hpp"
#include "../parallel.hpp"

namespace fastconv {
namespace {

// A whole number of every ISA's vectors, and long enough to be worth a task.
constexpr std::ptrdiff_t kPart = 16384;

// f(begin, count) for consecutive parts of [0, n).
template <class F>
void for_each_part(std::ptrdiff_t n, int threads, const F& f) {
  parallel_for(threads, (n + kPart - 1) / kPart,
               [&](std::int64_t part) { f(part * kPart, std::min(kPart, n - part * kPart)); });
}

}  // namespace

template <class T>
void adam(const AdamStep<T>& step, int threads) {
  const auto kernel = kernels().of<T>().adam;
  for_each_part(step.n, threads, [&](std::ptrdiff_t begin, std::ptrdiff_t count) {
    AdamStep<T> part = step;
    part.grad += begin;
    part.data += begin;
    part.mean += begin;
    part.square += begin;
    part.n = count;
    kernel(part);
  });
}

template <class T>
void sgd(const SgdStep<T>& step, int threads) {
  const auto kernel = kernels().of<T>().sgd;
  for_each_part(step.n, threads, [&](std::ptrdiff_t begin, std::ptrdiff_t count) {
    SgdStep<T> part = step;
    part.grad += begin;
    part.data += begin;
    if (part.velocity != nullptr) part.velocity += begin;
    part.n = count;
    kernel(part);
  });
}

template <class T>
void relu_gradient(const T* grad, const T* y, std::ptrdiff_t n, T* result, int threads) {
  const auto kernel = kernels().of<T>().relu_gradient;
  for_each_part(n, threads, [&](std::ptrdiff_t begin, std::ptrdiff_t count) {
    kernel(grad + begin, y + begin, count, result + begin);
  });
}

template void adam(const AdamStep<float>&, int);
template void adam(const AdamStep<double>&, int);
template void sgd(const SgdStep<float>&, int);
template void sgd(const SgdStep<double>&, int);
template void relu_gradient(const float*, const float*, std::ptrdiff_t, float*, int);
template void relu_gradient(const double*, const double*, std::ptrdiff_t, double*, int);

}  // namespace fastconv
