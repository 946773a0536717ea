// Winners of windows that slide by one pixel, four at a time as in pool_slide.hpp; see SlideWinners in cell_table.hpp.
//
// Elements are compared as the numbers that they are. That misses NaN, but not the sum of all elements.
#pragma once

#include "pool_slide.hpp"
#include "table.hpp"

namespace {

using fastconv::SlideWinners;

template <class T>
struct Winner {
  Vector<T> value = broadcast(-static_cast<T>(__builtin_inf()));
  Vector<PlaceOf<T>> place = broadcast(static_cast<PlaceOf<T>>(-1));

  // Ties stay with the earlier one, even if it is nobody and the later one -inf: so what may win starts from a pixel.
  FASTCONV_INLINE void combine(const Winner& later) {
    // That the maximum is another one now is told by itself: a mask would make the next one wait.
    const Vector<T> before = value;
    value = opaque<Vector<T>>(later.value > value ? later.value : value);
    place = value != before ? later.place : place;
  }
};

// The pixels of a line, and their places: those beside them, or counted from `place`.
template <class T, bool Placed>
struct PlacedPixels {
  using P = PlaceOf<T>;
  const T* value;  // of the first window's first tap, in the line or before it
  const P* places;
  std::ptrdiff_t step;
  P place, pixel_place;
  Vector<T>& total;

  FASTCONV_INLINE Winner<T> at(std::ptrdiff_t i) const {
    const Vector<T> v = load(value + i * step);
    if constexpr (Placed) return {v, load(places + i * step)};
    total += v;
    return {v, broadcast(static_cast<P>(place + static_cast<P>(i) * pixel_place))};
  }
  FASTCONV_INLINE void next_line(std::ptrdiff_t line, std::ptrdiff_t line_place) {
    value += line;
    if constexpr (Placed) places += line;
    place += static_cast<P>(line_place);
  }
};

template <int N, class T, class W, bool Placed>
FASTCONV_INLINE void slide_windows(const W& w, const PlacedPixels<T, Placed>& pixels, Winner<T> (&y)[N]) {
  constexpr int n = N, ends = N - 1;
  Winner<T> tail, middle;
  if (w.middle > 0) middle = pixels.at(w.middle_from);
  for (std::ptrdiff_t i = 1; i < w.middle; ++i) middle.combine(pixels.at(w.middle_from + i));
  y[ends] = middle;
  Winner<T> lead = middle;
#pragma GCC unroll 8
  for (int i = ends - 1; i >= 0; --i) {
    if (w.leads(i)) {
      Winner<T> earlier = pixels.at(i);
      earlier.combine(lead);
      lead = earlier;
    }
    y[i] = lead;
  }
#pragma GCC unroll 8
  for (int j = 1; j < n; ++j) {
    if (w.trails(j - 1)) {
      const Winner<T> next = pixels.at(w.taps + j - 1);
      if (j == 1) {
        tail = next;
      } else {
        tail.combine(next);
      }
    }
    y[j].combine(tail);
  }
}

template <int N, class T, bool Placed>
FASTCONV_INLINE bool slide_winner_lines(const SlideWinners<T>& given) {
  using P = PlaceOf<T>;
  constexpr std::ptrdiff_t n = N;
  const SlideWinners<T> t = given;  // which no store can change
  const Vector<P> lanes = lane_places<P>(0, t.lane_place);
  Vector<T> total{};
  for (std::ptrdiff_t i = t.begin; i < t.end; i += n) {
    const SlideWindows<N> windows(i - t.pad, t.in, t.taps);
    const std::ptrdiff_t stored = t.end - i < n ? t.end - i : n;
    const std::ptrdiff_t first = (i - t.begin) * t.y_step;
    PlacedPixels<T, Placed> pixels{t.x + windows.start * t.x_step,
                                   Placed ? t.x_place + windows.start * t.x_step : nullptr,
                                   t.x_step,
                                   static_cast<P>(t.place + windows.start * t.pixel_place),
                                   static_cast<P>(t.pixel_place),
                                   total};
    T* y = t.y == nullptr ? nullptr : t.y + first;
    P* y_place = t.y_place + first;
    with_windows(windows, [&](const auto& w) {
      for (std::ptrdiff_t line = 0; line < t.lines; ++line, pixels.next_line(t.x_line, t.line_place)) {
        Winner<T> found[n];
        slide_windows<N, T>(w, pixels, found);
#pragma GCC unroll 8
        for (int j = 0; j < n; ++j) {
          if (j >= stored) break;
          if (y != nullptr) store(y + line * t.y_line + j * t.y_step, found[j].value);
          store(y_place + line * t.y_line + j * t.y_step, found[j].place + lanes);
        }
      }
    });
  }
  return Placed || !any_lane<P>(total != total);
}

template <class T>
bool slide_winners(const SlideWinners<T>& t) {
  const auto lines = [&]<int N>(Width<N>) {
    return t.x_place != nullptr ? slide_winner_lines<N, T, true>(t) : slide_winner_lines<N, T, false>(t);
  };
  if constexpr (!kCompact) {
    if (t.taps >= kMany) return lines(Width<kMany>{});
  }
  // Two windows of two taps and more have one in common, which is what four start from.
  return t.taps >= kFew ? lines(Width<kFew>{}) : lines(Width<2>{});
}

}  // namespace
