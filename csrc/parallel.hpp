// Running tasks on several threads. The only file that knows OpenMP.
//
// Results never depend on the number of threads: a task writes what no other task writes, and the
// order of its additions is its own.
#pragma once

#ifdef _OPENMP
#include <omp.h>
#endif

#include <algorithm>
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

// The tasks that a thread takes first, in their order: call after call, it meets the data that its cache holds. Threads
// that are done go on with the shares of the others.
class Shares {
 public:
  Shares(std::int64_t tasks, int threads) : count_(std::min(threads, kMost)) {
    for (int s = 0; s < count_; ++s) {
      share_[s] = {first_of(s, tasks), first_of(s + 1, tasks)};
    }
  }

  template <class F>
  void work(int thread, const F& f) {
    for (int s = 0; s < count_; ++s) {
      Share& share = share_[(thread + s) % count_];
      for (;;) {
        const std::int64_t task = std::atomic_ref(share.next).fetch_add(1, std::memory_order_relaxed);
        if (task >= share.end) break;
        f(task);
      }
    }
  }

 private:
  static constexpr int kMost = 64;

  struct alignas(64) Share {  // a cache line of its own
    std::int64_t next, end;
  };

  std::int64_t first_of(int share, std::int64_t tasks) const {
    return tasks / count_ * share + std::min<std::int64_t>(share, tasks % count_);
  }

  int count_;
  Share share_[kMost];
};

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
  Shares shares(tasks, team);
#pragma omp parallel num_threads(team)
  shares.work(omp_get_thread_num(), [&](std::int64_t task) {
    if (failed.load(std::memory_order_relaxed)) return;
    try {
      f(task);
    } catch (...) {
      if (!failed.exchange(true)) failure = std::current_exception();
    }
  });
  if (failure) std::rethrow_exception(failure);
#else
  for (std::int64_t i = 0; i < tasks; ++i) f(i);
#endif
}

}  // namespace fastconv
