// Winners of the windows of one line of pixels, a vector each, at a cost that does not depend on the windows' size: see
// LineWinners in cell_table.hpp.
//
// Van Herk's way. The line is cut into blocks as long as a window, so that a window is the end of one block and the
// start of the next:
//
//     for each block
//       suffix[t] = the winner of its t-th and all later pixels      from right to left
//       for each window that starts in it
//         prefix  = that of the next block's pixels in the window    from left to right
//         winner  = prefix's, if that is larger, else suffix's
#pragma once

#include "cell_rows.hpp"
#include "pool_fold.hpp"
#include "table.hpp"
#include "winners.hpp"

namespace {

using fastconv::LineWinners;
using fastconv::PlaceOf;
using fastconv::TellWinners;

template <class P>
struct Best {
  Vector<P> key = broadcast(static_cast<P>(P{1} << (8 * static_cast<int>(sizeof(P)) - 1)));  // no element's
  Vector<P> place{};

  // What lies at `where`, if its key is larger; or as large, for an earlier place.
  FASTCONV_INLINE void take(const Best& other, bool earlier) {
    place = (earlier ? other.key >= key : other.key > key) ? other.place : place;
    key = opaque<Vector<P>>(other.key > key ? other.key : key);
  }
};

template <class T>
void line_winners(const LineWinners<T>& given) {
  using P = PlaceOf<T>;
  constexpr std::ptrdiff_t VL = kLanes<T>;
  const LineWinners<T> t = given;  // which no store can change
  const T* x = t.x;
  for (std::ptrdiff_t i = 0; i < t.pixels; ++i, x += t.pixel) store(t.keys + i * VL, Keys::template of<VL, T>(load(x)));
  // Positions count from the first window's first tap, so pixel i has i + pad.
  const P* const keys = t.keys - t.pad * VL;
  const P* const end = t.keys + t.pixels * VL;
  const Vector<P> step = broadcast(t.pixel_place);
  const auto place_at = [&](std::ptrdiff_t position) {
    return lane_places<P>(t.first + (position - t.pad) * t.pixel_place, t.lane_place);
  };
  P *best = t.best, *winner = t.winner;
  P* const last = t.best + t.windows * VL;
  std::ptrdiff_t start = 0;  // of the next window
  for (std::ptrdiff_t block = 0; best < last; block += t.taps) {
    const std::ptrdiff_t next = block + t.taps, behind = t.pixels + t.pad;
    Best<P> suffix, prefix;
    std::ptrdiff_t at = (next < behind ? next : behind) - 1;
    P* to = t.suffix + 2 * (at - block) * VL;
    Vector<P> place = place_at(at);
    for (const std::ptrdiff_t first = start > t.pad ? start : t.pad; at >= first; --at, to -= 2 * VL, place -= step) {
      suffix.take({load(keys + at * VL), place}, true);
      store(to, suffix.key);
      store(to + VL, suffix.place);
    }
    for (; at >= start; --at, to -= 2 * VL) {
      store(to, suffix.key);
      store(to + VL, suffix.place);
    }
    const P *pixel = keys + next * VL, *from = t.suffix + 2 * (start - block) * VL;
    const P* until = keys + (start + t.taps) * VL;
    place = place_at(next);
    for (; start < next && best < last; start += t.stride, best += VL, winner += VL) {
      for (const P* const stop = until < end ? until : end; pixel < stop; pixel += VL, place += step) {
        prefix.take({load(pixel), place}, false);
      }
      Best<P> won{load(from), load(from + VL)};
      won.take(prefix, false);
      store(best, won.key);
      store(winner, won.place);
      from += 2 * t.stride * VL, until += t.stride * VL;
    }
  }
}

template <class T>
void tell_winners(const TellWinners<T>& given) {
  constexpr std::ptrdiff_t VL = kLanes<T>;
  const TellWinners<T> t = given;  // which no store can change
  for (std::ptrdiff_t plane = 0; plane < t.planes; ++plane) {
    const PlaceOf<T>* const winner = t.winner + plane * t.winner_plane;
    const T* const x = t.x + plane * t.x_plane;
    T* const y = t.y + plane * t.y_plane;
    std::int64_t* const indices = t.indices + plane * t.indices_plane;
    std::ptrdiff_t i = 0;
    for (; i + VL <= t.n; i += VL) {
      store_wide<true>(indices + i, load(winner + i), VL);
      if (t.x == nullptr) continue;
#pragma GCC unroll 4
      for (int lane = 0; lane < VL; ++lane) y[i + lane] = x[winner[i + lane]];
    }
    for (; i < t.n; ++i) {
      indices[i] = winner[i];
      if (t.x != nullptr) y[i] = x[winner[i]];
    }
  }
}

}  // namespace
