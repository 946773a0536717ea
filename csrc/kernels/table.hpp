// What a driver may ask of an ISA: function pointers for each element type, in eight parts.
//
// Each part has a source file, which is compiled once for each ISA and leaves one constant-initialised Part behind and
// nothing else; ../cpu.cpp puts the parts of an ISA together.
#pragma once

#include "cell_table.hpp"
#include "dense_table.hpp"
#include "depthwise_table.hpp"
#include "elementwise_table.hpp"
#include "move_table.hpp"
#include "pool_table.hpp"
#include "winograd_table.hpp"

namespace fastconv {

template <class T>
struct Kernels : DenseKernels<T>,
                 MoveKernels<T>,
                 WinogradKernels<T>,
                 DepthwiseKernels<T>,
                 PoolKernels<T>,
                 UnpoolKernels<T>,
                 CellKernels<T>,
                 ElementwiseKernels<T> {};

template <template <class> class K>
struct Part {
  K<float> f32;
  K<double> f64;
};

struct KernelTable {
  const char* name;
  Kernels<float> f32;
  Kernels<double> f64;

  template <class T>
  const Kernels<T>& of() const {
    if constexpr (sizeof(T) == sizeof(float)) {
      return f32;
    } else {
      return f64;
    }
  }
};

#define FASTCONV_DECLARE_PARTS(isa)                    \
  extern const Part<DenseKernels> dense_##isa;         \
  extern const Part<MoveKernels> moves_##isa;          \
  extern const Part<WinogradKernels> winograd_##isa;   \
  extern const Part<DepthwiseKernels> depthwise_##isa; \
  extern const Part<PoolKernels> pool_##isa;           \
  extern const Part<UnpoolKernels> unpool_##isa;       \
  extern const Part<CellKernels> cells_##isa;          \
  extern const Part<ElementwiseKernels> elementwise_##isa;
FASTCONV_DECLARE_PARTS(scalar)
FASTCONV_DECLARE_PARTS(avx2)
FASTCONV_DECLARE_PARTS(avx512)
FASTCONV_DECLARE_PARTS(neon)
#undef FASTCONV_DECLARE_PARTS

}  // namespace fastconv
