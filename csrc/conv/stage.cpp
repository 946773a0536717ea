#include "stage.hpp"

#include <algorithm>
#include <cstring>

#include "../cpu.hpp"

namespace fastconv {
namespace {

template <class T>
const T* image(const Problem& p, const T* x, const Rectangle& r) {
  return x + r.n * p.x.batch + r.g * p.x.group;
}

// One staged row of every channel: [zeros | input columns | zeros].
template <class T>
struct Row {
  Index before, inside, after;
  const T* src;  // of the first column inside
};

// `ih` and `id` may lie in the padding; then nothing is inside.
template <class T>
Row<T> row_of(const Problem& p, const T* image, Index id, Index ih, Index iw, Index columns) {
  Row<T> row{columns, 0, 0, nullptr};
  const Index width = p.width().in;
  if (id < 0 || id >= p.depth().in || ih < 0 || ih >= p.height().in) return row;
  row.before = std::clamp<Index>(-iw, 0, columns);
  row.inside = std::clamp<Index>(width - (iw + row.before), 0, columns - row.before);
  row.after = columns - row.before - row.inside;
  row.src = image + id * p.x.space[kDepth] + ih * p.x.space[kHeight] + (iw + row.before) * p.x.space[kWidth];
  return row;
}

// Channels as planes, one after the other: dst[channel * plane + (slice * rows + row) * columns + column].
template <class T>
void copy_planar(const Problem& p, const T* image, const Rectangle& r, Index rows, Index columns, Index plane, T* dst) {
  const Index ih = p.height().input_of(r.oh, 0), iw = p.width().input_of(r.ow, 0);
  const Index above = std::clamp<Index>(-ih, 0, rows);
  const Index inside = std::clamp<Index>(p.height().in - (ih + above), 0, rows - above);
  for (Index c = 0; c < p.channels; ++c, dst += plane) {
    T* to = dst;
    for (Index kd = 0; kd < p.depth().kernel; ++kd, to += rows * columns) {
      const Row<T> row = row_of(p, image + c * p.x.channel, p.depth().input_of(r.od, kd), ih + above, iw, columns);
      const Index n = row.inside > 0 ? inside : 0, before = n > 0 ? above : 0;
      std::fill_n(to, before * columns, T(0));
      if (n > 0) {
        kernels().of<T>().stage_rows({row.src, p.x.space[kWidth], p.x.space[kHeight], n, row.inside,
                                      to + before * columns, columns, row.before});
      }
      std::fill_n(to + (before + n) * columns, (rows - before - n) * columns, T(0));
    }
  }
}

// Channels innermost, as in NHWC: dst[((slice * rows + row) * columns + column) * channels + channel].
template <class T>
void copy_interleaved(const Problem& p, const T* image, const Rectangle& r, Index rows, Index columns, T* dst) {
  const Index c = p.channels;
  for (Index kd = 0; kd < p.depth().kernel; ++kd) {
    const Index id = p.depth().input_of(r.od, kd);
    for (Index i = 0; i < rows; ++i, dst += columns * c) {
      const Row<T> row = row_of(p, image, id, p.height().input_of(r.oh, 0) + i, p.width().input_of(r.ow, 0), columns);
      std::fill_n(dst, row.before * c, T(0));
      std::fill_n(dst + (row.before + row.inside) * c, row.after * c, T(0));
      if (row.inside == 0) continue;
      kernels().of<T>().copy({row.src, p.x.space[kWidth], row.inside, c, dst + row.before * c, c});
    }
  }
}

}  // namespace

template <class T>
Windows<T> Stage::windows(const Problem& p, const T* x, const Rectangle& r) {
  const Index at = p.depth().input_of(r.od, 0) * p.x.space[kDepth] + p.height().input_of(r.oh, 0) * p.x.space[kHeight] +
                   p.width().input_of(r.ow, 0) * p.x.space[kWidth];
  return {image(p, x, r) + at, p.x.channel, p.depth().dilation * p.x.space[kDepth], p.x.space[kHeight],
          p.x.space[kWidth]};
}

template <class T>
Windows<T> Stage::copy(const Problem& p, const T* x, const Rectangle& r, T* to) {
  const Index rows = Stage::rows(p, r.height), columns = Stage::columns(p, r.width);
  const Index plane = Stage::plane(p, r.height, r.width);
  const bool interleaved = p.x.channel == 1 && p.channels > 1;
  const Index channel = interleaved ? 1 : plane;
  const Index column = interleaved ? p.channels : 1;
  const T* source = image(p, x, r);
  if (interleaved) {
    copy_interleaved(p, source, r, rows, columns, to);
  } else {
    copy_planar(p, source, r, rows, columns, plane, to);
  }
  return {to, channel, rows * columns * column, columns * column, column};
}

template Windows<float> Stage::windows(const Problem&, const float*, const Rectangle&);
template Windows<double> Stage::windows(const Problem&, const double*, const Rectangle&);
template Windows<float> Stage::copy(const Problem&, const float*, const Rectangle&, float*);
template Windows<double> Stage::copy(const Problem&, const double*, const Rectangle&, double*);

}  // namespace fastconv
