// Running tasks on several threads.
//
// Results never depend on the number of threads: a task writes what no other task writes, and the
// order of its additions is its own.
#pragma once

#include <cstdint>

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
void run_tasks(int threads, std::int64_t tasks, void (*run)(const void* f, std::int64_t task), const void* f);

template <class F>
void parallel_for(int threads, std::int64_t tasks, const F& f) {
  run_tasks(threads, tasks, [](const void* g, std::int64_t task) { (*static_cast<const F*>(g))(task); }, &f);
}

}  // namespace fastconv
