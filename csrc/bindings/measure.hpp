// The machine's limits, measured: what the benchmarks compare with.
#pragma once

#include <string>

namespace fastconv {

double fma_peak(const std::string& dtype, int threads, double seconds);
double copy_bandwidth(long long bytes, int threads, double seconds);

}  // namespace fastconv
