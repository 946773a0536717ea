#include "gradient_panel.hpp"

#include <algorithm>

#include "../cpu.hpp"

namespace fastconv {
namespace {

constexpr Index kStridedTogether = 16;  // channels that are brought side by side before a transpose

// Rows of pixels that lie apart, packed to [pixel][width] by way of `pixels`, a few channels at a time.
template <class T>
void pack_strided_gradient(const Problem& p, const T* dy, const Rectangle& r, Index outputs, Index width, T* pixels,
                           T* to) {
  const Kernels<T>& k = kernels().of<T>();
  StageRows<T> rows{};
  rows.step = p.y.space[kWidth];
  rows.src_row = p.y.space[kHeight];
  rows.rows = r.height;
  rows.count = rows.dst_row = r.width;
  for (Index first = 0; first < outputs; first += kStridedTogether) {
    const Index some = std::min(kStridedTogether, outputs - first);
    for (Index i = 0; i < some; ++i) {
      rows.src = dy + (first + i) * p.y.channel;
      rows.dst = pixels + i * r.pixels();
      k.stage_rows(rows);
    }
    k.transpose({pixels, r.pixels(), some, r.pixels(), to + first, width, nullptr, false});
  }
  if (outputs == width) return;
  for (Index i = 0; i < r.pixels(); ++i) std::fill(to + i * width + outputs, to + (i + 1) * width, T(0));
}

// Pixels [0, pixels) of a run along a row of dY (or several that join), packed to [pixel][width].
template <class T>
void pack_gradient_run(const Problem& p, const T* dy, Index outputs, Index pixels, Index width, T* to) {
  const Index step = p.y.space[kWidth];
  const Kernels<T>& k = kernels().of<T>();
  if (step == 1) {
    k.transpose({dy, p.y.channel, outputs, pixels, to, width, nullptr, false});
  } else {
    k.copy({dy, step, pixels, outputs, to, width});
  }
  if (outputs == width) return;
  for (Index i = 0; i < pixels; ++i) std::fill(to + i * width + outputs, to + (i + 1) * width, T(0));
}

// The same of pairs: [pixel / 2][output][pixel % 2], moved as one number of twice the size.
template <class T>
void pack_gradient_pairs(const Problem& p, const T* dy, Index outputs, Index pixels, Index width, T* to) {
  kernels().f64.transpose({reinterpret_cast<const double*>(dy), p.y.channel / 2, outputs, pixels / 2,
                           reinterpret_cast<double*>(to), width / 2, nullptr, false});
  if (2 * outputs == width) return;
  for (Index i = 0; i < pixels / 2; ++i) std::fill(to + i * width + 2 * outputs, to + (i + 1) * width, T(0));
}

}  // namespace

Index strided_pixels(const Problem& p, Index most) { return strided_gradient(p) ? kStridedTogether * most : 0; }

template <class T>
void pack_gradient(const Problem& p, const T* dy, const Rectangle& r, Index together, Index output, Index outputs,
                   Index width, T* pixels, T* to) {
  const T* src = dy + r.n * p.y.batch + r.g * p.y.group + output * p.y.channel + r.od * p.y.space[kDepth] +
                 r.oh * p.y.space[kHeight] + r.ow * p.y.space[kWidth];
  if (together > 1) {
    pack_gradient_pairs(p, src, outputs, r.width, width, to);
    return;
  }
  if (strided_gradient(p)) {
    pack_strided_gradient(p, src, r, outputs, width, pixels, to);
    return;
  }
  if (r.width == p.width().out && p.y.space[kHeight] == r.width * p.y.space[kWidth]) {
    pack_gradient_run(p, src, outputs, r.pixels(), width, to);
    return;
  }
  for (Index i = 0; i < r.height; ++i) {
    pack_gradient_run(p, src + i * p.y.space[kHeight], outputs, r.width, width, to + i * r.width * width);
  }
}

template void pack_gradient(const Problem&, const float*, const Rectangle&, Index, Index, Index, Index, float*, float*);
template void pack_gradient(const Problem&, const double*, const Rectangle&, Index, Index, Index, Index, double*,
                            double*);

}  // namespace fastconv
