// Which cell wins a window, and what a cell receives from the windows that it won; see cell_table.hpp.
#pragma once

#include "pool_lanes.hpp"
#include "table.hpp"

namespace {

using fastconv::Deliver;
using fastconv::PlaceOf;
using fastconv::Winners;

template <class P>
FASTCONV_INLINE Vector<P> count_from(std::ptrdiff_t first) {
  return lane_places<P>(first, 1);
}

// f(source) for all from `First` on; S of them, if that is known, else S is 0.
template <int S, int First, class F>
FASTCONV_INLINE void for_sources(int sources, F&& f) {
  if constexpr (S > 0) {
#pragma GCC unroll 9
    for (int s = First; s < S; ++s) f(s);
  } else {
    for (int s = First; s < sources; ++s) f(s);
  }
}

template <int S, bool Places, bool Best, class T>
void find_winners(const Winners<T>& given) {
  using P = PlaceOf<T>;
  constexpr std::ptrdiff_t VL = kLanes<P>;
  const Winners<T> w = given;  // a copy that no store can change
  for (std::ptrdiff_t i = 0; i < w.n; i += VL) {
    const auto place = [&](int s) { return Places ? load(w.place[s] + i) : broadcast(w.first[s]); };
    Vector<P> best = load(w.key[0] + i), winner = place(0);
    const auto combine = [&](int s) {
      const Vector<P> v = load(w.key[s] + i);
      const auto larger = v > best;
      winner = larger ? place(s) : winner;
      best = larger ? v : best;
    };
    for_sources<S, 1>(w.sources, combine);
    if (Best && w.best != nullptr) store(w.best + i, best);
    if constexpr (!Places) winner += w.base != nullptr ? load(w.base + i) : count_from<P>(i);
    store(w.winner + i, winner);
  }
}

// Whether large windows have kernels of their own, and seldom come here.
template <class T>
inline constexpr bool kLineWinners = sizeof(T) == sizeof(float);

template <bool Places, bool Best, class T>
void find_winners(const Winners<T>& w) {
  if (Places && w.sources == 2) return find_winners<2, Places, Best>(w);
  if (w.sources == 3) return find_winners<3, Places, Best>(w);
  if constexpr (!kLineWinners<T>) {
    if (w.sources == 5) return find_winners<5, Places, Best>(w);
  }
  find_winners<0, Places, Best>(w);
}

template <class T>
void winners(const Winners<T>& w) {
  if (w.places) return find_winners<true, true>(w);
  if (w.best == nullptr && w.sources == 9) return find_winners<9, false, false>(w);
  if (w.best == nullptr && w.sources == 4) return find_winners<4, false, false>(w);
  find_winners<false, true>(w);
}

template <int S, class T>
void deliver_from(const Deliver<T>& given) {
  using P = PlaceOf<T>;
  const Deliver<T> d = given;
  for (std::ptrdiff_t i = 0; i < d.n; i += kLanes<T>) {
    const Vector<P> cell = count_from<P>(d.first + i);
    Vector<T> sum{};
    for_sources<S, 0>(d.sources, [&](int s) {
      const auto here = load(d.winner + i - d.back[s]) == cell;
      const Vector<T> dy = load(d.dy + i - d.back[s]);
      sum = here ? sum + dy : sum;
    });
    store(d.dx + i, sum);
  }
}

template <class T>
void deliver(const Deliver<T>& d) {
  if (d.sources == 1) return deliver_from<1>(d);
  if (d.sources == 2) return deliver_from<2>(d);
  if (d.sources == 4) return deliver_from<4>(d);
  if (d.sources == 9) return deliver_from<9>(d);
  deliver_from<0>(d);
}

}  // namespace
