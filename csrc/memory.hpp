// Memory for results: freed blocks are kept and handed out again.
//
// The first touch of each fresh page is a trap into the kernel; for a 13 MB result those cost more than
// the convolution. So results beyond kRecycleFrom bytes come from a pool that keeps what arrays give
// back, up to a limit: FASTCONV_RECYCLE_MB megabytes (256 unless set; 0 switches the pool off).
#pragma once

#include <cstddef>

namespace fastconv {

constexpr std::size_t kRecycleFrom = std::size_t{128} << 10;

// Reads the limit. Called at import; throws std::invalid_argument for a value that is no number.
void init_recycling();
std::size_t recycling_limit();
// Bytes that lie in the pool now.
std::size_t recycled_bytes();

// A block of at least `bytes`, aligned to a cache line; throws std::bad_alloc. `size` receives its true
// size, which recycle() wants back. Both may be called from any thread, and in a forked child.
void* acquire_block(std::size_t bytes, std::size_t& size);
void recycle_block(void* block, std::size_t size);

// A block for the time of a call.
class RecycledBlock {
 public:
  explicit RecycledBlock(std::size_t bytes) : memory_(bytes > 0 ? acquire_block(bytes, size_) : nullptr) {}
  ~RecycledBlock() {
    if (memory_ != nullptr) recycle_block(memory_, size_);
  }
  RecycledBlock(const RecycledBlock&) = delete;
  RecycledBlock& operator=(const RecycledBlock&) = delete;
  template <class T>
  T* as() const {
    return static_cast<T*>(memory_);
  }

 private:
  std::size_t size_ = 0;
  void* memory_;
};

}  // namespace fastconv
