// Depthwise and narrow-group convolution: few channels in a group, so that a GEMM would have nothing to reuse.
//
// Windows of 3, 5 or 7 rows over one channel read rows of the image where they lie: rolling by
// (depthwise_rolling_rows.cpp) where registers are enough for it, and otherwise a few at a time (plane_rows.hpp,
// kernels/depthwise_rows.hpp). All others are convolved by shifted loads from a padded copy of the planes of a group in
// L1, block by block (plane_stage.hpp, kernels/shifted_tile.hpp).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "../problem.hpp"
#include "blocking.hpp"

namespace fastconv {

enum class DepthwiseKernel {
  kRollingRows,  // windows of 3, 5 or 7 rows over one plane: kernels/rolling_rows.hpp
  kRows,         // the same where that has no kernel: kernels/depthwise_rows.hpp
  kRuns,         // all others, along the flattened stage: kernels/shifted_tile.hpp
  kLanes,        // a group in each lane, for channels-last arrays and small planes: kernels/depthwise_lanes.hpp
  kChannels,     // a group's channels in the lanes, where they are enough: kernels/narrow_tile.hpp
};

struct DepthwisePlan {
  DepthwiseKernel kernel = DepthwiseKernel::kRuns;
  Index group_blocks = 0;
  Index block_groups = 1;  // of rolling rows
  Index block_height = 0, block_width = 0;
  Index blocks_h = 0, blocks_w = 0;
  Panels tasks;  // of blocks
  int threads = 1;
  std::size_t workspace = 0;  // bytes for each thread

  Index blocks(const Problem& p) const { return p.batch * group_blocks * p.depth().out * blocks_h * blocks_w; }
};

// Whether the problem is one for this algorithm; then plan is complete. A plan whose geometry serves the weights'
// gradient (not `forward`) has no channels in the lanes.
template <class T>
bool plan_depthwise(const Problem& p, int threads, DepthwisePlan& plan, bool forward = true);
// The same for the weights' gradient.
template <class T>
bool plan_depthwise_grad_weight(const Problem& p, int threads, DepthwisePlan& plan);

[[gnu::cold]] std::vector<std::pair<std::string, std::string>> explain(const Problem& p, const DepthwisePlan& plan);

// Whether groups are enough for the lanes, and lie so that it pays for results that a stride keeps apart.
template <class T>
bool fills_lanes(const Problem& p);

// Of planes; those of channels-last arrays do not.
inline bool columns_join(const ImageStrides& s) { return s.space[kWidth] == 1; }

// Windows of 3, 5 or 7 rows over one plane, whose rows roll by, some groups at a time; false where no kernel takes
// them.
template <class T>
bool choose_rolling_block(const Problem& p, int threads, DepthwisePlan& plan);
template <class T>
std::size_t rolling_rows_workspace(const Problem& p, const DepthwisePlan& plan);
template <class T>
void rolling_rows_forward(const Problem& p, const DepthwisePlan& plan, const Operands<T>& a);

// The gradient of the input where the stride is 2 and rows of dY roll by; false where no kernel takes it.
template <class T>
bool strided_grad_input(const Problem& forward, const T* grad_output, const T* w, const T* bias, T* grad_input,
                        int threads);

template <class T>
std::size_t lane_workspace(const Problem& p, const DepthwisePlan& plan);
template <class T>
void lane_forward(const Problem& p, const DepthwisePlan& plan, const Operands<T>& a);

// A group's channels in the lanes, see narrow_forward.cpp: whether they fill enough of a vector and are not so many
// that other roads are better (at most `most`; with strides above 1, which other roads take badly, some more).
template <class T>
bool fills_vectors(const Problem& p, Index most);
// Blocks whose stage has at most `most` elements; false where there are none.
template <class T>
bool choose_narrow_block(const Problem& p, Index most, DepthwisePlan& plan);
template <class T>
std::size_t narrow_workspace(const Problem& p, const DepthwisePlan& plan);
template <class T>
void narrow_forward(const Problem& p, const DepthwisePlan& plan, const Operands<T>& a);

// The gradient of the input for strides above 1 with groups in the lanes; false where other roads are as good.
template <class T>
bool depthwise_grad_input(const Problem& forward, const T* grad_output, const T* w, T* grad_input, int threads);

// grad_weight is laid out as p.w says, taps side by side. False where the problem is none for this algorithm.
template <class T>
bool depthwise_grad_weight(const Problem& p, const T* x, const T* grad_output, T* grad_weight, int threads);

template <class T>
void depthwise_forward(const Problem& p, const DepthwisePlan& plan, const Operands<T>& a);

}  // namespace fastconv
