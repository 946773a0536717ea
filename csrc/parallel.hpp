// Running tasks on several threads. The only file that knows OpenMP.
//
// Results never depend on the number of threads: a task writes what no other task writes, and the
// order of its additions is its own.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>

namespace fastconv {

// The number that set_num_threads chose; in a forked child always 1, because an OpenMP runtime whose
// threads stayed behind in the parent waits for them forever.
int num_threads();
void set_num_threads(int n);
bool built_with_openmp();
// FASTCONV_NUM_THREADS, else OMP_NUM_THREADS, else the CPUs this process may use. Called at import;
// throws std::invalid_argument for a FASTCONV_NUM_THREADS that is no positive number.
void init_threads();

// f(task) for every task in [0, tasks), on at most `threads` threads, in no particular order. The
// first exception is thrown again here, once every thread is done.
template <class F>
void parallel_for(int threads, std::int64_t tasks, const F& f) {
  if (threads <= 1 || tasks <= 1) {
    for (std::int64_t i = 0; i < tasks; ++i) f(i);
    return;
  }
#ifdef _OPENMP
  std::exception_ptr failure;
  std::atomic<bool> failed{false};
  const int team = tasks < threads ? static_cast<int>(tasks) : threads;
#pragma omp parallel for schedule(dynamic, 1) num_threads(team)
  for (std::int64_t i = 0; i < tasks; ++i) {
    if (failed.load(std::memory_order_relaxed)) continue;
    try {
      f(i);
    } catch (...) {
      if (!failed.exchange(true)) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
#else
  for (std::int64_t i = 0; i < tasks; ++i) f(i);
#endif
}

}  // namespace fastconv
