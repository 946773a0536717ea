// Kernels of pooling: folds over the taps of windows.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastconv {

// Where a maximum lies: integers as wide as the elements, so that a comparison's mask serves both.
template <class T>
struct PlaceType {
  using type = std::int64_t;
};
template <>
struct PlaceType<float> {
  using type = std::int32_t;
};
template <class T>
using PlaceOf = typename PlaceType<T>::type;

// Planes of rows of pooling windows, one window in each lane:
//
//   dst[plane * dst_plane + row * ld_dst + i] = fold over taps (d, h, w) of
//       src[plane * src_plane + row * step + d * tap_step[0] + h * tap_step[1] + w * tap_step[2] + i]    for i < n
//
// or, in the kernels for pairs, ... + w + 2 * i]: neighbours in the lanes are two elements apart.
// A lane's place is the sum of what its plane, its row, its lane and the winning tap count for. dst may be src, if no
// step leads backwards and n is a multiple of whole vectors.
template <class T>
struct Fold {
  const T* src;
  std::ptrdiff_t step;
  std::ptrdiff_t taps[3], tap_step[3];
  std::ptrdiff_t planes, rows, n;
  std::ptrdiff_t src_plane, dst_plane;
  T* dst;
  std::ptrdiff_t ld_dst;
  // Rows shorter than a vector only: the memory that may be read and written in whole vectors; beyond it goes single
  // elements. Lanes behind the n-th receive garbage, for a later row to overwrite.
  const T* src_end;
  T* dst_end;
  // Sums only: factors, one for each row or (scale_lanes) for each lane; or null.
  const T* scale;
  bool scale_lanes;
  // Maxima with places only.
  std::ptrdiff_t place, place_plane, place_row, place_lane, place_step[3];
  const PlaceOf<T>* src_place;  // to be added, laid out as src; or null
  PlaceOf<T>* dst_place;        // laid out as dst; or null, then
  std::int64_t* indices;
  std::ptrdiff_t indices_plane, ld_indices;
  const std::int64_t* indices_end;  // as dst_end
  // In the kernels that zip only: dst[2 * i + 1] is folded from `odd` elements further on, with odd_taps along
  // the width; and n counts elements of dst. So do the rows, if row_kinds is 2: the odd ones are folded from `odd_row`
  // elements further on, with odd_row_taps along the height, and `step` leads two rows of dst on.
  std::ptrdiff_t odd, odd_taps;
  std::ptrdiff_t row_kinds, odd_row, odd_row_taps;
};

enum FoldKind { kFoldMax, kFoldMaxPlaces, kFoldSum, kFoldKinds };

// Gradients, one window in each lane: `outer` times `rows` rows of windows, n windows each. For each tap,
//
//   dx[o * dx_step[0] + row * dx_step[1] + tap + i] = dy[o * dy_step[0] + row * dy_step[1] + i] * scale or 0    for i <
//   n
//
// or += that, where `add` says so. Of maxima one tap gets it: the largest in x, or that of the saved `indices`, with
// the place of the first tap at `place`, steps and place_lane. Without either all taps do. At most kMostUnpoolTaps
// taps.
constexpr int kMostUnpoolTaps = 64;
template <class T>
struct Unpool {
  const T* x;                   // laid out by steps and taps of its own; or null
  const std::int64_t* indices;  // instead of x; or null
  const T* dy;
  T* dx;
  std::ptrdiff_t outer, rows, n;
  std::ptrdiff_t x_step[2], indices_step[2], dy_step[2], dx_step[2], place_step[2];
  std::ptrdiff_t taps[3], x_tap[3], dx_tap[3], place_tap[3];
  std::ptrdiff_t place, place_lane;
  T scale;
  bool add;
  // In the kernel for pairs: the lanes behind the n-th of every row but the last of each plane may be read, and may
  // receive garbage, since they are taps of the next row, which is written later.
  bool spill;
};

// Small windows of planes whose rows are contiguous, one in each lane. Each row of x is folded along the width once, in
// registers, and what comes out is combined with that of the next rows; taps outside x are padding.
enum RollWindow { kRoll2x2Stride2, kRoll3x3, kRoll3x3Stride2, kRollWindows };
template <class T>
struct Roll {
  const T* x;  // row 0, column 0 of the first plane
  std::ptrdiff_t x_plane, x_row, height, width, pad_top, pad_left;
  const T *x_begin, *x_end;  // of what may be read
  T* y;                      // row `first` of the first plane
  std::ptrdiff_t y_plane, y_row;
  std::ptrdiff_t planes, first, rows, n;
  T padding;
  const T* const* scale;  // sums only: the factors of each row
  std::int64_t* indices;  // maxima with places only, as y
  std::ptrdiff_t indices_plane, indices_row;
  // Rows shorter than a vector only, as in Fold.
  T* y_end;
  const std::int64_t* indices_end;
};

