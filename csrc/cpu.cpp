#include "cpu.hpp"

#include <unistd.h>

#include <cstdlib>
#include <stdexcept>

namespace fastconv {
namespace {

// GCC and Clang read cpuid and, for the vector registers, what the operating system saves (xgetbv).
[[maybe_unused]] bool runs_avx2() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return false;
#endif
}

[[maybe_unused]] bool runs_avx512() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && runs_avx2();
#else
  return false;
#endif
}

struct Isa {
  KernelTable table;
  bool runs;
};

#define FASTCONV_TABLE(isa)                                                               \
  KernelTable {                                                                           \
    #isa, {dense_##isa.f32, moves_##isa.f32,  winograd_##isa.f32, depthwise_##isa.f32,    \
           pool_##isa.f32,  unpool_##isa.f32, cells_##isa.f32,    elementwise_##isa.f32}, \
        {dense_##isa.f64, moves_##isa.f64,  winograd_##isa.f64, depthwise_##isa.f64,      \
         pool_##isa.f64,  unpool_##isa.f64, cells_##isa.f64,    elementwise_##isa.f64},   \
  }

const std::vector<Isa>& built() {
  static const std::vector<Isa> isas{
#ifdef FASTCONV_HAVE_AVX512
      {FASTCONV_TABLE(avx512), runs_avx512()},
#endif
#ifdef FASTCONV_HAVE_AVX2
      {FASTCONV_TABLE(avx2), runs_avx2()},
#endif
#ifdef FASTCONV_HAVE_NEON
      {FASTCONV_TABLE(neon), true},
#endif
      {FASTCONV_TABLE(scalar), true},
  };
  return isas;
}

std::vector<std::string> names(bool only_available) {
  std::vector<std::string> result;
  for (const Isa& isa : built()) {
    if (isa.runs || !only_available) result.emplace_back(isa.table.name);
  }
  return result;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& w : words) text += (text.empty() ? "" : ", ") + w;
  return text;
}

std::ptrdiff_t cache_size(int name, std::ptrdiff_t otherwise) {
  const long bytes = sysconf(name);
  return bytes > 0 ? bytes : otherwise;
}

// Written once, at import, under the interpreter's import lock; read-only ever after.
const KernelTable* chosen = nullptr;

}  // namespace

std::vector<std::string> isas_built() { return names(false); }
std::vector<std::string> isas_available() { return names(true); }

void init_kernels() {
  const char* wanted = std::getenv("FASTCONV_ISA");
  const bool any = wanted == nullptr || *wanted == '\0';
  for (const Isa& isa : built()) {
    if (!isa.runs || !(any || isa.table.name == std::string(wanted))) continue;
    chosen = &isa.table;
    return;
  }
  throw std::invalid_argument("FASTCONV_ISA is '" + std::string(wanted) +
                              "', but this machine and this build run: " + joined(isas_available()));
}

const KernelTable& kernels() { return *chosen; }

const Caches& caches() {
  static const Caches sizes{cache_size(_SC_LEVEL1_DCACHE_SIZE, 32 << 10), cache_size(_SC_LEVEL2_CACHE_SIZE, 512 << 10),
                            cache_size(_SC_LEVEL3_CACHE_SIZE, 0)};
  return sizes;
}

}  // namespace fastconv
