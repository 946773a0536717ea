// Average pooling: each plane on its own, each window element by element.
#include "../conv/plan.hpp"
#include "../parallel.hpp"
#include "window.hpp"

namespace fastconv {
namespace {

// How many elements the window has with its padding, which ends `pad_after` behind the input.
Index padded_extent(const Axis& a, Index pad_after, Index o) {
  const Index start = a.input_of(o, 0);
  return std::min(start + a.kernel, a.in + pad_after) - start;
}

Index divisor_of(const PoolProblem& p, Index od, Index oh, Index ow) {
  if (p.divisor != 0) return p.divisor;
  const std::array<Index, kSpatial> o{od, oh, ow};
  Index count = 1;
  for (std::size_t s = 0; s < kSpatial; ++s) {
    const Span inside = span_of(p.axis[s], o[s]);
    count *= p.count_include_pad ? padded_extent(p.axis[s], p.pad_after[s], o[s]) : inside.last - inside.first;
  }
  return count;
}

}  // namespace

template <class T>
void avg_pool(const PoolProblem& p, const T* x, T* y, int threads) {
  parallel_for(useful_threads(pool_operations(p), p.planes(), threads), p.planes(), [&](Index plane) {
    const T* in = x + plane_offset(p, p.x, plane);
    T* out = y + plane_offset(p, p.y, plane);
    for_each_output(p, [&](Index od, Index oh, Index ow) {
      T sum = 0;
      for_each_element(p, p.x, od, oh, ow, [&](Index offset, Index) { sum += in[offset]; });
      out[offset_of(p.y, od, oh, ow)] = sum / static_cast<T>(divisor_of(p, od, oh, ow));
    });
  });
}

template <class T>
void avg_pool_backward(const PoolProblem& p, const T* dy, T* dx, int threads) {
  parallel_for(useful_threads(pool_operations(p), p.planes(), threads), p.planes(), [&](Index plane) {
    const T* in = dy + plane_offset(p, p.y, plane);
    T* out = dx + plane_offset(p, p.gradient, plane);
    zero_plane(p, out);
    for_each_output(p, [&](Index od, Index oh, Index ow) {
      const T share = in[offset_of(p.y, od, oh, ow)] / static_cast<T>(divisor_of(p, od, oh, ow));
      for_each_element(p, p.gradient, od, oh, ow, [&](Index offset, Index) { out[offset] += share; });
    });
  });
}

template void avg_pool(const PoolProblem&, const float*, float*, int);
template void avg_pool(const PoolProblem&, const double*, double*, int);
template void avg_pool_backward(const PoolProblem&, const float*, float*, int);
template void avg_pool_backward(const PoolProblem&, const double*, double*, int);

}  // namespace fastconv