// Windows [begin, end) of lines of `in` pixels: of each line n and lane l,
//
//   y[n * y_line + (i - begin) * y_step + l] = y_scale[i - begin][n] * fold over taps of
//       x_scale[n][i * stride - pad + tap] * x[n * x_line + (i * stride - pad + tap) * x_step + l]
//
// cut to the line. taps are more than pad, and 3 or more where the stride is 1; lanes are at least a vector's, and y
// lies elsewhere. The factors are the sums', and 1 where there are none (null); those of x, for stride 1 only, turn -0
// into 0.
template <class T>
struct Slide {
  const T* x;
  T* y;
  std::ptrdiff_t in, begin, end, taps, stride, pad;
  std::ptrdiff_t lines, lanes;
  std::ptrdiff_t x_line, x_step, y_line, y_step;
  const T* const* x_scale;
  const T* const* y_scale;
};

// Slices of rows, copied between margins: dst gets `lead` elements of padding, then the rows, `pitch` apart, of
// slices that are dst_slice apart, with padding wherever there is no row; and up to a vector of padding more.
template <class T>
struct PadRows {
  const T* src;
  std::ptrdiff_t outer, inner;  // slices
  std::ptrdiff_t src_step[3];   // from one outer slice, inner slice and row to the next
  std::ptrdiff_t rows, count;
  const T* src_end;  // of what may be read, or null
  T* dst;
  std::ptrdiff_t lead, pitch, dst_slice;
  T padding;
  const T* const* scale;  // factors of each row; or null
};

// A convolution's sums, sums[row][column][width] with `channels` in the lanes: bias and ReLU, then each window of 2x2
// becomes one pixel of sums[row / 2][column / 2][width], times `scale`, in place. What an odd row or column leaves over
// is dropped. Vectors reach beyond `channels`.
template <class T>
struct PoolPixels {
  T* sums;
  std::ptrdiff_t rows, columns, width, channels;
  const T* bias;  // or null
  bool relu;
  T scale;  // 1 for maxima
};

// Maxima of float16, as its bits, in three steps: rows of x, which follow each other without gaps, become integers
// of the same order, between margins that never win; they are folded along the width,
//
//   folded[outer * folded_pitch + inner * run + i] = max over taps of keys[outer * pitch + inner * inner_step + tap *
//   tap_step + i]
//
// (or ... + 2 * i, of pairs); and along the height into rows of y without gaps. Vectors are read and written up to
// their width behind keys and folded.
struct HalfMax {
  const std::int16_t *x, *x_end;
  std::ptrdiff_t planes, rows, count;  // rows of a plane, elements of a row
  std::int16_t* keys;
  std::ptrdiff_t lead, pitch;
  std::int16_t* folded;
  std::ptrdiff_t folded_pitch, outer, inner, inner_step, run, taps, tap_step;
  bool pairs;
  std::int16_t *y, *y_end;
  std::ptrdiff_t out_rows, n, first_row, row_step, row_taps, row_tap_step;
};

template <class T>
struct PoolKernels {
  void (*max_halves)(const HalfMax&);
  void (*pool_pixels[kFoldKinds])(const PoolPixels<T>&);  // maxima and sums
  void (*roll[kFoldKinds][kRollWindows])(const Roll<T>&);
  void (*slide[kFoldKinds])(const Slide<T>&);  // maxima and sums
  void (*pad_rows)(const PadRows<T>&);
  void (*fold[kFoldKinds])(const Fold<T>&);
  void (*fold_pairs[kFoldKinds])(const Fold<T>&);
  void (*fold_zip)(const Fold<T>&);  // sums
};

template <class T>
struct UnpoolKernels {
  // Whether each saved index is -1 or lies in its own window. In the kernel for pairs the lanes' windows are two
  // elements apart and two wide, and nothing is added.
  bool (*unpool)(const Unpool<T>&);
  bool (*unpool_pairs)(const Unpool<T>&);
};

}  // namespace fastconv
