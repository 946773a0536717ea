// Pooling as a value, and the functions over it. Padding never takes part: a window is cut to the
// input before anything is compared or added.
#pragma once

#include "../problem.hpp"

namespace fastconv {

struct PoolProblem {
  Index batch = 1, channels = 1;
  std::array<Axis, kSpatial> axis{};
  std::array<Index, kSpatial> pad_after{};
  ImageStrides x, y;               // `group` is unused
  ImageStrides indices, gradient;  // of max_pool's indices, of the dx that is written
  bool count_include_pad = true;
  Index divisor = 0;  // 0: the number of elements in the window

  const Axis& depth() const { return axis[kDepth]; }
  const Axis& height() const { return axis[kHeight]; }
  const Axis& width() const { return axis[kWidth]; }
  Index planes() const { return batch * channels; }
  Index pixels() const { return axis[0].out * axis[1].out * axis[2].out; }
  Index plane_size() const { return axis[0].in * axis[1].in * axis[2].in; }
};

// The maximum of each window, and unless `indices` is null where it lies: the flat index in the input
// plane. The first maximum in row-major order wins; so does the first NaN. A window
// without a single input element (dilation can step over them all) gives -inf and index -1.
template <class T>
void max_pool(const PoolProblem& p, const T* x, T* y, Index* indices, int threads);

// The same for float16, as its bits, in arrays without gaps. Blocks of x become float32 in the cache, and nowhere else.
void max_pool_half(const PoolProblem& p, bool channels_last, const std::uint16_t* x, std::uint16_t* y, Index* indices,
                   int threads);

// Adds each element of dy to the element of dx that won its window; indices as above, or null to
// find them again from x. Returns false, with dx unspecified, if an index lies outside the plane.
template <class T>
bool max_pool_backward(const PoolProblem& p, const T* x, const Index* indices, const T* dy, T* dx, int threads);

// Averages: the divisor is `divisor`, or counts the window as torch does (with count_include_pad the
// padding too, but not what hangs over the padded input's edge).
template <class T>
void avg_pool(const PoolProblem& p, const T* x, T* y, int threads);

template <class T>
void avg_pool_backward(const PoolProblem& p, const T* dy, T* dx, int threads);

}  // namespace fastconv
