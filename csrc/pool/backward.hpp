// Backward pooling: of averages, every element of dx is gathered from the windows that hold it; of maxima, every window
// gives its dy to one element.
#pragma once

#include <optional>

#include "forward.hpp"

namespace fastconv {

// kFoldMaxPlaces: of the maximum; `indices` null means that they are found again from x. kFoldSum: of the average.
template <class T>
struct GradientArrays {
  FoldKind kind;
  const T* x;
  const Index* indices;
  const T* dy;
  T* dx;
  // Averages whose gradient is gathered: factors at each depth of the outputs, and the end of dy, if that is known.
  const std::deque<PlaneFactors<T>>* factors = nullptr;
  const T* dy_end = nullptr;
};

// Outputs [first(i), last(i)) are those whose windows hold input i; without dilation. They may lie outside
// the output.
struct Holders {
  const Axis& a;
  // Shifts where they do: a division takes as long as a short row.
  static Index floor_div(Index n, Index d) {
    if (d <= 2) return n >> (d - 1);
    return n >= 0 ? n / d : -((-n + d - 1) / d);
  }
  Index first(Index i) const { return floor_div(i + a.pad - a.kernel, a.stride) + 1; }
  Index last(Index i) const { return floor_div(i + a.pad, a.stride) + 1; }
  Range of(Index i) const { return {first(i), last(i)}; }
};

inline double taps_of(const PoolProblem& p) {
  return static_cast<double>(p.depth().kernel) * static_cast<double>(p.height().kernel) *
         static_cast<double>(p.width().kernel);
}

constexpr double kFewTaps = 16;  // with more, maxima are found along one axis after the other

// Windows of 3x3 with stride 1 over planes whose rows leave much of a vector empty: maxima are better found with planes
// in the lanes, and saved indices followed one by one.
template <class T>
bool short_rows(const PoolProblem& p) {
  constexpr double kUse = 0.6;
  const Axis &h = p.height(), &w = p.width();
  const Index lanes = kernels().of<T>().lanes;
  return sizeof(T) == sizeof(float) && h.kernel == 3 && w.kernel == 3 && h.stride == 1 && w.stride == 1 &&
         p.gradient.channel != 1 && 2 * p.channels > lanes && lane_use(w.out, lanes) < kUse;
}

// Planes that would fill a vector, with rows of windows that leave half of one empty: saved indices are better followed
// one by one, and windows that leave something of a row over are better off with planes in the lanes.
template <class T>
bool short_outputs(const PoolProblem& p) {
  const Index lanes = kernels().of<T>().lanes;
  return p.gradient.channel != 1 && p.pixels() > 1 && 2 * p.width().out <= lanes && 2 * p.channels > lanes;
}

struct GradientPlan {
  bool gather = false;
  Road road = Road::kElements;
  Panels lanes, rows;  // channels, and rows of dx, of a block
  Index group = 1;
  int threads = 1;
  std::size_t workspace = 0;
};

template <class T>
GradientPlan plan_gradient(const PoolProblem& p, const GradientArrays<T>& a, int threads);

// Rows [first, last) of dx at depth `id`, of some lanes of an image. Averages only.
struct GradientBlock {
  Index batch;
  Range lanes;
  Index id;
  Range rows;
};
template <class T>
void gather_gradient(const PoolProblem& p, const GradientPlan& plan, const GradientArrays<T>& a,
                     const GradientBlock& block);

// All of dx, of maxima, or averages that do not overlap: false if a saved index lies outside its window, nothing if no
// vector fits.
template <class T>
std::optional<bool> unpool_gradient(const PoolProblem& p, const GradientArrays<T>& a, int threads);

// All of dx, of maxima that are found again: false if some stride is too long, or a block of few windows too large.
template <class T>
bool route_gradient(const PoolProblem& p, const GradientArrays<T>& a, int threads);

// The same of small windows of planes whose rows are contiguous, whose places may be saved (of 3x3 ones, where vectors
// are long); false if these are others, or a saved index lies outside its window.
template <class T>
bool roll_gradient(const PoolProblem& p, const GradientArrays<T>& a, int threads);

// The same of small windows with channels in the lanes, whose places may be saved (of 3x3 ones, where vectors are
// long); false if these are others, or a saved index lies outside its window.
template <class T>
bool lane_gradient(const PoolProblem& p, const GradientArrays<T>& a, int threads);

// The same of 3x3 windows with stride 2 and channels in the lanes, of whole vectors, float32 only; false if these are
// others, or there is NaN.
template <class T>
bool lane_strips_gradient(const PoolProblem& p, const GradientArrays<T>& a, int threads);

// The same of windows that are whole planes, of maxima that are found again; false if these are others.
template <class T>
bool whole_planes_gradient(const PoolProblem& p, const GradientArrays<T>& a, int threads);

// The same of large windows that overlap, float32 only; false if these are others, or a block is too large.
template <class T>
bool large_window_gradient(const PoolProblem& p, const GradientArrays<T>& a, int threads);

// The same of averages over 3x3 with stride 1, of planes whose rows are contiguous; false if these are others.
template <class T>
bool rolling_average_gradient(const PoolProblem& p, const GradientArrays<T>& a, int threads);

// All of dx, of windows that are whole images with channels in the lanes; false if these are others, or a saved index
// lies outside its image.
template <class T>
bool whole_images_gradient(const PoolProblem& p, const GradientArrays<T>& a, int threads);

// Some lanes of an image become 0.
template <class T>
void zero_gradient(const PoolProblem& p, T* dx, Index lanes);

// Some lanes of an image, of any strides: dx is zeroed, then each window adds to it, in row-major order. False if
// an index lies outside the plane. Maxima only.
template <class T>
bool scatter_gradient(const PoolProblem& p, const GradientArrays<T>& a, Index batch, const Range& lanes);
constexpr Index kAbreast = 16;  // planes of saved indices that it follows side by side

// Averages of any strides, element by element.
template <class T>
void gather_elements(const PoolProblem& p, const GradientArrays<T>& a, Index plane);

// Elements of the piece of dy that a block works on: columns, and rows at one depth.
struct GradientPiece {
  Range rows, columns;
};
GradientPiece gradient_piece(const PoolProblem& p, const Range& rows);

}  // namespace fastconv
