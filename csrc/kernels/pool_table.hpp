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

// Rows of pooling windows, one window in each lane:
//
//   dst[row * ld_dst + i] = fold over taps (d, h, w) of
//       src[row * step + d * tap_step[0] + h * tap_step[1] + w * tap_step[2] + i]    for i < n
//
// or, in the kernels for pairs, ... + w + 2 * i]: neighbours in the lanes are two elements apart.
// A lane's place is the sum of what its row, its lane and the winning tap count for.
template <class T>
struct Fold {
  const T* src;
  std::ptrdiff_t step;
  std::ptrdiff_t taps[3], tap_step[3];
  std::ptrdiff_t rows, n;
  T* dst;
  std::ptrdiff_t ld_dst;
  // The memory that may be read and written in whole vectors; beyond it goes single elements. Lanes behind
  // the n-th receive garbage, for a later row to overwrite.
  const T* src_end;
  T* dst_end;
  // Sums only: factors, one for each row or (scale_lanes) for each lane; or null.
  const T* scale;
  bool scale_lanes;
  // Maxima with places only.
  std::ptrdiff_t place, place_row, place_lane, place_step[3];
  const PlaceOf<T>* src_place;  // to be added, laid out as src; or null
  PlaceOf<T>* dst_place;        // laid out as dst; or null, then
  std::int64_t* indices;
  std::ptrdiff_t ld_indices;
  // In the kernels that zip only: dst[2 * i + 1] is folded from `odd` elements further on, with odd_taps along
  // the width; and n counts elements of dst.
  std::ptrdiff_t odd, odd_taps;
};

// kFoldMatches sums the elements whose src_place is the lane's own place, which has no share of the taps.
enum FoldKind { kFoldMax, kFoldMaxPlaces, kFoldSum, kFoldMatches, kFoldKinds };

// Saved indices of rows of windows, made narrow: places[row * ld_places + i] = indices[row * ld_indices + i] for
// i < n. Whether each is -1 or lies in its own window, which starts at place + row * place_row + i * place_lane.
template <class T>
struct Places {
  const std::int64_t* indices;
  std::ptrdiff_t ld_indices;
  const std::int64_t* indices_end;  // of what may be read
  PlaceOf<T>* places;
  std::ptrdiff_t ld_places;
  std::ptrdiff_t rows, n;
  std::ptrdiff_t place, place_row, place_lane;
  std::ptrdiff_t taps[3], place_step[3];
};

template <class T>
struct PoolKernels {
  void (*fold[kFoldKinds])(const Fold<T>&);
  void (*fold_pairs[kFoldKinds])(const Fold<T>&);
  void (*fold_zip[kFoldKinds])(const Fold<T>&);
  bool (*take_places)(const Places<T>&);
};

}  // namespace fastconv
