// The padded copy of the input that raw_pixels.cpp reads, as sizes.
#pragma once

#include "../problem.hpp"

namespace fastconv {

// For height x width outputs: [channel][kernel depth x rows][phases][phase]; a phase holds the columns that lie
// stride apart.
struct RawStage {
  RawStage(const Problem& p, Index height, Index width);
  Index rows, phases, phase, channel;
  Index elements;  // of the whole copy; huge where it does not fit 64 bits
};

}  // namespace fastconv
