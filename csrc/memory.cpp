#include "memory.hpp"

#include <sys/mman.h>

#include <cstdlib>
#include <deque>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>

namespace fastconv {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kMostBlocks = 64;

struct Block {
  void* memory;
  std::size_t size;
};

// The mutex is only ever tried: whoever does not get it does without the pool. So nobody waits, and a
// child that was forked while another thread held it does not wait forever.
struct Pool {
  std::mutex mutex;
  std::deque<Block> blocks;  // oldest first
  std::size_t bytes = 0;
  std::size_t limit = std::size_t{256} << 20;
};

// Never destroyed: arrays may outlive the module.
Pool& pool() {
  static Pool* const instance = new Pool;
  return *instance;
}

// An eighth of slack lets layers of similar size share blocks.
std::size_t rounded(std::size_t bytes) {
  std::size_t step = 4096;
  while (step * 16 < bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

void* fresh_block(std::size_t size) {
  const bool huge = size >= 2 * kHugePage;
  void* memory =
      std::aligned_alloc(huge ? kHugePage : 4096, huge ? (size + kHugePage - 1) / kHugePage * kHugePage : size);
  if (memory == nullptr) throw std::bad_alloc();
  if (huge) madvise(memory, size, MADV_HUGEPAGE);  // fewer traps, fewer TLB misses; a hint
  return memory;
}

}  // namespace

void init_recycling() {
  const char* text = std::getenv("FASTCONV_RECYCLE_MB");
  if (text == nullptr || *text == '\0') return;
  char* end = nullptr;
  const long long megabytes = std::strtoll(text, &end, 10);
  if (*end != '\0' || megabytes < 0 || megabytes > 1LL << 30) {
    throw std::invalid_argument("FASTCONV_RECYCLE_MB must be a number of megabytes, got '" + std::string(text) + "'");
  }
  pool().limit = static_cast<std::size_t>(megabytes) << 20;
}

std::size_t recycling_limit() { return pool().limit; }

std::size_t recycled_bytes() {
  Pool& p = pool();
  const std::unique_lock lock(p.mutex, std::try_to_lock);
  return lock ? p.bytes : 0;
}

void* acquire_block(std::size_t bytes, std::size_t& size) {
  size = rounded(bytes);
  Pool& p = pool();
  if (const std::unique_lock lock(p.mutex, std::try_to_lock); lock) {
    // The youngest is the likeliest to lie in a cache still.
    for (auto block = p.blocks.rbegin(); block != p.blocks.rend(); ++block) {
      if (block->size < size || block->size > size + size / 4) continue;
      void* memory = block->memory;
      size = block->size;
      p.bytes -= size;
      p.blocks.erase(std::next(block).base());
      return memory;
    }
  }
  return fresh_block(size);
}

void recycle_block(void* block, std::size_t size) {
  Pool& p = pool();
  const std::unique_lock lock(p.mutex, std::try_to_lock);
  if (!lock || size > p.limit) {
    std::free(block);
    return;
  }
  p.blocks.push_back({block, size});
  p.bytes += size;
  while (p.bytes > p.limit || p.blocks.size() > kMostBlocks) {
    p.bytes -= p.blocks.front().size;
    std::free(p.blocks.front().memory);
    p.blocks.pop_front();
  }
}

}  // namespace fastconv
