// Gradients without vectors: of maxima at saved indices that lie anywhere, and of windows or strides that no vector
// fits.
#include "backward.hpp"

namespace fastconv {

template <class T>
void zero_gradient(const PoolProblem& p, T* dx, Index lanes) {
  const auto& s = p.gradient.space;
  if (lanes == 1 && dense_planes(p.gradient, p.depth().in, p.height().in, p.width().in)) {
    std::fill_n(dx, p.plane_size(), T(0));
    return;
  }
  if (lanes > 1 && s[kWidth] == 1 && p.gradient.channel != 1) {
    for (Index c = 0; c < lanes; ++c) zero_gradient(p, dx + c * p.gradient.channel, 1);
    return;
  }
  const bool rows = lanes == 1 && s[kWidth] == 1, pixels = p.gradient.channel == 1;
  for (Index d = 0; d < p.depth().in; ++d) {
    for (Index h = 0; h < p.height().in; ++h) {
      T* row = dx + d * s[kDepth] + h * s[kHeight];
      if (rows) std::fill_n(row, p.width().in, T(0));
      for (Index w = 0; w < p.width().in && !rows; ++w) {
        if (pixels) std::fill_n(row + w * s[kWidth], lanes, T(0));
        for (Index c = 0; c < lanes && !pixels; ++c) row[w * s[kWidth] + c * p.gradient.channel] = T(0);
      }
    }
  }
}

namespace {

// One row of windows: indices and gradients at steps from one to the next, and from one lane to the next.
struct Steps {
  Index index, index_lane, dy, dy_lane, dx, dx_lane;
};

// The same of kAbreast planes: an addition waits for the one before if their windows share a maximum, as neighbours
// often do.
template <class T>
bool add_row_abreast(const Index* index, const T* dy, T* dx, const Steps& step, Index count, Index plane) {
  const Index index_lane = step.index_lane, dy_lane = step.dy_lane, dx_lane = step.dx_lane;
  bool valid = true;
  for (Index i = 0; i < count; ++i) {
    const Index* from = index + i;
    const T* share = dy + i;
    T* to = dx;
#pragma GCC unroll 16
    for (Index c = 0; c < kAbreast; ++c, from += index_lane, share += dy_lane, to += dx_lane) {
      const Index at = *from;
      if (static_cast<std::uint64_t>(at) < static_cast<std::uint64_t>(plane)) [[likely]] {
        to[at] += *share;
      } else {
        valid = valid && at == -1;
      }
    }
  }
  return valid;
}

template <class T>
bool add_row(const Index* index, const T* dy, T* dx, const Steps& step, Index count, Index lanes, Index plane) {
  // Negative places are larger than any, without a sign.
  const auto inside = [=](Index at) { return static_cast<std::uint64_t>(at) < static_cast<std::uint64_t>(plane); };
  if (lanes == kAbreast && step.dx == 1 && step.index == 1 && step.dy == 1) {
    return add_row_abreast(index, dy, dx, step, count, plane);
  }
  if (lanes == 1 && step.dx == 1 && step.index == 1 && step.dy == 1) {
    for (Index i = 0; i < count; ++i) {
      const Index at = index[i];
      if (inside(at)) {
        dx[at] += dy[i];
      } else if (at != -1) {
        return false;
      }
    }
    return true;
  }
  if (step.dx_lane == 1 && step.index_lane == 1 && step.dy_lane == 1) {
    for (Index i = 0; i < count; ++i, index += step.index, dy += step.dy) {
      for (Index c = 0; c < lanes; ++c) {
        const Index at = index[c];
        if (inside(at)) [[likely]] {
          dx[at * step.dx + c] += dy[c];
        } else if (at != -1) {
          return false;
        }
      }
    }
    return true;
  }
  for (Index i = 0; i < count; ++i, index += step.index, dy += step.dy) {
    for (Index c = 0; c < lanes; ++c) {
      const Index at = index[c * step.index_lane];
      if (inside(at)) {
        dx[at * step.dx + c * step.dx_lane] += dy[c * step.dy_lane];
      } else if (at != -1) {
        return false;
      }
    }
  }
  return true;
}

}  // namespace

template <class T>
bool scatter_gradient(const PoolProblem& p, const GradientArrays<T>& a, Index batch, const Range& lanes) {
  // dx is ours: its pixels follow each other evenly.
  T* const dx = a.dx + batch * p.gradient.batch + lanes.first * p.gradient.channel;
  const T* const dy = a.dy + batch * p.y.batch + lanes.first * p.y.channel;
  const T* const x = a.x + batch * p.x.batch + lanes.first * p.x.channel;
  const Index* const saved =
      a.indices == nullptr ? nullptr : a.indices + batch * p.indices.batch + lanes.first * p.indices.channel;
  const Index width = p.width().out, count = lanes.size();
  Steps step{p.indices.space[kWidth],  p.indices.channel, p.y.space[kWidth], p.y.channel,
             p.gradient.space[kWidth], p.gradient.channel};
  zero_gradient(p, dx, count);
  for (Index od = 0; od < p.depth().out; ++od) {
    for (Index oh = 0; oh < p.height().out; ++oh) {
      const T* const row = dy + offset_of(p.y, od, oh, 0);
      if (saved != nullptr) {
        const Index* const index = saved + offset_of(p.indices, od, oh, 0);
        if (!add_row(index, row, dx, step, width, count, p.plane_size())) return false;
        continue;
      }
      for (Index ow = 0; ow < width; ++ow) {
        for (Index c = 0; c < count; ++c) {
          const Index index = window_maximum(p, x + c * p.x.channel, od, oh, ow).index;
          add_row(&index, row + ow * step.dy + c * step.dy_lane, dx + c * step.dx_lane, step, 1, 1, p.plane_size());
        }
      }
    }
  }
  return true;
}

template <class T>
void gather_elements(const PoolProblem& p, const GradientArrays<T>& a, Index plane) {
  const T* dy = a.dy + plane_offset(p, p.y, plane);
  T* dx = a.dx + plane_offset(p, p.gradient, plane);
  const auto holders = [&](std::size_t s, Index i) {
    const Range all = Holders{p.axis[s]}.of(i);
    return Range{std::max<Index>(all.first, 0), std::min(all.last, p.axis[s].out)};
  };
  const auto share = [&](Index od, Index oh, Index ow) {
    T factor = 1;
    RowFactors<T>(p, {ow, ow + 1}, &factor).of(od, oh);
    return dy[offset_of(p.y, od, oh, ow)] * factor;
  };
  for (Index id = 0; id < p.depth().in; ++id) {
    for (Index ih = 0; ih < p.height().in; ++ih) {
      for (Index iw = 0; iw < p.width().in; ++iw) {
        const Range d = holders(kDepth, id), h = holders(kHeight, ih), w = holders(kWidth, iw);
        T sum = 0;
        for (Index od = d.first; od < d.last; ++od) {
          T slice = 0;
          for (Index oh = h.first; oh < h.last; ++oh) {
            T row = 0;
            for (Index ow = w.first; ow < w.last; ++ow) row += share(od, oh, ow);
            slice += row;
          }
          sum += slice;
        }
        dx[offset_of(p.gradient, id, ih, iw)] = sum;
      }
    }
  }
}

#define FASTCONV_INSTANTIATE(T)                                                                      \
  template void zero_gradient(const PoolProblem&, T*, Index);                                        \
  template bool scatter_gradient(const PoolProblem&, const GradientArrays<T>&, Index, const Range&); \
  template void gather_elements(const PoolProblem&, const GradientArrays<T>&, Index);
FASTCONV_INSTANTIATE(float)
FASTCONV_INSTANTIATE(double)

}  // namespace fastconv
