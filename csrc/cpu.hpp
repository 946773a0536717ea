// Which kernels this CPU runs, and how large its caches are.
#pragma once

#include <string>
#include <vector>

#include "kernels/table.hpp"

namespace fastconv {

struct Caches {
  std::ptrdiff_t l1, l2, l3;  // bytes: L1 data, L2 of a core, last level (0 if there is none)
};

// Every ISA that was compiled in, best first; and those of them that this CPU runs.
std::vector<std::string> isas_built();
std::vector<std::string> isas_available();

// Chooses the best available ISA, or the one that FASTCONV_ISA names. Called once, at import. Throws
// std::invalid_argument for a name that is unknown, not built or not runnable here.
void init_kernels();
const KernelTable& kernels();

const Caches& caches();

}  // namespace fastconv
