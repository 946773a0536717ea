// Kernels that move elements, or add them up.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastconv {

// dst[col * ld_dst + row * step] = src[row * ld_src + col], plus what a finished output needs.
template <class T>
struct Transpose {
  const T* src;
  std::ptrdiff_t ld_src;
  std::ptrdiff_t rows, cols;
  T* dst;
  std::ptrdiff_t ld_dst;
  const T* bias;  // or null; one for each col
  bool relu;
  std::ptrdiff_t step = 1;
};

// dst[row * ld_dst + i] = src[row * ld_src + i] for i < count.
template <class T>
struct Copy {
  const T* src;
  std::ptrdiff_t ld_src;
  std::ptrdiff_t rows, count;
  T* dst;
  std::ptrdiff_t ld_dst;
};

// dst[column * lanes + lane] = src[lane * channel + column]: planes of channels become pixels with a vector of
// channels. Lanes beyond `channels` repeat the last channel. With `place`, a column goes to dst + place[column].
template <class T>
struct Interleave {
  const T* src;
  std::ptrdiff_t channel;
  std::ptrdiff_t channels, columns;
  T* dst;
  const std::ptrdiff_t* place = nullptr;
};

// Rows of a plane on their way into a stage: `count` elements, `step` apart, `left` zeros before and zeros behind them
// up to `dst_row`, and less than a vector of zeros behind the last row.
template <class T>
struct StageRows {
  const T* src;
  std::ptrdiff_t step, src_row;
  std::ptrdiff_t rows, count;
  T* dst;
  std::ptrdiff_t dst_row, left;
};

// The pixels of `lanes` planes, `plane` apart, and the vectors that hold them: pixel i of all planes is at at[i].
template <class T>
struct PlanesToLanes {
  std::ptrdiff_t plane, lanes, pixels;
  const std::ptrdiff_t* at;
};

// Of each run, place after place: sum[run * sum_run + place * sum_place + i] += src[run * src_run + place * src_place +
// i] for i < count. The sums of neighbouring places may overlap.
template <class T>
struct AddRuns {
  const T* src;
  std::ptrdiff_t src_run, src_place;
  std::ptrdiff_t runs, places, count;
  T* sum;
  std::ptrdiff_t sum_run, sum_place;
};

// float16, as its bits: dst[i] = src[i] for i < n.
template <class T>
struct HalfKernels {};
template <>
struct HalfKernels<float> {
  void (*widen)(const std::uint16_t* src, std::ptrdiff_t n, float* dst);
  void (*narrow)(const float* src, std::ptrdiff_t n, std::uint16_t* dst);  // to the nearest, ties to even
};

template <class T>
struct MoveKernels : HalfKernels<T> {
  void (*transpose)(const Transpose<T>&);
  void (*interleave)(const Interleave<T>&);
  void (*copy)(const Copy<T>&);
  void (*take_every)(const T* src, std::ptrdiff_t step, std::ptrdiff_t count, T* dst);  // dst[i] = src[i * step]
  void (*stage_rows)(const StageRows<T>&);
  void (*planes_to_lanes)(const PlanesToLanes<T>&, const T* planes, T* lanes);  // lanes behind t.lanes are zero
  void (*lanes_to_planes)(const PlanesToLanes<T>&, const T* lanes, T* planes);
  void (*sum_lanes)(const T* vectors, std::ptrdiff_t n, T* totals);  // the sum of each of n vectors
  void (*add_rows)(const T* src, std::ptrdiff_t n, T* sum);          // sum[i] += src[i]
  void (*add_runs)(const AddRuns<T>&);
  void (*sum_rows)(const T* src, std::ptrdiff_t ld, std::ptrdiff_t rows, std::ptrdiff_t n, T* totals);  // of n elements
};

}  // namespace fastconv
