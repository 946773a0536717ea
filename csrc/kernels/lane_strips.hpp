// Gradients of maxima of 3x3 windows with stride 2, channels in the lanes: a row of windows at a time, see LaneStrips
// in cell_table.hpp.
//
// A vector of channels walks along the row. Each window finds in which column of each of its rows and in which row its
// maximum is, takes dy apart by that, and adds to its 3x3 pixels in registers: two columns are written, and the third
// one is kept, with its pixels of x, for the next window. Rows that the next row of windows holds, too, are written to
// dx as far as they are known. So nothing else is left behind, and there are eight comparisons for each window. NaN is
// not looked for, but noticed.
#pragma once

#include "pool_lanes.hpp"
#include "table.hpp"

namespace {

using fastconv::LaneStrips;

template <class T>
inline constexpr bool kLaneStrips = !kCompact && sizeof(T) == sizeof(float);

// One vector of channels, from `lane` on.
template <class T>
struct LaneStrip {
  using P = fastconv::PlaceOf<T>;
  using Mask = Vector<P>;
  static constexpr int K = 3;

  const LaneStrips<T>& t;
  std::ptrdiff_t lane;
  Vector<T> total;    // NaN, if some element is
  Vector<T> left[K];  // a window's first column of x
  Vector<T> sum[K];   // and of dx

  FASTCONV_INLINE Vector<T> x(int row, std::ptrdiff_t column) {
    const Vector<T> v = load(t.x[row] + column * t.x_step[row] + lane);
    total += v;
    return v;
  }
  FASTCONV_INLINE T* dx(int row, std::ptrdiff_t column) const { return t.dx[row] + column * t.dx_step[row] + lane; }
  FASTCONV_INLINE Vector<T> known(std::ptrdiff_t column) const {  // of the first row, from the windows above
    return load(t.known + column * t.known_step + lane);
  }

  // Before the first window, whose first column is `column`. NaN loses against all that comes later.
  FASTCONV_INLINE void begin(std::ptrdiff_t column) {
#pragma GCC unroll 3
    for (int r = 0; r < K; ++r) {
      left[r] = column < 0 ? broadcast(static_cast<T>(__builtin_nan(""))) : x(r, column);
      sum[r] = column < 0 || r > 0 ? Vector<T>{} : known(column);
    }
  }

  // Two or three columns of a window, from `column` on. Whole: all three exist.
  template <bool Whole>
  FASTCONV_INLINE void step(std::ptrdiff_t window, std::ptrdiff_t column) {
    const bool second_exists = Whole || column + 1 < t.width, third_exists = Whole || column + 2 < t.width;
    Vector<T> most[K];
    Mask second[K], third[K];
    Vector<T> next[K];
#pragma GCC unroll 3
    for (int r = 0; r < K; ++r) {
      most[r] = left[r], second[r] = third[r] = Mask{}, next[r] = Vector<T>{};
      if (second_exists) {
        const Vector<T> v = x(r, column + 1);
        second[r] = ~(v <= most[r]);
        most[r] = opaque<Vector<T>>(most[r] > v ? most[r] : v);
      }
      if (third_exists) {
        next[r] = x(r, column + 2);
        third[r] = ~(next[r] <= most[r]);
        most[r] = opaque<Vector<T>>(most[r] > next[r] ? most[r] : next[r]);
      }
    }
    most[0] += broadcast(t.above);  // NaN for padding, which then loses, too
    const Mask middle = ~(most[1] <= most[0]);
    const Vector<T> upper = opaque<Vector<T>>(most[0] > most[1] ? most[0] : most[1]);
    const Mask bottom = ~(most[2] <= upper);

    const Vector<T> nothing{}, all = load(t.dy + window * t.dy_step + lane) + T(0), rest = bottom ? nothing : all;
    const Vector<T> share[K] = {middle ? nothing : rest, middle ? rest : nothing, bottom ? all : nothing};
#pragma GCC unroll 3
    for (int r = 0; r < K; ++r) {
      const Vector<T> in_two = third[r] ? nothing : share[r];
      if (column >= 0) store(dx(r, column), second[r] ? sum[r] : sum[r] + in_two);
      if (second_exists) {
        const Vector<T> v = second[r] ? in_two : nothing;
        store(dx(r, column + 1), r == 0 ? known(column + 1) + v : v);
      }
      if (third_exists) {
        const Vector<T> v = third[r] ? share[r] : nothing;
        sum[r] = r == 0 ? known(column + 2) + v : v;
      }
      left[r] = next[r];
    }
  }

  FASTCONV_INLINE void end(std::ptrdiff_t column) const {
    if (column >= t.width) return;
    for (int r = 0; r < K; ++r) store(dx(r, column), sum[r]);
  }

  FASTCONV_INLINE void walk() {
    std::ptrdiff_t window = 0, column = -t.pad;
    begin(column);
    for (; window < t.windows; ++window, column += 2) {
      if (column >= 0 && column + 2 < t.width) {
        step<true>(window, column);
      } else {
        step<false>(window, column);
      }
    }
    end(column);
  }
};

template <class T>
bool lane_strips(const LaneStrips<T>& given) {
  using P = fastconv::PlaceOf<T>;
  const LaneStrips<T> t = given;  // which no store can change
  Vector<T> total{};
  for (std::ptrdiff_t lane = 0; lane < t.lanes; lane += kLanes<T>) {
    LaneStrip<T> strip{t, lane, total, {}, {}};
    strip.walk();
    total = strip.total;
  }
  return !any_lane<P>(total != total);
}

}  // namespace
