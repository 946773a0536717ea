// Average pooling: each plane on its own, row by row of the output, tap by tap along the row.
#include "../conv/direct_plan.hpp"
#include "../parallel.hpp"
#include "window.hpp"

namespace fastconv {
namespace {

// How many elements the window has with its padding, which ends `pad_after` behind the input.
Index padded_extent(const Axis& a, Index pad_after, Index o) {
  const Index start = a.input_of(o, 0);
  return std::min(start + a.kernel, a.in + pad_after) - start;
}

// A double: a window may be padded to more elements than 64 bits count.
double divisor_of(const PoolProblem& p, Index od, Index oh, Index ow) {
  if (p.divisor != 0) return static_cast<double>(p.divisor);
  const std::array<Index, kSpatial> o{od, oh, ow};
  double count = 1;
  for (std::size_t s = 0; s < kSpatial; ++s) {
    const Span inside = span_of(p.axis[s], o[s]);
    count *= static_cast<double>(p.count_include_pad ? padded_extent(p.axis[s], p.pad_after[s], o[s])
                                                     : inside.last - inside.first);
  }
  return count;
}

}  // namespace

template <class T>
void avg_pool(const PoolProblem& p, const T* x, T* y, int threads) {
  const Columns columns = columns_of(p);
  parallel_for(useful_threads(pool_operations(p), p.planes(), threads), p.planes(), [&](Index plane) {
    T sum[kRowChunk];
    const T* in = x + plane_offset(p, p.x, plane);
    for_each_row(p, [&](Index od, Index oh, Index begin, Index end) {
      std::fill_n(sum, end - begin, T(0));
      for_each_tap(p, columns, p.x, od, oh, begin, end,
                   [&](Index first, Index count, Index stride, Index offset, Index) {
                     const Index step = stride * p.x.space[kWidth];
                     for (Index i = 0; i < count; ++i) sum[first - begin + i] += in[offset + i * step];
                   });
      T* out = y + plane_offset(p, p.y, plane) + offset_of(p.y, od, oh, begin);
      for (Index i = 0; i < end - begin; ++i) {
        out[i * p.y.space[kWidth]] = sum[i] / static_cast<T>(divisor_of(p, od, oh, begin + i));
      }
    });
  });
}

template <class T>
void avg_pool_backward(const PoolProblem& p, const T* dy, T* dx, int threads) {
  const Columns columns = columns_of(p);
  parallel_for(useful_threads(pool_operations(p), p.planes(), threads), p.planes(), [&](Index plane) {
    T share[kRowChunk];
    T* out = dx + plane_offset(p, p.gradient, plane);
    zero_plane(p, out);
    for_each_row(p, [&](Index od, Index oh, Index begin, Index end) {
      const T* in = dy + plane_offset(p, p.y, plane) + offset_of(p.y, od, oh, begin);
      for (Index i = 0; i < end - begin; ++i) {
        share[i] = in[i * p.y.space[kWidth]] / static_cast<T>(divisor_of(p, od, oh, begin + i));
      }
      for_each_tap(p, columns, p.gradient, od, oh, begin, end,
                   [&](Index first, Index count, Index stride, Index offset, Index) {
                     const Index step = stride * p.gradient.space[kWidth];
                     for (Index i = 0; i < count; ++i) out[offset + i * step] += share[first - begin + i];
                   });
    });
  });
}

template void avg_pool(const PoolProblem&, const float*, float*, int);
template void avg_pool(const PoolProblem&, const double*, double*, int);
template void avg_pool_backward(const PoolProblem&, const float*, float*, int);
template void avg_pool_backward(const PoolProblem&, const double*, double*, int);

}  // namespace fastconv
