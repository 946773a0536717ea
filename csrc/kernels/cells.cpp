// Gradients of maxima; see cell_table.hpp.
#include "cell_rows.hpp"
#include "column_gradient.hpp"
#include "lane_gradient.hpp"
#include "lane_strips.hpp"
#include "line_winners.hpp"
#include "part.hpp"
#include "roll_gradient.hpp"
#include "slide_winners.hpp"
#include "strip_gradient.hpp"
#include "whole_planes.hpp"
#include "winners.hpp"

namespace {

template <class T>
constexpr fastconv::CellKernels<T> cells() {
  fastconv::CellKernels<T> k{};
  k.keys_to_cells = keys_to_cells<T>;
  k.to_cells = to_cells<T>;
  k.from_cells = from_cells<T>;
  k.winners = winners<T>;
  if constexpr (kLineWinners<T>) {
    k.line_winners = line_winners<T>;
    k.slide_winners = slide_winners<T>;
    k.tell_winners = tell_winners<T>;
    if constexpr (kPicksLanes) k.column_gradient = column_gradient<T>;
  }
  k.deliver = deliver<T>;
  k.roll_gradient[fastconv::kGradient2x2Stride2] = roll_gradient<T, 2, 2>;
  k.roll_gradient[fastconv::kGradient3x3] = roll_gradient<T, 3, 1>;
  k.roll_gradient[fastconv::kGradient3x3Stride2] = roll_gradient<T, 3, 2>;
  if constexpr (kByStrips<T, 2, 2>) k.strip_gradient[fastconv::kGradient2x2Stride2] = strip_gradient<T, 2>;
  if constexpr (kByStrips<T, 3, 2>) k.strip_gradient[fastconv::kGradient3x3Stride2] = strip_gradient<T, 3>;
  if constexpr (kLaneStrips<T>) k.lane_strips = lane_strips<T>;
  k.lane_winners = lane_winners<T>;
  k.saved_lanes = saved_lanes<T>;
  k.gather_lanes = gather_lanes<T>;
  k.whole_plane_maxima = whole_plane_maxima<T>;
  k.whole_plane_sums = whole_plane_sums<T>;
  k.whole_plane_gradient = whole_plane_gradient<T>;
  k.fill_planes = fill_planes<T>;
  return k;
}

}  // namespace

FASTCONV_PART(CellKernels, cells, cells)
