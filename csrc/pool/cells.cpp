#include "cells.hpp"

namespace fastconv {

CellAxis::CellAxis(const Axis& a, Index extent)
    : axis_(a), extent_(extent), blocks_(ceil_div(a.in, extent)), shift_(extent / a.stride) {
  windows_ = {floor_div(a.pad - a.span(), a.stride) + 1, (extent - 1 + a.pad) / a.stride + 1};
  x_ = {windows_.first * a.stride - a.pad, (windows_.last - 1) * a.stride - a.pad + a.span()};
  if (extent == a.in) {
    windows_ = {std::clamp<Index>(windows_.first, 0, a.out), std::min(windows_.last, a.out)};
    x_ = {std::max<Index>(x_.first, 0), std::min(x_.last, a.in)};
  }
  // The first and the last cell with an element of some phase.
  const Index first = floor_div(std::min<Index>(x_.first, 0) + a.pad, a.stride);
  const Index last = (std::max(x_.last, extent) - 1 + a.pad) / a.stride;
  origin_ = std::min(windows_.first, first);
  const Index before = first - origin_, after = std::max<Index>(0, windows_.last - 1 + reach() - last);
  cells_ = std::max(last + 1 - origin_ + after - std::min(before, after), windows_.last - origin_);
}

CellAxis::Block CellAxis::block(Index i) const {
  const Index start = i * extent_, shift = i * shift_;
  Block b{{start, std::min(axis_.in, start + extent_)}, {}, {}, origin_ + shift};
  b.windows.first = std::clamp<Index>(windows_.first + shift, 0, axis_.out);
  b.windows.last = std::clamp<Index>(windows_.last + shift, b.windows.first, axis_.out);
  b.x.first = std::clamp<Index>(x_.first + start, 0, axis_.in);
  b.x.last = std::clamp<Index>(x_.last + start, b.x.first, axis_.in);
  return b;
}

CellGrid::CellGrid(const PoolProblem& p, const std::array<Index, kSpatial>& extent, Index lanes_, Index planes_,
                   Index vector)
    : lanes(lanes_), planes(planes_) {
  Index distance = lanes;
  for (std::size_t s = kSpatial; s-- > 0;) {
    axis[s] = CellAxis(p.axis[s], extent[s]);
    step[s] = distance;
    reach += axis[s].reach() * distance;
    phases *= axis[s].stride();
    distance *= axis[s].cells();
  }
  plane = distance;
  size = round_up(planes * plane, vector) + round_up(reach, vector) + vector;
}

}  // namespace fastconv
