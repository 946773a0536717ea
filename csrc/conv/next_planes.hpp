// The planes that narrow groups read or write next, asked for while their tiles compute.
#pragma once

#include <algorithm>

#include "../kernels/table.hpp"
#include "../problem.hpp"
#include "blocking.hpp"

namespace fastconv {

class NextPlanes {
 public:
  NextPlanes() = default;
  // Of an image's group, where they are small and lie together; others are foreseen by hardware, or too much.
  template <class T>
  NextPlanes(const T* first, const ImageStrides& s, Index channels, Index pixels) {
    constexpr Index kMost = Index{1} << 15;  // elements
    if (s.channel != pixels || channels * pixels > kMost) return;
    at_ = reinterpret_cast<const char*>(first);
    end_ = at_ + channels * pixels * static_cast<Index>(sizeof(T));
  }

  template <class T>
  void give_share(NarrowTile<T>& t) {
    constexpr Index lines = kNarrowAhead * 64;  // of an outer step
    t.ahead = at_ < end_ ? at_ : nullptr;
    t.ahead_step = at_ < end_ ? lines : 0;
    at_ += t.ahead_step * t.outer * std::max<Index>(t.runs, 1) * ceil_div(t.rows, kMaxNarrowPixels);
  }

  // At once, where they are written after some work.
  void ask_for_all() const {
    for (const char* line = at_; line < end_; line += 64) __builtin_prefetch(line, 1, 2);
  }

 private:
  const char* at_ = nullptr;
  const char* end_ = nullptr;
};

}  // namespace fastconv
