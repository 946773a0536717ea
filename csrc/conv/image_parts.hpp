// What the weights' gradients of depthwise and narrow-group convolutions share: images cut into parts by the shape
// alone, sums folded to doubles, parts added in order.
#pragma once

#include <algorithm>

#include "../problem.hpp"
#include "blocking.hpp"

namespace fastconv {

constexpr Index kVectorsPerFold = 1024;  // 128 additions in a chain, for tiles of 8 vectors

struct Images {
  Index first, end;
};

// Parts of the batch, for some tasks of `blocks` of groups each.
inline Panels image_parts(const Problem& p, Index blocks) {
  constexpr Index kPartTasks = 16;
  return Panels(p.batch, std::max<Index>(1, p.batch * blocks / kPartTasks));
}

// totals += sums; sums = 0
template <class T>
void fold_sums(T* sums, Index n, double* totals) {
  for (Index i = 0; i < n; ++i) totals[i] += static_cast<double>(sums[i]);
  std::fill_n(sums, n, T(0));
}

// All parts, `size` sums each, into the first.
template <class T>
void add_image_parts(T* sums, Index parts, Index size) {
  for (Index part = 1; part < parts; ++part) {
    for (Index i = 0; i < size; ++i) sums[i] += sums[part * size + i];
  }
}

// One sum for a weight, pixel by pixel: where vectors have met a zero too many beside an infinite or NaN input.
template <class T>
double exact_tap_sum(const Problem& p, const T* x, const T* dy, Index g, Images images, Index o, Index k) {
  const Axis &d = p.depth(), &h = p.height(), &w = p.width();
  const Index s = k % w.kernel, r = k / w.kernel % h.kernel, q = k / (w.kernel * h.kernel) % d.kernel;
  double total = 0;
  for (Index n = images.first; n < images.end; ++n) {
    const T* plane = x + n * p.x.batch + g * p.x.group + k / p.taps() * p.x.channel;
    const T* outputs = dy + n * p.y.batch + g * p.y.group + o * p.y.channel;
    for (Index od = 0; od < d.out; ++od) {
      for (Index oh = 0; oh < h.out; ++oh) {
        for (Index ow = 0; ow < w.out; ++ow) {
          const Index id = d.input_of(od, q), ih = h.input_of(oh, r), iw = w.input_of(ow, s);
          const bool inside = id >= 0 && id < d.in && ih >= 0 && ih < h.in && iw >= 0 && iw < w.in;
          const T value =
              inside ? plane[id * p.x.space[kDepth] + ih * p.x.space[kHeight] + iw * p.x.space[kWidth]] : T(0);
          total +=
              static_cast<double>(value) *
              static_cast<double>(outputs[od * p.y.space[kDepth] + oh * p.y.space[kHeight] + ow * p.y.space[kWidth]]);
        }
      }
    }
  }
  return total;
}

}  // namespace fastconv
