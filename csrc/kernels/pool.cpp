// Folds over windows; see pool_table.hpp.
#include "pad_rows.hpp"
#include "part.hpp"
#include "pool_fold.hpp"
#include "unpool.hpp"

namespace {

template <class T>
constexpr fastconv::PoolKernels<T> pool() {
  fastconv::PoolKernels<T> k{};
  k.pad_rows = pad_rows<T>;
  k.fold[fastconv::kFoldMax] = fold<T, Leaf::kDense, Maxima>;
  k.fold[fastconv::kFoldMaxPlaces] = fold<T, Leaf::kDense, MaximaWithPlaces>;
  k.fold[fastconv::kFoldSum] = fold<T, Leaf::kDense, Sums>;
  k.fold_zip = fold_zip<T, Sums>;
  k.unpool = unpool<T>;
  k.unpool_pairs = unpool_pairs<T>;
  k.fold_pairs[fastconv::kFoldMax] = fold<T, Leaf::kPairs, Maxima>;
  k.fold_pairs[fastconv::kFoldMaxPlaces] = fold<T, Leaf::kPairs, MaximaWithPlaces>;
  k.fold_pairs[fastconv::kFoldSum] = fold<T, Leaf::kPairs, Sums>;
  return k;
}

}  // namespace

FASTCONV_PART(PoolKernels, pool, pool)
