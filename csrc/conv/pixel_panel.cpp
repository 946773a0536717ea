#include "pixel_panel.hpp"

#include <algorithm>

#include "../cpu.hpp"

namespace fastconv {
namespace {

// A tap's place, and whether its row exists for a given output row.
struct Tap {
  Index id, kh, kw;
};

Tap tap_at(const Problem& p, Index od, Index t) {
  const Index kw = p.width().kernel, kh = p.height().kernel;
  return {p.depth().input_of(od, t / (kw * kh)), t / kw % kh, t % kw};
}

// What meets no input: the padding, and lanes behind the last pixel.
template <class T>
void clear_columns(Index rows, Index count, Index ld, T* dst) {
  if (count == 0) return;
  for (Index i = 0; i < rows; ++i, dst += ld) std::fill_n(dst, count, T(0));
}

// Lanes [0, count) of one tap, all channels of the block: output columns ow.. of output row oh.
template <class T>
void pack_segment(const Problem& p, const T* image, const Reduction::Block& b, const Tap& tap, Index oh, Index ow,
                  Index count, Index ld, T* dst) {
  const Index ih = p.height().input_of(oh, tap.kh);
  const Axis& w = p.width();
  Index before = count, inside = 0;
  if (tap.id >= 0 && tap.id < p.depth().in && ih >= 0 && ih < p.height().in) {
    const Index start = w.input_of(ow, tap.kw);
    before = std::clamp<Index>(ceil_div(std::max<Index>(-start, 0), w.stride), 0, count);
    const Index end = w.in - start <= 0 ? 0 : ceil_div(w.in - start, w.stride);
    inside = std::clamp<Index>(end - before, 0, count - before);
  }
  clear_columns(b.channels, before, ld, dst);
  clear_columns(b.channels, count - before - inside, ld, dst + before + inside);
  if (inside == 0) return;
  const Index step = w.stride * p.x.space[kWidth];
  const T* const src = image + b.channel * p.x.channel + tap.id * p.x.space[kDepth] + ih * p.x.space[kHeight] +
                       w.input_of(ow + before, tap.kw) * p.x.space[kWidth];
  const Kernels<T>& k = kernels().of<T>();
  dst += before;
  if (step == 1) {
    k.copy({src, p.x.channel, b.channels, inside, dst, ld});
  } else if (p.x.channel == 1) {  // pixels are rows of channels
    k.transpose({src, step, inside, b.channels, dst, ld, nullptr, false});
  } else {
    for (Index c = 0; c < b.channels; ++c, dst += ld) k.take_every(src + c * p.x.channel, step, inside, dst);
  }
}

}  // namespace

template <class T>
void pack_pixels(const Problem& p, const T* x, const PixelRun& run, const Reduction::Block& b, Index width, T* panel) {
  const T* image = x + run.n * p.x.batch + run.g * p.x.group;
  const Index row_width = p.width().out;
  clear_columns(b.depth(), width - run.count, width, panel + run.count);
  for (Index t = 0; t < b.taps; ++t) {
    const Tap tap = tap_at(p, run.od, b.tap + t);
    Index done = 0;
    while (done < run.count) {
      const Index oh = (run.first + done) / row_width, ow = (run.first + done) % row_width;
      const Index count = std::min(row_width - ow, run.count - done);
      pack_segment(p, image, b, tap, oh, ow, count, b.taps * width, panel + t * width + done);
      done += count;
    }
  }
}

template <class T>
const T* row_of_pixels(const Problem& p, const T* x, const PixelRun& run, const Reduction::Block& b) {
  return x + run.n * p.x.batch + run.g * p.x.group + p.depth().input_of(run.od, 0) * p.x.space[kDepth] +
         p.height().input_of(0, 0) * p.x.space[kHeight] + p.width().input_of(run.first, 0) + b.channel * p.x.channel;
}

template <class T>
Ahead pixels_ahead(const Problem& p, const T* x, const PixelRun& run, const Reduction::Block& b) {
  const Axis &w = p.width(), &d = p.depth();
  const bool rows = p.height().kernel == 1 && p.height().out == 1 && p.height().pad == 0;
  if (!rows || p.x.space[kWidth] != 1) return {};
  const Index first = std::max<Index>(w.input_of(run.first, 0), 0);
  const Index end = std::min(w.input_of(run.first + run.count - 1, w.kernel - 1) + 1, w.in);
  const Index slice = std::max<Index>(d.input_of(run.od, 0), 0);
  const Index slices = std::min(d.input_of(run.od, d.kernel - 1) + 1, d.in) - slice, step = p.x.space[kDepth];
  if (end <= first || slices <= 0) return {};
  const T* image = x + run.n * p.x.batch + run.g * p.x.group + b.channel * p.x.channel + first;
  if (d.kernel > 1 && d.in <= d.kernel + 1 && p.x.channel == d.in * step) {  // nearly all slices, which lie together
    return {image + slice * step, (b.channels - 1) * d.in + slices, end - first, step};
  }
  return {image + (slice + slices - 1) * step, b.channels, end - first, p.x.channel};
}

template const float* row_of_pixels(const Problem&, const float*, const PixelRun&, const Reduction::Block&);
template const double* row_of_pixels(const Problem&, const double*, const PixelRun&, const Reduction::Block&);
template Ahead pixels_ahead(const Problem&, const float*, const PixelRun&, const Reduction::Block&);
template Ahead pixels_ahead(const Problem&, const double*, const PixelRun&, const Reduction::Block&);
template void pack_pixels(const Problem&, const float*, const PixelRun&, const Reduction::Block&, Index, float*);
template void pack_pixels(const Problem&, const double*, const PixelRun&, const Reduction::Block&, Index, double*);

}  // namespace fastconv
