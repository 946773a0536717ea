// Max pooling: each plane on its own, each window element by element. Planes are independent in both
// directions, so no two threads ever write the same element.
#include <atomic>
#include <limits>

#include "../conv/plan.hpp"
#include "../parallel.hpp"
#include "window.hpp"

namespace fastconv {
namespace {

template <class T>
struct Winner {
  T value = -std::numeric_limits<T>::infinity();
  Index index = -1;
};

template <class T>
Winner<T> winner_of(const PoolProblem& p, const T* x, Index od, Index oh, Index ow) {
  Winner<T> best;
  for_each_element(p, p.x, od, oh, ow, [&](Index offset, Index index) {
    const T v = x[offset];
    // Not (v <= best): true for a greater value and for NaN; the first NaN then stays.
    if (best.index >= 0 && (v <= best.value || best.value != best.value)) return;
    best = {v, index};
  });
  return best;
}

}  // namespace

template <class T>
void max_pool(const PoolProblem& p, const T* x, T* y, Index* indices, int threads) {
  parallel_for(useful_threads(pool_operations(p), p.planes(), threads), p.planes(), [&](Index plane) {
    const T* in = x + plane_offset(p, p.x, plane);
    T* out = y + plane_offset(p, p.y, plane);
    Index* index = indices == nullptr ? nullptr : indices + plane_offset(p, p.indices, plane);
    for_each_output(p, [&](Index od, Index oh, Index ow) {
      const Winner<T> best = winner_of(p, in, od, oh, ow);
      out[offset_of(p.y, od, oh, ow)] = best.value;
      if (index != nullptr) index[offset_of(p.indices, od, oh, ow)] = best.index;
    });
  });
}

template <class T>
bool max_pool_backward(const PoolProblem& p, const T* x, const Index* indices, const T* dy, T* dx, int threads) {
  const Index width = p.axis[kWidth].in, height = p.axis[kHeight].in;
  std::atomic<bool> valid{true};
  parallel_for(useful_threads(pool_operations(p), p.planes(), threads), p.planes(), [&](Index plane) {
    T* out = dx + plane_offset(p, p.gradient, plane);
    const T* in = dy + plane_offset(p, p.y, plane);
    const Index* index = indices == nullptr ? nullptr : indices + plane_offset(p, p.indices, plane);
    zero_plane(p, out);
    for_each_output(p, [&](Index od, Index oh, Index ow) {
      const Index i = index != nullptr ? index[offset_of(p.indices, od, oh, ow)]
                                       : winner_of(p, x + plane_offset(p, p.x, plane), od, oh, ow).index;
      if (i < -1 || i >= p.plane_size()) {
        valid.store(false, std::memory_order_relaxed);
      } else if (i >= 0) {
        out[offset_of(p.gradient, i / (width * height), i / width % height, i % width)] +=
            in[offset_of(p.y, od, oh, ow)];
      }
    });
  });
  return valid.load();
}

template void max_pool(const PoolProblem&, const float*, float*, Index*, int);
template void max_pool(const PoolProblem&, const double*, double*, Index*, int);
template bool max_pool_backward(const PoolProblem&, const float*, const Index*, const float*, float*, int);
template bool max_pool_backward(const PoolProblem&, const double*, const Index*, const double*, double*, int);

}  // namespace fastconv
