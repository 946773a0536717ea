// The windows of a pool, cut to the input.
#pragma once

#include <algorithm>

#include "../conv/blocking.hpp"
#include "pool.hpp"

namespace fastconv {

// Taps of one axis that meet the input: `count` of them, the first at element `at`.
struct Span {
  Index count, at;
  bool empty() const { return count <= 0; }
};

inline Span span_of(const Axis& a, Index o) {
  const Index start = a.input_of(o, 0);
  if (a.dilation == 1) {
    const Index at = std::max<Index>(start, 0);
    return {std::min(a.in, start + a.kernel) - at, at};
  }
  const Index first = start >= 0 ? 0 : ceil_div(-start, a.dilation);
  const Index last = std::min(a.kernel, a.in > start ? ceil_div(a.in - start, a.dilation) : 0);
  return {last - first, start + first * a.dilation};
}

// Input elements that the windows of outputs [begin, end) reach.
inline Range reach_of(const Axis& a, Index begin, Index end) {
  const Index first = std::clamp<Index>(a.input_of(begin, 0), 0, a.in);
  return {first, std::clamp(a.input_of(end - 1, a.kernel - 1) + 1, first, a.in)};
}

// Calls f(first, count, span) for runs of outputs of [begin, end), in order: those whose windows lie
// inside the input at once, the others one by one. `span` is the first one's.
template <class F>
void for_each_run(const Axis& a, Index begin, Index end, F&& f) {
  Range whole{0, a.out};
  if (a.padded()) {
    const Index room = a.in + a.pad - a.span();
    const Index pad = std::max<Index>(a.pad, 0);
    whole = a.stride <= 2 ? Range{(pad + a.stride - 1) >> (a.stride - 1), (room >> (a.stride - 1)) + 1}
                          : Range{ceil_div(pad, a.stride), room < 0 ? 0 : room / a.stride + 1};
  }
  for (Index o = begin; o < end;) {
    const bool inside = o >= whole.first && o < whole.last;
    const Index count = inside ? std::min(end, whole.last) - o : 1;
    f(o, count, inside ? Span{a.kernel, a.input_of(o, 0)} : span_of(a, o));
    o += count;
  }
}

// Where element (d, h, w) lies in an array of these strides.
inline Index offset_of(const ImageStrides& s, Index d, Index h, Index w) {
  return d * s.space[kDepth] + h * s.space[kHeight] + w * s.space[kWidth];
}

inline Index plane_offset(const PoolProblem& p, const ImageStrides& s, Index plane) {
  if (p.batch == 1) return plane * s.channel;  // without the divisions
  return plane / p.channels * s.batch + plane % p.channels * s.channel;
}

// Planes of rows that follow each other without gaps.
inline bool dense_planes(const ImageStrides& s, Index depth, Index height, Index width) {
  return (width == 1 || s.space[kWidth] == 1) && (height == 1 || s.space[kHeight] == width) &&
         (depth == 1 || s.space[kDepth] == height * width);
}

// A single window, which holds all of a plane.
inline bool whole_windows(const PoolProblem& p) {
  return std::all_of(p.axis.begin(), p.axis.end(),
                     [](const Axis& a) { return a.out == 1 && a.dilation == 1 && span_of(a, 0).count == a.in; });
}

}  // namespace fastconv
