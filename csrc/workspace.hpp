// Scratch memory: one growing, aligned block for each thread, bounded, reused by every call.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

namespace fastconv {

constexpr std::size_t kCacheLine = 64;
// No plan may ask for more for a thread, whatever the batch and the image.
constexpr std::size_t kMaxWorkspace = std::size_t{16} << 20;

struct FreeDeleter {
  void operator()(void* p) const { std::free(p); }
};
using AlignedBlock = std::unique_ptr<void, FreeDeleter>;

inline AlignedBlock allocate_aligned(std::size_t bytes) {
  const std::size_t rounded = (bytes + kCacheLine - 1) / kCacheLine * kCacheLine;
  void* p = std::aligned_alloc(kCacheLine, rounded == 0 ? kCacheLine : rounded);
  if (p == nullptr) throw std::bad_alloc();
  return AlignedBlock(p);
}

// Hands out consecutive pieces of this thread's block. `reserve` once, then `take`.
class Workspace {
 public:
  explicit Workspace(std::size_t bytes) {
    Block& block = this_thread();
    if (block.size < bytes) {
      block.memory.reset();  // first free, then allocate: the old content is worthless
      block.size = 0;
      block.memory = allocate_aligned(bytes);
      block.size = bytes;
    }
    next_ = static_cast<std::byte*>(block.memory.get());
  }

  template <class T>
  T* take(std::ptrdiff_t count) {
    T* piece = reinterpret_cast<T*>(next_);
    next_ += piece_bytes<T>(count);
    return piece;
  }

  // What `take` uses up: pieces start on cache lines, and leave a vector's room behind them.
  template <class T>
  static std::size_t piece_bytes(std::ptrdiff_t count) {
    const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(T);
    return (bytes + 2 * kCacheLine - 1) / kCacheLine * kCacheLine;
  }

 private:
  struct Block {
    AlignedBlock memory;
    std::size_t size = 0;
  };
  static Block& this_thread() {
    thread_local Block block;
    return block;
  }
  std::byte* next_;
};

}  // namespace fastconv
