#include <atomic>
#include <limits>
#include "../conv/plan.hpp"
#include "../parallel.hpp"
#include "oldwin.hpp"
namespace fastconv {
using namespace old;

namespace {

// The maxima of one chunk of an output row, so far. I is as wide as T where the plane allows, so that a
// comparison's mask serves both.
template <class T, class I>
struct RowMaxima {
  T value[kRowChunk];
  I index[kRowChunk];  // -1: no element yet
};

// Taps come in row-major order, so the first maximum is the one that only a greater value replaces. A NaN
// replaces everything but a NaN.
template <class T>
bool wins(T v, T best) {
  return (v > best) | ((v != v) & (best == best));
}

// Calls f(i, src[i * step]) for i < count, with the usual steps as constants, which makes vectors of them.
template <class T, class F>
void for_each_stepped(const T* src, Index count, Index step, F&& f) {
  if (step == 1) {
    for (Index i = 0; i < count; ++i) f(i, src[i]);
  } else if (step == 2) {
    for (Index i = 0; i < count; ++i) f(i, src[2 * i]);
  } else {
    for (Index i = 0; i < count; ++i) f(i, src[i * step]);
  }
}

template <class T, class I>
void find_indices(const PoolProblem& p, const Columns& columns, const T* x, Index od, Index oh, Index begin, Index end,
                  RowMaxima<T, I>& row) {
  std::fill_n(row.value, end - begin, -std::numeric_limits<T>::infinity());
  std::fill_n(row.index, end - begin, I{-1});
  for_each_tap(p, columns, p.x, od, oh, begin, end,
               [&](Index first, Index count, Index stride, Index offset, Index at) {
                 T* best = row.value + (first - begin);
                 I* index = row.index + (first - begin);
                 const I start = static_cast<I>(at), apart = static_cast<I>(stride);
                 for_each_stepped(x + offset, count, stride * p.x.space[kWidth], [&](Index i, T v) {
                   const bool take = wins(v, best[i]) | (index[i] < 0);
                   best[i] = take ? v : best[i];
                   index[i] = take ? static_cast<I>(start + static_cast<I>(i) * apart) : index[i];
                 });
               });
}

// Adds a row of gradients where its indices say; false if one lies outside the plane.
template <class T, class I>
bool add_row(const PoolProblem& p, const I* index, Index index_step, const T* dy, Index dy_step, Index count, T* dx) {
  const Index width = p.axis[kWidth].in, height = p.axis[kHeight].in;
  const bool dense = dense_plane(p, p.gradient);
  for (Index i = 0; i < count; ++i) {
    const Index at = index[i * index_step];
    if (at < -1 || at >= p.plane_size()) return false;
    if (at < 0) continue;
    const Index offset = dense ? at : offset_of(p.gradient, at / (width * height), at / width % height, at % width);
    dx[offset] += dy[i * dy_step];
  }
  return true;
}

template <class T, class I>
bool pool_plane_backward(const PoolProblem& p, const Columns& columns, const T* x, const Index* indices, const T* dy,
                         T* dx) {
  RowMaxima<T, I> row;
  bool valid = true;
  zero_plane(p, dx);
  for_each_row(p, [&](Index od, Index oh, Index begin, Index end) {
    const T* in = dy + offset_of(p.y, od, oh, begin);
    const Index step = p.y.space[kWidth];
    if (indices == nullptr) {
      find_indices(p, columns, x, od, oh, begin, end, row);
      add_row(p, row.index, 1, in, step, end - begin, dx);
    } else {
      const Index* index = indices + offset_of(p.indices, od, oh, begin);
      valid &= add_row(p, index, p.indices.space[kWidth], in, step, end - begin, dx);
    }
  });
  return valid;
}

bool narrow(const PoolProblem& p) { return p.plane_size() <= std::numeric_limits<std::int32_t>::max(); }

}  // namespace

template <class T>
bool max_pool_backward(const PoolProblem& p, const T* x, const Index* indices, const T* dy, T* dx, int threads) {
  std::atomic<bool> valid{true};
  const Columns columns = columns_of(p);
  parallel_for(useful_threads(pool_operations(p), p.planes(), threads), p.planes(), [&](Index plane) {
    const T* in = x + plane_offset(p, p.x, plane);
    const Index* index = indices == nullptr ? nullptr : indices + plane_offset(p, p.indices, plane);
    const T* gradient = dy + plane_offset(p, p.y, plane);
    T* out = dx + plane_offset(p, p.gradient, plane);
    const bool narrow_index = sizeof(T) == sizeof(std::int32_t) && narrow(p);
    const bool good = narrow_index ? pool_plane_backward<T, std::int32_t>(p, columns, in, index, gradient, out)
                                   : pool_plane_backward<T, std::int64_t>(p, columns, in, index, gradient, out);
    if (!good) valid.store(false, std::memory_order_relaxed);
  });
  return valid.load();
}

template bool max_pool_backward(const PoolProblem&, const float*, const Index*, const float*, float*, int);
template bool max_pool_backward(const PoolProblem&, const double*, const Index*, const double*, double*, int);


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

template void avg_pool_backward(const PoolProblem&, const float*, float*, int);
template void avg_pool_backward(const PoolProblem&, const double*, double*, int);


}
