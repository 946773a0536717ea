// Maxima of float16: a block of x is widened to float32 in the cache, pooled there by any road, and its maxima, which
// are halves again, are narrowed. Memory sees two bytes an element.
#include "../conv/direct_plan.hpp"
#include "../cpu.hpp"
#include "../memory.hpp"
#include "../parallel.hpp"
#include "forward.hpp"

namespace fastconv {
namespace {

// Blocks of whole planes, or of rows of outputs of one plane. A plane is an image and a channel, or with channels last
// an image; its rows are those of the outermost axis that has any extent, in x or in y.
class HalfBlocks {
 public:
  HalfBlocks(const PoolProblem& p, bool channels_last)
      : p_(p),
        channels_last_(channels_last),
        axis_(extends(p.depth())    ? kDepth
              : extends(p.height()) ? kHeight
                                    : kWidth) {
    x_row_ = y_row_ = channels_last ? p.channels : 1;
    for (std::size_t s = axis_ + 1; s < kSpatial; ++s) {
      x_row_ *= p.axis[s].in;
      y_row_ *= p.axis[s].out;
    }
    const Axis& a = p.axis[axis_];
    const Index budget = caches().l2 / 4 / static_cast<Index>(sizeof(float)), plane = a.in * x_row_;
    const Index planes = channels_last ? p.batch : p.batch * p.channels;
    planes_ = Panels(planes, std::max<Index>(1, budget / plane));
    const Index beyond = std::max<Index>(0, a.span() - a.stride);  // rows that neighbouring blocks share
    const Index fit = std::max<Index>(1, (budget / x_row_ - beyond) / a.stride);
    rows_ = Panels(a.out, plane <= budget ? a.out : std::min(a.out, std::max(fit, ceil_div(beyond, a.stride))));
  }

  Index count() const { return planes_.count * rows_.count; }

  struct Block {
    PoolProblem problem;
    Index x, x_elements, y, y_elements;
    Index first_place;  // to be added to places in the block
  };
  Block block(Index i) const {
    const Index plane = planes_.start(i / rows_.count), row = rows_.start(i % rows_.count);
    const Axis& whole = p_.axis[axis_];
    Block b{p_, 0, 0, 0, 0, 0};
    PoolProblem& p = b.problem;
    Axis& a = p.axis[axis_];
    a.out = rows_.size(i % rows_.count);
    const Range rows = rows_.count == 1 ? Range{0, whole.in} : input_rows(whole, row, a.out);
    a.in = rows.size();
    a.pad = rows.first - whole.input_of(row, 0);
    const Index planes = planes_.size(i / rows_.count);
    p.batch = channels_last_ ? planes : 1;
    if (!channels_last_) p.channels = planes;
    const auto space = [&](Index Axis::*size) {
      return std::array<Index, kSpatial>{p.depth().*size, p.height().*size, p.width().*size};
    };
    p.x = dense_strides(1, p.channels, space(&Axis::in), channels_last_);
    p.y = p.indices = dense_strides(1, p.channels, space(&Axis::out), channels_last_);
    b.x = (plane * whole.in + rows.first) * x_row_;
    b.y = (plane * whole.out + row) * y_row_;
    b.x_elements = planes * a.in * x_row_;
    b.y_elements = planes * a.out * y_row_;
    b.first_place = rows.first * (channels_last_ ? x_row_ / p.channels : x_row_);
    return b;
  }

 private:
  static bool extends(const Axis& a) { return a.in > 1 || a.out > 1; }
  static Range input_rows(const Axis& a, Index first, Index count) {
    return {std::max<Index>(0, a.input_of(first, 0)), std::min(a.in, a.input_of(first + count - 1, a.kernel - 1) + 1)};
  }

  const PoolProblem& p_;
  bool channels_last_;
  std::size_t axis_;
  Index x_row_, y_row_;  // elements of a row
  Panels planes_, rows_;
};

void move_places(Index* indices, Index count, Index by) {
  for (Index i = 0; by != 0 && i < count; ++i) indices[i] += indices[i] < 0 ? 0 : by;
}

}  // namespace

void max_pool_half(const PoolProblem& p, bool channels_last, const std::uint16_t* x, std::uint16_t* y, Index* indices,
                   int threads) {
  if (p.planes() == 0) return;
  const Kernels<float>& k = kernels().of<float>();
  const HalfBlocks blocks(p, channels_last);
  const double moved = static_cast<double>(p.planes()) * static_cast<double>(p.plane_size() + p.pixels());
  parallel_for(useful_threads(24 * moved, blocks.count(), threads), blocks.count(), [&](Index i) {
    const HalfBlocks::Block b = blocks.block(i);
    const RecycledBlock memory(static_cast<std::size_t>(b.x_elements + b.y_elements) * sizeof(float));
    float* const wide = memory.as<float>();
    float* const maxima = wide + b.x_elements;
    Index* const places = indices == nullptr ? nullptr : indices + b.y;
    k.widen(x + b.x, b.x_elements, wide);
    max_pool<float>(b.problem, wide, maxima, places, 1);
    k.narrow(maxima, b.y_elements, y + b.y);
    if (places != nullptr) move_places(places, b.y_elements, b.first_place);
  });
}

}  // namespace fastconv
