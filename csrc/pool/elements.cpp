// Pooling without vectors: arrays of any strides, windows of any size.
#include <limits>

#include "forward.hpp"

namespace fastconv {
namespace {

// Calls f(offset, index) for each element of a window, in row-major order; row() at the end of each row and
// slice() at the end of each depth.
template <class F, class R, class S>
void for_each_element(const PoolProblem& p, const ImageStrides& s, Index od, Index oh, Index ow, F&& f, R&& row,
                      S&& slice) {
  const Span d = span_of(p.depth(), od), h = span_of(p.height(), oh), w = span_of(p.width(), ow);
  for (Index kd = 0; kd < d.count; ++kd) {
    const Index id = d.at + kd * p.depth().dilation;
    for (Index kh = 0; kh < h.count; ++kh) {
      const Index ih = h.at + kh * p.height().dilation;
      for (Index kw = 0; kw < w.count; ++kw) {
        const Index iw = w.at + kw * p.width().dilation;
        f(offset_of(s, id, ih, iw), (id * p.height().in + ih) * p.width().in + iw);
      }
      row();
    }
    slice();
  }
}

// A sum whose first term is taken as it is: 0 + x would turn -0 into 0.
template <class T>
struct Chain {
  T sum = 0;
  bool empty = true;
  void add(T v) {
    sum = empty ? v : sum + v;
    empty = false;
  }
  T take() {
    empty = true;
    return sum;
  }
};

template <class T>
T window_sum(const PoolProblem& p, const T* x, Index od, Index oh, Index ow) {
  Chain<T> row, slice, window;
  for_each_element(
      p, p.x, od, oh, ow, [&](Index offset, Index) { row.add(x[offset]); }, [&] { slice.add(row.take()); },
      [&] { window.add(slice.take()); });
  return window.sum;
}

}  // namespace

template <class T>
Maximum<T> window_maximum(const PoolProblem& p, const T* x, Index od, Index oh, Index ow) {
  Maximum<T> best{-std::numeric_limits<T>::infinity(), -1};
  for_each_element(
      p, p.x, od, oh, ow,
      [&](Index offset, Index index) {
        const T v = x[offset];
        if (best.index < 0 || !(best.value >= v || best.value != best.value)) best = {v, index};
      },
      [] {}, [] {});
  return best;
}

template <class T>
void pool_elements(const PoolProblem& p, const PoolArrays<T>& a, Index plane) {
  const T* x = a.x + plane_offset(p, p.x, plane);
  T* y = a.y + plane_offset(p, p.y, plane);
  for (Index od = 0; od < p.depth().out; ++od) {
    for (Index oh = 0; oh < p.height().out; ++oh) {
      for (Index ow = 0; ow < p.width().out; ++ow) {
        T& out = y[offset_of(p.y, od, oh, ow)];
        if (a.kind == kFoldSum) {
          T factor = 1;
          RowFactors<T>(p, {ow, ow + 1}, &factor).of(od, oh);
          out = window_sum(p, x, od, oh, ow) * factor;
          continue;
        }
        const Maximum<T> best = window_maximum(p, x, od, oh, ow);
        out = best.value;
        if (a.indices == nullptr) continue;
        a.indices[plane_offset(p, p.indices, plane) + offset_of(p.indices, od, oh, ow)] = best.index;
      }
    }
  }
}

template <class T>
void repair_places(const PoolProblem& p, const T* x, Index od, Index oh, const Range& columns, const T* y,
                   Index* indices) {
  constexpr T least = -std::numeric_limits<T>::infinity();
  int found = 0;
  for (Index i = 0; i < columns.size(); ++i) found |= y[i] == least;
  for (Index i = 0; found != 0 && i < columns.size(); ++i) {
    if (y[i] == least) indices[i] = window_maximum(p, x, od, oh, columns.first + i).index;
  }
}

template Maximum<float> window_maximum(const PoolProblem&, const float*, Index, Index, Index);
template Maximum<double> window_maximum(const PoolProblem&, const double*, Index, Index, Index);
template void repair_places(const PoolProblem&, const float*, Index, Index, const Range&, const float*, Index*);
template void repair_places(const PoolProblem&, const double*, Index, Index, const Range&, const double*, Index*);
template void pool_elements(const PoolProblem&, const PoolArrays<float>&, Index);
template void pool_elements(const PoolProblem&, const PoolArrays<double>&, Index);

}  // namespace fastconv
