// Gradients of maxima; see cell_table.hpp.
#include "cell_rows.hpp"
#include "lane_gradient.hpp"
#include "line_winners.hpp"
#include "part.hpp"
#include "roll_gradient.hpp"
#include "whole_planes.hpp"
#include "winners.hpp"

namespace {

template <class T>
constexpr fastconv::CellKernels<T> cells() {
  return {keys_to_cells<T>,    to_cells<T>,
          from_cells<T>,       winners<T>,
          line_winners<T>,     tell_winners<T>,
          deliver<T>,          {roll_gradient<T, 2, 2>, roll_gradient<T, 3, 1>, roll_gradient<T, 3, 2>},
          lane_winners<T>,     saved_lanes<T>,
          gather_lanes<T>,     whole_plane_maxima<T>,
          whole_plane_sums<T>, whole_plane_gradient<T>,
          fill_planes<T>};
}

}  // namespace

FASTCONV_PART(CellKernels, cells, cells)
