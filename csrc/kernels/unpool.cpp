// Gradients of pools, window by window; see pool_table.hpp.
#include "unpool.hpp"
#include "part.hpp"

namespace {

template <class T>
constexpr fastconv::UnpoolKernels<T> unpools() {
  return {unpool<T>, unpool_pairs<T>};
}

}  // namespace

FASTCONV_PART(UnpoolKernels, unpool, unpools)
