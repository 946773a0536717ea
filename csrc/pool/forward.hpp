// Forward pooling: which road a problem takes, and the roads. See csrc/README.md for the picture.
#pragma once

#include <optional>

#include "../cpu.hpp"
#include "../workspace.hpp"
#include "divisor.hpp"
#include "window.hpp"

namespace fastconv {

template <class T>
struct PoolArrays {
  FoldKind kind;
  const T* x;
  T* y;
  Index* indices;                  // kFoldMaxPlaces only
  const T* x_end = nullptr;        // of what may be read, if that is known
  Factors<T> whole = {};           // of rows of whole windows, if they are known
  const T* const* rows = nullptr;  // factors of each row of outputs; rolling averages only
};

enum class Road {
  kRolling,       // NCHW, small windows: vectors run along the rows and walk down
  kWidthLanes,    // NCHW: vectors run along the rows
  kChannelLanes,  // NHWC: vectors run over the channels
  kPlaneLanes,    // NCHW, where rows make poor vectors: several planes are transposed into the lanes
  kElements,      // anything else: one element after the other
};

struct PoolPlan {
  Road road = Road::kElements;
  bool staged = false;          // width lanes: rows are copied between margins first
  bool separable = false;       // rows are folded along the width once, then those results along height and depth
  Panels lanes, rows, columns;  // channels or planes (several only where a block holds all rows of them), output rows
                                // and output columns of a block
  Index group = 1;              // blocks of a task
  int threads = 1;
  std::size_t workspace = 0;

  Index blocks(const PoolProblem& p) const {
    return road == Road::kElements ? p.planes() : p.batch * lanes.count * p.depth().out * rows.count * columns.count;
  }
};

// The same with images as channels, where that changes nothing but the bookkeeping.
PoolProblem simplified(PoolProblem p);

template <class T>
PoolPlan plan_pool(const PoolProblem& p, FoldKind kind, int threads);

// One block of work: a rectangle of outputs at depth `od`, for some lanes of one image.
struct PoolBlock {
  Index batch;
  Range lanes;  // channels
  Index od;
  Range rows, columns;
};

// The small window that a problem's are, if its planes can be walked down.
std::optional<RollWindow> roll_window(const PoolProblem& p);

// One block along each road; `workspace` has at least the plan's bytes left.
template <class T>
void pool_rolling(const PoolProblem& p, const PoolPlan& plan, const PoolArrays<T>& a, const PoolBlock& block,
                  Workspace& workspace);
template <class T>
void pool_width_lanes(const PoolProblem& p, const PoolPlan& plan, const PoolArrays<T>& a, const PoolBlock& block,
                      Workspace& workspace);
template <class T>
void pool_channel_lanes(const PoolProblem& p, const PoolPlan& plan, const PoolArrays<T>& a, const PoolBlock& block,
                        Workspace& workspace);
template <class T>
void pool_plane_lanes(const PoolProblem& p, const PoolPlan& plan, const PoolArrays<T>& a, const PoolBlock& block,
                      Workspace& workspace);
// All of a problem whose windows are whole planes.
template <class T>
bool whole_planes_apply(const PoolProblem& p);
template <class T>
void pool_whole_planes(const PoolProblem& p, const PoolArrays<T>& a, int threads);
// Maxima of large windows and their places, float32 only; false if the windows are others, or a block is too large.
template <class T>
bool pool_large_windows(const PoolProblem& p, const PoolArrays<T>& a, int threads);
template <class T>
void pool_elements(const PoolProblem& p, const PoolArrays<T>& a, Index plane);

// The maximum of one window of a plane and where it lies, element by element.
template <class T>
struct Maximum {
  T value;
  Index index;  // -1: the window has no element
};
template <class T>
Maximum<T> window_maximum(const PoolProblem& p, const T* x, Index od, Index oh, Index ow);

// Where the maximum is -inf, padding may have come first: looks again, without it. A row of outputs of a plane, whose y
// and indices lie side by side.
template <class T>
void repair_places(const PoolProblem& p, const T* x, Index od, Index oh, const Range& columns, const T* y,
                   Index* indices);

}  // namespace fastconv
