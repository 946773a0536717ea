// Folds over windows; see pool_table.hpp.
#include "half_max.hpp"
#include "pad_rows.hpp"
#include "part.hpp"
#include "pool_fold.hpp"
#include "pool_pixels.hpp"
#include "pool_roll.hpp"
#include "pool_slide.hpp"

namespace {

template <class T, template <class, int> class State>
constexpr void set_roll(void (*(&roll)[fastconv::kRollWindows])(const Roll<T>&)) {
  roll[fastconv::kRoll2x2Stride2] = pool_roll<T, State, 2, 2>;
  roll[fastconv::kRoll3x3] = pool_roll<T, State, 3, 1>;
  roll[fastconv::kRoll3x3Stride2] = pool_roll<T, State, 3, 2>;
}

template <class T>
constexpr fastconv::PoolKernels<T> pool() {
  fastconv::PoolKernels<T> k{};
  k.max_halves = max_halves;
  k.pad_rows = pad_rows<T>;
  k.pool_pixels[fastconv::kFoldMax] = pool_pixels<T, Maxima>;
  k.pool_pixels[fastconv::kFoldSum] = pool_pixels<T, Sums>;
  set_roll<T, Maxima>(k.roll[fastconv::kFoldMax]);
  set_roll<T, MaximaWithPlaces>(k.roll[fastconv::kFoldMaxPlaces]);
  set_roll<T, Sums>(k.roll[fastconv::kFoldSum]);
  k.slide[fastconv::kFoldMax] = slide<T, Maxima>;
  k.slide[fastconv::kFoldSum] = slide<T, Sums>;
  k.fold[fastconv::kFoldMax] = fold<T, Leaf::kDense, Maxima>;
  k.fold[fastconv::kFoldMaxPlaces] = fold<T, Leaf::kDense, MaximaWithPlaces>;
  k.fold[fastconv::kFoldSum] = fold<T, Leaf::kDense, Sums>;
  k.fold_zip = fold_zip<T, Sums>;
  k.fold_pairs[fastconv::kFoldMax] = fold<T, Leaf::kPairs, Maxima>;
  k.fold_pairs[fastconv::kFoldMaxPlaces] = fold<T, Leaf::kPairs, MaximaWithPlaces>;
  k.fold_pairs[fastconv::kFoldSum] = fold<T, Leaf::kPairs, Sums>;
  return k;
}

}  // namespace

FASTCONV_PART(PoolKernels, pool, pool)
