// A padded copy of the input of some rows of outputs, for VL groups at once: stage[channel][row][column][lane].
//
// Strides and dilations are steps of whole vectors here, so nothing is deinterleaved. Columns have a margin where the
// input is padded; it is cleared once, for all that a task stages. Padding is resolved here.
#pragma once

#include <algorithm>

#include "../kernels/table.hpp"
#include "../problem.hpp"
#include "blocking.hpp"

namespace fastconv {

class LaneStage {
 public:
  LaneStage(const Problem& p, Index height, Index lanes)
      : lanes_(lanes),
        margin_(std::max<Index>(p.width().pad, 0)),
        rows_((height - 1) * p.height().stride + p.height().span()),
        columns_(margin_ + std::max(p.width().in, p.width().input_of(p.width().out - 1, p.width().kernel - 1) + 1)) {}

  Index row() const { return columns_ * lanes_; }
  Index channel() const { return rows_ * row(); }
  Index elements(const Problem& p) const { return p.channels * channel(); }
  // Pixels of the input that a stage can hold: the length of copy's table.
  Index pixels(const Problem& p) const { return rows_ * p.width().in; }

  // Where the taps of the first output's window lie, channel by channel.
  void tap_offsets(const Problem& p, Index* to) const {
    for (Index c = 0; c < p.channels; ++c) {
      for (Index r = 0; r < p.height().kernel; ++r) {
        for (Index s = 0; s < p.width().kernel; ++s) {
          const Index column = margin_ + p.width().input_of(0, s);
          *to++ = c * channel() + r * p.height().dilation * row() + column * lanes_;
        }
      }
    }
  }
  // Where input pixels lie, counted from the first one of the first row.
  void pixel_offsets(const Problem& p, Index* to) const {
    for (Index r = 0; r < rows_; ++r) {
      for (Index j = 0; j < p.width().in; ++j) *to++ = r * row() + j * lanes_;
    }
  }

  // Copies rows of the groups whose first starts at x, for the outputs from row oh; `at` as pixel_offsets made it.
  template <class T>
  void copy(const Problem& p, const Kernels<T>& k, const T* x, Index oh, Index groups, const Index* at, T* to) const;

 private:
  Index lanes_, margin_, rows_, columns_;
};

// For the channels of one group in the lanes instead of groups: their planes are as far apart.
inline ImageStrides channels_as_groups(ImageStrides s) {
  s.group = s.channel;
  return s;
}

// `rows` x `width` pixels of `groups` planes (strides s; the first at `planes`) and their vectors, `row` from a row to
// the next and side by side within it. `at` addresses those vectors pixel by pixel.
template <class T>
struct LaneBlock {
  const ImageStrides& s;
  Index groups, rows, width, row, lanes;
  const Index* at;

  void gather(const Kernels<T>& k, const T* planes, T* to) const;
  void scatter(const Kernels<T>& k, const T* from, T* planes) const;

 private:
  bool joined() const { return rows == 1 || s.space[kHeight] == width; }
  PlanesToLanes<T> planes_of(Index pixels) const { return {s.group, groups, pixels, at}; }
};

template <class T>
void LaneBlock<T>::gather(const Kernels<T>& k, const T* planes, T* to) const {
  if (s.space[kWidth] == 1 && joined()) {
    k.planes_to_lanes(planes_of(rows * width), planes, to);
    return;
  }
  for (Index i = 0; i < rows; ++i, to += row) {
    const T* from = planes + i * s.space[kHeight];
    if (s.space[kWidth] == 1 && s.group != 1) {
      k.planes_to_lanes(planes_of(width), from, to);
    } else if (s.group == 1) {
      k.copy({from, s.space[kWidth], width, groups, to, lanes});
    } else {
      for (Index j = 0; j < width; ++j) {
        for (Index l = 0; l < groups; ++l) to[j * lanes + l] = from[l * s.group + j * s.space[kWidth]];
      }
    }
  }
}

template <class T>
void LaneBlock<T>::scatter(const Kernels<T>& k, const T* from, T* planes) const {
  if (s.space[kWidth] == 1 && joined()) {
    k.lanes_to_planes(planes_of(rows * width), from, planes);
    return;
  }
  for (Index i = 0; i < rows; ++i, from += row) {
    T* to = planes + i * s.space[kHeight];
    if (s.space[kWidth] == 1 && s.group != 1) {
      k.lanes_to_planes(planes_of(width), from, to);
    } else if (s.group == 1) {
      k.copy({from, lanes, width, groups, to, s.space[kWidth]});
    } else {
      for (Index j = 0; j < width; ++j) {
        for (Index l = 0; l < groups; ++l) to[l * s.group + j * s.space[kWidth]] = from[j * lanes + l];
      }
    }
  }
}

template <class T>
void LaneStage::copy(const Problem& p, const Kernels<T>& k, const T* x, Index oh, Index groups, const Index* at,
                     T* to) const {
  const Index first = p.height().input_of(oh, 0);
  const Index begin = std::clamp<Index>(-first, 0, rows_);
  const Index end = std::clamp<Index>(p.height().in - first, begin, rows_);
  const LaneBlock<T> block{p.x, groups, end - begin, p.width().in, row(), lanes_, at};
  for (Index c = 0; c < p.channels; ++c, to += channel()) {
    std::fill(to, to + begin * row(), T(0));
    std::fill(to + end * row(), to + channel(), T(0));
    if (begin == end) continue;
    const T* from = x + c * p.x.channel + (first + begin) * p.x.space[kHeight];
    block.gather(k, from, to + begin * row() + margin_ * lanes_);
  }
}

}  // namespace fastconv
