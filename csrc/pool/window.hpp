// The windows of a pool, cut to the input.
#pragma once

#include <algorithm>

#include "../conv/blocking.hpp"
#include "pool.hpp"

namespace fastconv {

// Taps [first, last) of one axis that meet the input; the first meets element `at`.
struct Span {
  Index first, last, at;
};

inline Span span_of(const Axis& a, Index o) {
  const Index start = a.input_of(o, 0);
  const Index first = start >= 0 ? 0 : ceil_div(-start, a.dilation);
  const Index last = std::min(a.kernel, a.in > start ? ceil_div(a.in - start, a.dilation) : 0);
  return {first, std::max(first, last), start + first * a.dilation};
}

// Where element (d, h, w) lies in an array of these strides.
inline Index offset_of(const ImageStrides& s, Index d, Index h, Index w) {
  return d * s.space[kDepth] + h * s.space[kHeight] + w * s.space[kWidth];
}

// Calls f(offset in memory, flat index in the plane) for every input element of a window.
template <class F>
void for_each_element(const PoolProblem& p, const ImageStrides& s, Index od, Index oh, Index ow, F&& f) {
  const Axis &d = p.axis[kDepth], &h = p.axis[kHeight], &w = p.axis[kWidth];
  const Span sd = span_of(d, od), sh = span_of(h, oh), sw = span_of(w, ow);
  for (Index kd = sd.first, id = sd.at; kd < sd.last; ++kd, id += d.dilation) {
    for (Index kh = sh.first, ih = sh.at; kh < sh.last; ++kh, ih += h.dilation) {
      for (Index kw = sw.first, iw = sw.at; kw < sw.last; ++kw, iw += w.dilation) {
        f(offset_of(s, id, ih, iw), (id * h.in + ih) * w.in + iw);
      }
    }
  }
}

// Calls f(od, oh, ow) for every output of a plane.
template <class F>
void for_each_output(const PoolProblem& p, F&& f) {
  for (Index od = 0; od < p.axis[kDepth].out; ++od) {
    for (Index oh = 0; oh < p.axis[kHeight].out; ++oh) {
      for (Index ow = 0; ow < p.axis[kWidth].out; ++ow) f(od, oh, ow);
    }
  }
}

template <class T>
void zero_plane(const PoolProblem& p, T* dx) {
  for (Index d = 0; d < p.axis[kDepth].in; ++d) {
    for (Index h = 0; h < p.axis[kHeight].in; ++h) {
      for (Index w = 0; w < p.axis[kWidth].in; ++w) dx[offset_of(p.gradient, d, h, w)] = T(0);
    }
  }
}

inline Index plane_offset(const PoolProblem& p, const ImageStrides& s, Index plane) {
  return plane / p.channels * s.batch + plane % p.channels * s.channel;
}

inline double pool_operations(const PoolProblem& p) {
  return 4.0 * static_cast<double>(p.planes() * p.pixels()) *
         static_cast<double>(p.axis[0].kernel * p.axis[1].kernel * p.axis[2].kernel);
}

}  // namespace fastconv
