#include "measure.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <stdexcept>

#include "../cpu.hpp"
#include "../parallel.hpp"
#include "../workspace.hpp"
#include "python.hpp"

namespace fastconv {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// The best rate of `work`, which returns its amount, repeated for `seconds`.
template <class F>
double best_rate(double seconds, const F& work) {
  const ReleaseGil release(true);
  const double end = now() + seconds;
  double best = 0;
  do {
    const double start = now();
    const double amount = work();
    best = std::max(best, amount / (now() - start));
  } while (now() < end);
  return best;
}

void check(int threads, double seconds) {
  if (threads < 1 || threads > 4096) throw std::invalid_argument("threads: expected 1 to 4096");
  if (!(seconds >= 0 && seconds <= 60)) throw std::invalid_argument("seconds: expected 0 to 60");
}

}  // namespace

double fma_peak(const std::string& dtype, int threads, double seconds) {
  check(threads, seconds);
  if (dtype != "float32" && dtype != "float64") {
    throw std::invalid_argument("dtype: expected 'float32' or 'float64'");
  }
  const auto burst = dtype == "float32" ? kernels().f32.fma_burst : kernels().f64.fma_burst;
  return best_rate(seconds, [&] {
    constexpr std::ptrdiff_t iterations = 50000;
    double done = 0;
    parallel_for(threads, threads, [&](std::int64_t i) {
      const double flops = burst(iterations);
      if (i == 0) done = flops;
    });
    return done * threads;
  });
}

double copy_bandwidth(long long bytes, int threads, double seconds) {
  check(threads, seconds);
  if (bytes < 1 || bytes > 1LL << 32) throw std::invalid_argument("bytes: expected 1 to 4 GiB");
  const std::size_t each = static_cast<std::size_t>(bytes) / static_cast<std::size_t>(threads) + 1;
  const AlignedBlock from = allocate_aligned(each * static_cast<std::size_t>(threads));
  const AlignedBlock to = allocate_aligned(each * static_cast<std::size_t>(threads));
  std::memset(from.get(), 1, each * static_cast<std::size_t>(threads));
  std::memset(to.get(), 0, each * static_cast<std::size_t>(threads));
  return best_rate(seconds, [&] {
    // Small blocks several times, or the clock would be what is measured.
    const int repeats = static_cast<int>(std::max<long long>(1, (1 << 20) / bytes));
    parallel_for(threads, threads, [&](std::int64_t i) {
      const std::size_t at = each * static_cast<std::size_t>(i);
      for (int r = 0; r < repeats; ++r) {
        std::memcpy(static_cast<char*>(to.get()) + at, static_cast<char*>(from.get()) + at, each);
        asm volatile("" : : "r"(to.get()) : "memory");
      }
    });
    return 2.0 * static_cast<double>(each) * threads * repeats;
  });
}

}  // namespace fastconv
