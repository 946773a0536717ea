// Kernels of the gradients of maxima, over cells; see pool/cells.hpp for what a cell is.
#pragma once

#include <cstddef>

#include "pool_table.hpp"

namespace fastconv {

constexpr int kMostStreams = 8;
constexpr int kMostSources = 32;

// Rows of pixels between an array and cells. Pixel m of row r has its `lanes` elements, of which `count` exist, at
//
//   row_stream[r % row_streams] + r / row_streams * cell_row + stream[m % streams] + m / streams * lanes
//
// Cells are written in whole vectors, with padding behind each row; a later row may lie there.
struct CellRows {
  std::ptrdiff_t planes, rows, pixels, lanes, count;
  std::ptrdiff_t array_plane, array_row, array_pixel;
  std::ptrdiff_t cell_plane, cell_row;
  int row_streams, streams;
  std::ptrdiff_t row_stream[kMostStreams], stream[kMostStreams];
};

// winner[i] = the place of the largest of key[0][i], key[1][i], ..., the earliest of equal ones, for i < n; and
// best[i] = its key. The place of key[s][i] is place[s][i], or first[s] + base[i] where `places` is false,
// first[s] + i if base is null. All of it in whole vectors. best and winner may be a source's arrays if no source lies
// before them.
template <class T>
struct Winners {
  int sources;
  bool places;
  const PlaceOf<T>* key[kMostSources];
  const PlaceOf<T>* place[kMostSources];
  PlaceOf<T> first[kMostSources];
  const PlaceOf<T>* base;  // or null
  PlaceOf<T>* best;        // or null
  PlaceOf<T>* winner;
  std::ptrdiff_t n;
};

// A line of pixels, a vector each, `pixel` elements apart: the winner of each window of `taps` of them, the first of
// which starts `pad` before the first pixel, and its key. Places are first, plus pixel_place and lane_place for each
// pixel and lane. `keys` and `suffix` have room for a vector of each pixel, and two of each tap. Every window has at
// least one pixel, and pad < taps.
template <class T>
struct LineWinners {
  const T* x;
  std::ptrdiff_t pixel, pixels, taps, stride, pad, windows;
  PlaceOf<T> first, pixel_place, lane_place;
  PlaceOf<T>*keys, *suffix;
  PlaceOf<T>*best, *winner;
};

// The winners of windows [begin, end) of lines of `in` pixels, a vector each, which slide by one pixel, laid out as
// Slide tells. A pixel's place lies beside it at x_place; or if that is null, it is `place` plus line_place and
// pixel_place for each line and pixel. Each lane adds its number times lane_place. y may be null.
template <class T>
struct SlideWinners {
  const T* x;
  const PlaceOf<T>* x_place;
  T* y;
  PlaceOf<T>* y_place;
  std::ptrdiff_t in, begin, end, taps, pad;
  std::ptrdiff_t lines;
  std::ptrdiff_t x_line, x_step, y_line, y_step;
  std::ptrdiff_t place, line_place, pixel_place, lane_place;
};

// A row of windows that slide by one pixel, planes or channels in the lanes, of which `lanes` exist; all else are rows
// of vectors, dy with 0 in the others. Each column of the row has a maximum, `value`, and `place` is where in dx. What
// the windows give to it is added to its column's `sum`, which becomes next_sum; when no more windows can choose an
// element, it goes to dx, which is 0 before. `before` are the places of the row before, -1 for the first one; a row
// without windows, whose places are -1, comes last. `most` and `winner` have room for the windows, `finished` for the
// columns and a vector more.
template <class T>
struct ColumnGradient {
  std::ptrdiff_t columns, windows, taps, pad, lanes;
  const T* value;
  const PlaceOf<T>*place, *before;
  const T* dy;
  const T* sum;
  T* next_sum;
  T* dx;
  T* most;
  PlaceOf<T>*winner, *finished;
};

// Planes of windows, whose winners are elements of planes of x: indices[i] = winner[i] and, unless x is
// null, y[i] = x[winner[i]].
template <class T>
struct TellWinners {
  const PlaceOf<T>* winner;
  const T* x;
  T* y;
  std::int64_t* indices;
  std::ptrdiff_t planes, n, winner_plane, x_plane, y_plane, indices_plane;
};

// dx[i] = sum over s of dy[i - back[s]], if winner[i - back[s]] is first + i. In whole vectors.
template <class T>
struct Deliver {
  int sources;
  std::ptrdiff_t back[kMostSources];
  const PlaceOf<T>* winner;
  const T* dy;
  PlaceOf<T> first;
  T* dx;
  std::ptrdiff_t n;
};

// Square windows of planes whose rows are contiguous, without cells: rows [first, first + rows) of dx, from the windows
// that hold them.
enum RollGradientWindow { kGradient2x2Stride2, kGradient3x3, kGradient3x3Stride2, kRollGradientWindows };
template <class T>
struct GradientPlanes {
  const T* x;  // row 0, column 0 of the first plane
  std::ptrdiff_t x_plane, x_row, height, width, pad_top, pad_left;
  const T *x_begin, *x_end;  // of what may be read
  T padding;                 // -inf
  const T* dy;               // row 0 of the first plane
  std::ptrdiff_t dy_plane, dy_row;
  const T* dy_end;  // of what may be read
  T* dx;            // row 0 of the first plane
  std::ptrdiff_t dx_plane, dx_row;
  T* dx_end;  // up to here whole vectors may be written, since later rows lie there
  std::ptrdiff_t planes, first, rows, out_rows, n;
};

// Each window's winner and dy lie at `place` and `share` meanwhile, the rows of windows `pitch` apart: the first one
// that holds row `first`, in column 0, is there. Between rows lies -1 as the place of what is no window. Winners are
// found from x, or taken from `indices` unless that is null: false if one is no element of its window.
// Of 3x3 windows only vectors of kFollowedLanes and more take indices: shorter ones are no quicker than following them.
constexpr int kFollowedLanes = 16;
template <class T>
struct RollGradient : GradientPlanes<T> {
  const std::int64_t* indices;
  std::ptrdiff_t indices_plane, indices_row;
  PlaceOf<T>* place;
  T* share;
  std::ptrdiff_t pitch;
};

// Maxima found from x, windows of stride 2 and at most one row and column of padding before the input, without a place
// for anything: false if some element is NaN (or if there is inf as well as -inf).
template <class T>
struct StripGradient : GradientPlanes<T> {
  const T* pad_row;  // the kernel's own
};

// Channels in the lanes, without cells. A row of windows whose `taps` lie tap_step apart, windows step apart: the
// maximum of each, and its place, the earliest of equal ones, where a tap's place is the one at `place`, laid out as
// value, or 0 if that is null, plus tap_place for each tap, plus first_place and window_place for each window. NaN is
// the largest, if `careful`; else it is not expected, and without places the result is false if there is one (or inf as
// well as -inf). best may be null where there are places.
template <class T>
struct LaneWinners {
  const T* value;
  const PlaceOf<T>* place;
  std::ptrdiff_t taps, tap_step, step, windows, lanes;
  PlaceOf<T> tap_place, first_place, window_place;
  T* best;
  PlaceOf<T>* winner;  // windows lie `lanes` apart, here and in best
  bool careful;
};

// The places that saved `indices` name, of a row of windows of taps[0] rows of taps[1] elements. The first window's
// first tap is `first`, the next one's place_step further on, and rows are `width` wide.
template <class T>
struct SavedLanes {
  const std::int64_t* indices;
  std::ptrdiff_t indices_step, windows, lanes;
  std::ptrdiff_t first, place_step, taps[2], width;
  PlaceOf<T>* place;  // windows lie `lanes` apart
};

// Pixels of dx, each held by a rectangle of windows, of which the next pixel's is one window further on: the sum of the
// dy of those whose winner has the pixel's place. Windows of a row lie window_step apart at `place`, dy_step apart at
// dy; 0 if the next pixel is held by the same one.
constexpr int kMostHolders = 8;
template <class T>
struct LaneGather {
  int rows, columns;
  const PlaceOf<T>* place[kMostHolders];
  const T* dy[kMostHolders];
  std::ptrdiff_t window_step, dy_step, pixels, lanes, first, place_step;
  T* dx;
  std::ptrdiff_t dx_step;
};

// A row of 3x3 windows with stride 2, channels in the lanes: what it gives to the three rows of dx that it holds, with
// maxima found from three rows of x. `lanes` are a multiple of a vector's, pixels of a row its step apart. The first
// window starts `pad` (0 or 1) before a row of `width` pixels. What earlier rows of windows gave to the first row of dx
// is `known`, which may be that row. A row of padding is a pixel of -inf with a step of 0, and one of dx that is not
// wanted any pixel with a step of 0.
template <class T>
struct LaneStrips {
  const T* x[3];
  std::ptrdiff_t x_step[3];
  T above;  // NaN if the first row is padding, else 0
  const T* known;
  std::ptrdiff_t known_step;
  T* dx[3];
  std::ptrdiff_t dx_step[3];
  const T* dy;
  std::ptrdiff_t dy_step;
  std::ptrdiff_t windows, width, pad, lanes;
};

// Planes of `size` contiguous elements, at least a vector's, that are one window each: their maxima y, and unless
// `indices` is null where they lie; or from dy the gradient dx, of planes without gaps between.
template <class T>
struct WholePlanes {
  const T* x;
  std::ptrdiff_t x_plane, planes, size;
  T* y;
  std::int64_t* indices;
  const T* dy;
  std::ptrdiff_t dy_step;
  T* dx;
};

// Planes of contiguous elements, taps[0] slices of taps[1] rows of taps[2], that are one window each: y = sum * scale,
// added up as Fold does. `pixels` has room for a vector for each element. Nothing is read from x_end on.
template <class T>
struct WholePlaneSums {
  const T *x, *x_end;
  std::ptrdiff_t x_plane, planes, taps[3];
  T scale;
  T* y;
  T* pixels;
};

// Planes of `size` contiguous elements, each of which gets one value, value * scale + 0, or 0 where `value` is null.
template <class T>
struct FillPlanes {
  T* dx;
  std::ptrdiff_t dx_plane, planes, size;
  const T* value;
  std::ptrdiff_t value_step;
  T scale;
};

template <class T>
struct CellKernels {
  // Keys are integers in the order of the numbers, except that -0 equals 0 and that NaN is the largest. The smallest
  // integer is nobody's key, but the padding's. Nothing is read from `end` on.
  void (*keys_to_cells)(const CellRows&, const T* array, const T* end, PlaceOf<T>* cells);
  void (*to_cells)(const CellRows&, const T* array, const T* end, T* cells);  // without -0; the padding is 0
  void (*from_cells)(const CellRows&, const T* cells, T* array);
  void (*winners)(const Winners<T>&);
  void (*line_winners)(const LineWinners<T>&);
  bool (*slide_winners)(const SlideWinners<T>&);  // false if some x is NaN (or if there is inf as well as -inf)
  void (*tell_winners)(const TellWinners<T>&);
  // False if maxima may have met their like, which takes longer. Null where lanes cannot be picked.
  bool (*column_gradient)(const ColumnGradient<T>&);
  void (*deliver)(const Deliver<T>&);
  bool (*roll_gradient[kRollGradientWindows])(const RollGradient<T>&);
  bool (*strip_gradient[kRollGradientWindows])(const StripGradient<T>&);  // null where roll_gradient finds maxima
  bool (*lane_winners)(const LaneWinners<T>&);
  bool (*lane_strips)(const LaneStrips<T>&);  // false if some x is NaN (or inf and another -inf); or null
  bool (*saved_lanes)(const SavedLanes<T>&);  // whether every window's place is one of its elements, or -1
  void (*gather_lanes)(const LaneGather<T>&);
  void (*whole_plane_maxima)(const WholePlanes<T>&);
  void (*whole_plane_sums)(const WholePlaneSums<T>&);
  void (*whole_plane_gradient)(const WholePlanes<T>&);
  void (*fill_planes)(const FillPlanes<T>&);
};

}  // namespace fastconv
