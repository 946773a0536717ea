// Folds of windows that slide by one pixel, with planes or channels in the lanes; see Slide in pool_table.hpp.
//
// Four windows that follow each other have all but a few taps in common:
//
//     window 0   a b c | m m m m m |
//     window 1     b c | m m m m m | x
//     window 2       c | m m m m m | x y
//     window 3         | m m m m m | x y z
//
// so each pixel is loaded once for all four, and maxima of the middle are found once. Many taps are worth eight
// windows. Sums have an order, from left to right in each window, which as many accumulators keep. Windows of larger
// strides have less in common, and go one by one.
#pragma once

#include "pool_fold.hpp"

namespace {

using fastconv::Slide;

constexpr int kFew = 4, kMany = 8;  // windows at a time

// N windows of a line, and which of their pixels exist, counted from the first window's first tap: of the leading N - 1
// [lead, lead_end), `middle` from middle_from on, and the first `tail` of those behind the first window.
template <int N>
struct SlideWindows {
  static constexpr int kEnds = N - 1;
  std::ptrdiff_t start, lead, lead_end, middle_from, middle, taps, tail;

  SlideWindows(std::ptrdiff_t first, std::ptrdiff_t in, std::ptrdiff_t window_taps) : start(first), taps(window_taps) {
    const auto clamp = [](std::ptrdiff_t i) { return i < 0 ? 0 : i > kEnds ? kEnds : i; };
    const std::ptrdiff_t left = in - start;  // pixels of the line
    lead = clamp(-start), lead_end = clamp(left), tail = clamp(left - taps);
    middle_from = -start > kEnds ? -start : kEnds;
    middle = (taps < left ? taps : left) - middle_from;
  }
  FASTCONV_INLINE bool leads(int i) const { return i >= lead && i < lead_end; }
  FASTCONV_INLINE bool trails(int i) const { return i < tail; }
  FASTCONV_INLINE bool whole() const { return lead == 0 && lead_end == kEnds && tail == kEnds; }
};
// All of them exist.
template <int N>
struct WholeWindows : SlideWindows<N> {
  static constexpr int kEnds = N - 1;
  FASTCONV_INLINE bool leads(int i) const { return i < kEnds; }
  FASTCONV_INLINE bool trails(int) const { return true; }
};
// f(windows), compiled for both kinds.
template <int N, class F>
FASTCONV_INLINE void with_windows(const SlideWindows<N>& w, F&& f) {
  if (!kCompact && w.whole()) return f(WholeWindows<N>{w});
  f(w);
}

// The pixels of some windows, each times its factor if there are such.
template <class T, bool Scaled>
struct SlidePixels {
  const T* first;  // of the first window, in the line or before it
  std::ptrdiff_t step;
  const T* scale;

  FASTCONV_INLINE Vector<T> at(std::ptrdiff_t i) const {
    const Vector<T> v = load(first + i * step);
    if constexpr (Scaled) return v * broadcast(scale[i]) + Vector<T>{};
    return v;
  }
};

template <int N, class T, class W, class Pixels>
FASTCONV_INLINE void slide_windows(const W& w, const Pixels& pixels, Sums<T, 1> (&y)[N]) {
  constexpr int n = N, ends = N - 1;
  Vector<T> sum[n];
  for (Vector<T>& s : sum) s = broadcast(T(-0.0));  // which added to anything changes nothing
#pragma GCC unroll 8
  for (int i = 0; i < ends; ++i) {
    if (!w.leads(i)) continue;
    const Vector<T> v = pixels.at(i);
#pragma GCC unroll 8
    for (int j = 0; j <= i; ++j) sum[j] += v;
  }
  for (std::ptrdiff_t i = 0; i < w.middle; ++i) {
    const Vector<T> v = pixels.at(w.middle_from + i);
#pragma GCC unroll 8
    for (int j = 0; j < n; ++j) sum[j] += v;
  }
#pragma GCC unroll 8
  for (int i = 0; i < ends; ++i) {
    if (!w.trails(i)) continue;
    const Vector<T> v = pixels.at(w.taps + i);
#pragma GCC unroll 8
    for (int j = i + 1; j < n; ++j) sum[j] += v;
  }
  for (int j = 0; j < n; ++j) y[j].value[0] = sum[j];
}

template <int N, class T, class W, class Pixels>
FASTCONV_INLINE void slide_windows(const W& w, const Pixels& pixels, Maxima<T, 1> (&y)[N]) {
  constexpr int n = N, ends = N - 1;
  using State = Maxima<T, 1>;
  const auto at = [&](std::ptrdiff_t i) { return State{{pixels.at(i)}}; };
  State middle{{broadcast(-static_cast<T>(__builtin_inf()))}}, tail = middle, lead = middle;
  for (std::ptrdiff_t i = 0; i < w.middle; ++i) middle.combine(at(w.middle_from + i));
#pragma GCC unroll 8
  for (int j = ends; j >= 0; --j) {
    if (w.leads(j)) {
      State earlier = at(j);
      earlier.combine(lead);
      lead = earlier;
    }
    y[j] = lead;
    y[j].combine(middle);
  }
#pragma GCC unroll 8
  for (int j = 1; j < n; ++j) {
    if (w.trails(j - 1)) tail.combine(at(w.taps + j - 1));
    y[j].combine(tail);
  }
}

template <int N, class T, template <class, int> class State, bool Scaled>
void slide_lines(const Slide<T>& given) {
  constexpr std::ptrdiff_t VL = kLanes<T>, n = N;
  const Slide<T> t = given;  // which no store can change
  for (std::ptrdiff_t i = t.begin; i < t.end; i += n) {
    const SlideWindows<N> windows(i * t.stride - t.pad, t.in, t.taps);
    const std::ptrdiff_t stored = t.end - i < n ? t.end - i : n;
    const T* x = t.x + windows.start * t.x_step;
    T* y = t.y + (i - t.begin) * t.y_step;
    with_windows(windows, [&](const auto& w) {
      for (std::ptrdiff_t line = 0; line < t.lines; ++line, x += t.x_line, y += t.y_line) {
        const T* const scale = Scaled ? t.x_scale[line] + w.start : nullptr;
        for (std::ptrdiff_t next = 0; next < t.lanes; next += VL) {
          const std::ptrdiff_t lane = next + VL <= t.lanes ? next : t.lanes - VL;  // the last vector overlaps
          State<T, 1> values[n];
          slide_windows<N, T>(w, SlidePixels<T, Scaled>{x + lane, t.x_step, scale}, values);
#pragma GCC unroll 8
          for (int j = 0; j < n; ++j) {
            if (j >= stored) break;
            Vector<T> v = values[j].value[0];
            if (t.y_scale != nullptr) v *= broadcast(t.y_scale[i - t.begin + j][line]);
            store(y + j * t.y_step + lane, v);
          }
        }
      }
    });
  }
}

template <class T, template <class, int> class State>
void slide(const Slide<T>& t) {
  if (t.stride > 1) return slide_lines<1, T, State, false>(t);
  if constexpr (__is_same(State<T, 1>, Sums<T, 1>)) {
    if (t.x_scale != nullptr) return slide_lines<kFew, T, State, true>(t);
  } else if constexpr (!kCompact) {
    if (t.taps >= kMany) return slide_lines<kMany, T, State, false>(t);
  }
  slide_lines<kFew, T, State, false>(t);
}

}  // namespace
