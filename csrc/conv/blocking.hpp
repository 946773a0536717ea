// How a long axis is cut into pieces. Pieces are balanced, so that no small one is left over.
#pragma once

#include <algorithm>

#include "../problem.hpp"

namespace fastconv {

// a / b. Small calls feel every division, and on many CPUs one of 64 bits takes three times as long as one of 32.
inline Index quotient(Index a, Index b) {
  if ((a | b) >> 32 != 0) return a / b;
  return static_cast<Index>(static_cast<std::uint32_t>(a) / static_cast<std::uint32_t>(b));
}
inline Index ceil_div(Index a, Index b) { return quotient(a + b - 1, b); }
inline Index round_up(Index a, Index b) { return ceil_div(a, b) * b; }

// For cost models: the part of n's vectors that is not idle lanes, and the part that work has in work and overhead.
inline double lane_use(Index n, Index lanes) {
  return static_cast<double>(n) / static_cast<double>(round_up(n, lanes));
}
inline double share(double work, double overhead) { return work / (work + overhead); }

// [first, last)
struct Range {
  Index first, last;
  Index size() const { return last - first; }
};

// `total` units in the fewest panels of at most `most`; the first ones are a unit larger. Or in `count` panels of which
// the larger ones are spread evenly, so that runs of as many panels are as large, too.
struct Panels {
  Index total = 0, count = 0, base = 0, extra = 0;
  bool spread = false;

  Panels() = default;
  Panels(Index units, Index most)
      : total(units),
        count(ceil_div(units, most)),
        base(count > 0 ? quotient(units, count) : 0),
        extra(units - base * count) {}
  static Panels spread_evenly(Index units, Index count) {
    Panels p;
    p.total = units, p.count = count, p.base = units / count, p.extra = units % count, p.spread = true;
    return p;
  }

  Index start(Index panel) const { return spread ? spread_start(panel) : panel * base + std::min(panel, extra); }
  Index size(Index panel) const { return spread ? spread_size(panel) : base + (panel < extra ? 1 : 0); }
  // Rare: nothing to repeat in every loop.
  [[gnu::noinline]] Index spread_start(Index panel) const { return panel * base + panel * extra / count; }
  [[gnu::noinline]] Index spread_size(Index panel) const { return spread_start(panel + 1) - spread_start(panel); }
  Index panel_of(Index unit) const {
    const Index larger = extra * (base + 1);
    return unit < larger ? unit / (base + 1) : extra + (unit - larger) / base;
  }
  // Where the panels of this panel's size end. (This and panel_of are for those whose first ones are larger.)
  Index end_of_size(Index panel) const { return panel < extra ? extra : count; }
};

// Units in shares for the threads, at most `most` for each: with as many units for every thread, or nearly.
inline Panels thread_shares(Index units, int threads, Index most = 8) {
  if (units == 0) return {};
  return Panels::spread_evenly(units, threads > 1 ? std::min(units, most * threads) : 1);
}

// The reduction over (channel, tap), tap fastest, in blocks of at most `most` products: whole channels
// where a channel's taps fit, else parts of one channel. It depends on the problem's channels and
// taps and on nothing else, which keeps a sample's bits the same in every batch.
struct Reduction {
  struct Block {
    Index channel, channels, tap, taps;
    Index depth() const { return channels * taps; }
    Index first(Index all_taps) const { return channel * all_taps + tap; }
  };

  Panels channel_blocks, tap_blocks;

  Reduction() = default;
  Reduction(Index channels, Index taps, Index most)
      : channel_blocks(channels, std::max<Index>(1, quotient(most, taps))), tap_blocks(taps, most) {}

  Index count() const { return channel_blocks.count * tap_blocks.count; }
  Index depth() const { return (channel_blocks.base + (channel_blocks.extra > 0)) * tap_depth(); }
  Index tap_depth() const { return tap_blocks.base + (tap_blocks.extra > 0); }
  Block block(Index i) const {
    const Index c = quotient(i, tap_blocks.count), t = i - c * tap_blocks.count;
    return {channel_blocks.start(c), channel_blocks.size(c), tap_blocks.start(t), tap_blocks.size(t)};
  }
};

}  // namespace fastconv
