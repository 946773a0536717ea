// The windows of a pool, cut to the input, walked row by row of the output.
#pragma once

#include <algorithm>
#include <vector>

#include "../conv/blocking.hpp"
#include "pool.hpp"

namespace fastconv { namespace old {

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

// Outputs [first, last) of one axis whose tap k meets the input.
struct Reach {
  Index first, last;
};

inline Reach reach_of(const Axis& a, Index k) {
  const Index start = a.input_of(0, k);
  const Index first = start >= 0 ? 0 : ceil_div(-start, a.stride);
  const Index last = std::min(a.out, a.in > start ? ceil_div(a.in - start, a.stride) : 0);
  return {first, std::max(first, last)};
}

// For every column of the kernel; worked out once a call, as divisions are slow. Empty for a kernel that is
// much wider than the input: most of its columns meet nothing, and it may have 2^40 of them.
using Columns = std::vector<Reach>;

inline Columns columns_of(const PoolProblem& p) {
  Columns columns;
  if (p.axis[kWidth].kernel > 2 * p.axis[kWidth].in) return columns;
  for (Index k = 0; k < p.axis[kWidth].kernel; ++k) columns.push_back(reach_of(p.axis[kWidth], k));
  return columns;
}

// Where element (d, h, w) lies in an array of these strides.
inline Index offset_of(const ImageStrides& s, Index d, Index h, Index w) {
  return d * s.space[kDepth] + h * s.space[kHeight] + w * s.space[kWidth];
}

// Output columns of one row are handled this many at a time, so that a row's state stays in L1.
constexpr Index kRowChunk = 256;

// Calls f(first, count, step, offset, index) for each tap of the windows of outputs (od, oh, ow) with ow in
// [begin, end): the tap meets the input for outputs first .. first + count - 1, at `offset` in memory and
// `index` in the plane for the first of them, `step` apart in both for the next.
template <class F>
void for_each_tap(const PoolProblem& p, const Columns& columns, const ImageStrides& s, Index od, Index oh, Index begin,
                  Index end, F&& f) {
  const Axis &d = p.axis[kDepth], &h = p.axis[kHeight], &w = p.axis[kWidth];
  const Span sd = span_of(d, od), sh = span_of(h, oh);
  for (Index kd = sd.first, id = sd.at; kd < sd.last; ++kd, id += d.dilation) {
    for (Index kh = sh.first, ih = sh.at; kh < sh.last; ++kh, ih += h.dilation) {
      const auto call = [&](Index first, Index count, Index iw) {
        f(first, count, w.stride, offset_of(s, id, ih, iw), (id * h.in + ih) * w.in + iw);
      };
      for (Index kw = 0; kw < static_cast<Index>(columns.size()); ++kw) {
        const Reach reach = columns[static_cast<std::size_t>(kw)];
        const Index first = std::max(begin, reach.first), last = std::min(end, reach.last);
        if (first < last) call(first, last - first, w.input_of(first, kw));
      }
      if (!columns.empty()) continue;
      for (Index ow = begin; ow < end; ++ow) {  // output by output instead
        const Span sw = span_of(w, ow);
        for (Index kw = sw.first, iw = sw.at; kw < sw.last; ++kw, iw += w.dilation) call(ow, 1, iw);
      }
    }
  }
}

// Calls f(od, oh, begin, end) for every chunk of every row of a plane of outputs.
template <class F>
void for_each_row(const PoolProblem& p, F&& f) {
  const Index width = p.axis[kWidth].out;
  for (Index od = 0; od < p.axis[kDepth].out; ++od) {
    for (Index oh = 0; oh < p.axis[kHeight].out; ++oh) {
      for (Index ow = 0; ow < width; ow += kRowChunk) f(od, oh, ow, std::min(width, ow + kRowChunk));
    }
  }
}

// A plane whose elements follow each other in row-major order: an index is an offset.
inline bool dense_plane(const PoolProblem& p, const ImageStrides& s) {
  return s.space[kWidth] == 1 && s.space[kHeight] == p.axis[kWidth].in &&
         (p.axis[kDepth].in == 1 || s.space[kDepth] == p.axis[kWidth].in * p.axis[kHeight].in);
}

template <class T>
void zero_plane(const PoolProblem& p, T* dx) {
  if (dense_plane(p, p.gradient)) {
    std::fill_n(dx, p.plane_size(), T(0));
    return;
  }
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

}}
