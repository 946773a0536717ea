// The only file that knows OpenMP.
#include "parallel.hpp"

#ifdef _OPENMP
#include <omp.h>
#endif
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <stdexcept>
#include <string>

namespace fastconv {
namespace {

std::atomic<int> chosen_threads{1};
std::atomic<bool> forked{false};

// Linux control groups, version 2 ("max 100000" or "150000 100000") and 1; 0 where there is no limit.
int cgroup_cpus() {
  std::string quota;
  double period = 0;
  if (std::ifstream v2("/sys/fs/cgroup/cpu.max"); v2 >> quota >> period) {
    if (quota == "max" || period <= 0) return 0;
    return std::max(1, static_cast<int>(std::atof(quota.c_str()) / period));
  }
  double us = 0;
  std::ifstream limit("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  std::ifstream per("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  if (limit >> us && per >> period && us > 0 && period > 0) {
    return std::max(1, static_cast<int>(us / period));
  }
  return 0;
}

int usable_cpus() {
  cpu_set_t set;
  int cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  if (const int quota = cgroup_cpus(); quota > 0) cpus = std::min(cpus, quota);
  return std::max(1, cpus);
}

// The leading positive number ("4", "4,2" as OpenMP allows), or 0.
int leading_number(const char* text, bool whole) {
  char* end = nullptr;
  const long n = std::strtol(text, &end, 10);
  if (end == text || n < 1 || n > 1 << 16 || (whole && *end != '\0')) return 0;
  return static_cast<int>(n);
}

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

}  // namespace

void run_tasks([[maybe_unused]] int threads, std::int64_t tasks, void (*run)(const void*, std::int64_t),
               const void* f) {
#ifdef _OPENMP
  if (threads > 1 && tasks > 1) {
    std::exception_ptr failure;
    std::atomic<bool> failed{false};
    const int team = static_cast<int>(std::min<std::int64_t>(tasks, threads));
    Shares shares(tasks, team);
#pragma omp parallel num_threads(team)
    shares.work(omp_get_thread_num(), [&](std::int64_t task) {
      if (failed.load(std::memory_order_relaxed)) return;
      try {
        run(f, task);
      } catch (...) {
        if (!failed.exchange(true)) failure = std::current_exception();
      }
    });
    if (failure) std::rethrow_exception(failure);
    return;
  }
#endif
  for (std::int64_t task = 0; task < tasks; ++task) run(f, task);
}

bool built_with_openmp() {
#ifdef _OPENMP
  return true;
#else
  return false;
#endif
}

int num_threads() {
  if (!built_with_openmp() || forked.load(std::memory_order_relaxed)) return 1;
  return chosen_threads.load(std::memory_order_relaxed);
}

void set_num_threads(int n) { chosen_threads.store(n, std::memory_order_relaxed); }

void init_threads() {
  int n = 0;
  if (const char* own = std::getenv("FASTCONV_NUM_THREADS"); own != nullptr && *own != '\0') {
    n = leading_number(own, true);
    if (n == 0) {
      throw std::invalid_argument("FASTCONV_NUM_THREADS must be a positive integer, got '" + std::string(own) + "'");
    }
  } else if (const char* omp = std::getenv("OMP_NUM_THREADS"); omp != nullptr) {
    n = leading_number(omp, false);
  }
  set_num_threads(n > 0 ? n : usable_cpus());
  pthread_atfork(nullptr, nullptr, [] { forked.store(true, std::memory_order_relaxed); });
}

}  // namespace fastconv
