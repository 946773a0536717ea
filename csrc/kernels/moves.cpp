// Moves and sums; see move_table.hpp.
#include "add_runs.hpp"
#include "copy.hpp"
#include "gather.hpp"
#include "half.hpp"
#include "interleave.hpp"
#include "part.hpp"
#include "planes_to_lanes.hpp"
#include "reduce.hpp"
#include "stage_rows.hpp"
#include "transpose.hpp"

namespace {

template <class T>
constexpr fastconv::MoveKernels<T> moves() {
  fastconv::MoveKernels<T> k{};
  k.transpose = transpose_block<T>;
  k.interleave = interleave<T>;
  k.copy = copy_rows<T>;
  k.take_every = take_every<T>;
  k.stage_rows = stage_rows<T>;
  k.planes_to_lanes = planes_to_lanes<T>;
  k.lanes_to_planes = lanes_to_planes<T>;
  k.sum_lanes = sum_lanes<T>;
  k.add_rows = add_rows<T>;
  k.add_runs = add_runs<T>;
  k.sum_rows = sum_rows<T>;
  if constexpr (sizeof(T) == sizeof(float)) {
    k.widen = widen_halves;
    k.narrow = narrow_to_halves;
  }
  return k;
}

}  // namespace

FASTCONV_PART(MoveKernels, moves, moves)
