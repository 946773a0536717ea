// How a source file of kernels leaves its part behind: compiled with -DFASTCONV_ISA_NAME=<isa> and that ISA's flags,
// FASTCONV_PART(Kernels, name, make) defines name_<isa> from make<float>() and make<double>().
#pragma once

#include "table.hpp"

#define FASTCONV_CONCAT(a, b) a##_##b
#define FASTCONV_NAME(part, isa) FASTCONV_CONCAT(part, isa)
#define FASTCONV_PART(K, part, make)                                                                \
  namespace fastconv {                                                                              \
  constinit const Part<K> FASTCONV_NAME(part, FASTCONV_ISA_NAME) = {make<float>(), make<double>()}; \
  }
