// Maxima of float16. Small windows without places are folded as 16-bit integers; for all others a block of x is widened
// to float32 in the cache, pooled there by any road, and its maxima, which are halves again, are narrowed. Either way
// memory sees two bytes an element.
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
  HalfBlocks(const PoolProblem& p, bool channels_last, Index budget)
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
    const Index plane = a.in * x_row_;
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

// ---- in 16 bits -------------------------------------------------------------------------------------

constexpr Index kMostTaps = 5;         // along an axis; more are folded faster by doubling
constexpr Index kFewestChannels = 16;  // for a vector
constexpr Index kKeysOfBlock = Index{1} << 13;
constexpr Index kMostKeys = Index{1} << 18;  // of a row: where rows are so long that no block is small
constexpr Index kSpill = 128;                // vectors reach beyond what they are for

// How a block's keys lie: rows between margins. An element of a row is `unit` neighbours.
struct KeyRooms {
  Index unit, pitch, folded_pitch, keys, folded;

  KeyRooms(const PoolProblem& p, bool channels_last) : unit(channels_last ? p.channels : 1) {
    const Axis& w = p.width();
    pitch = round_up(std::max((w.out - 1) * w.stride + w.span(), w.pad + w.in) * unit, 2);
    folded_pitch = w.stride == 1 ? pitch : channels_last ? w.out * unit : pitch / 2;
    const Index rows = (channels_last ? p.batch : p.channels) * p.height().in;
    keys = (rows + 2) * pitch + kSpill;
    folded = rows * folded_pitch + kSpill;
  }
  std::size_t bytes() const {
    return Workspace::piece_bytes<std::int16_t>(keys) + Workspace::piece_bytes<std::int16_t>(folded);
  }
};

bool folds_in_16_bits(const PoolProblem& p, bool channels_last) {
  const Axis &d = p.depth(), &h = p.height(), &w = p.width();
  if (d.in != 1 || d.out != 1 || d.kernel != 1 || std::max(h.kernel, w.kernel) > kMostTaps) return false;
  const Index unit = channels_last ? p.channels : 1;
  if (unit > kMostKeys || std::max({w.in, w.span(), h.span()}) > kMostKeys / unit) return false;
  return w.stride == 1 || (channels_last ? p.channels >= kFewestChannels : w.stride == 2);
}

void fold_block(const HalfBlocks::Block& b, bool channels_last, const std::int16_t* x, std::int16_t* y) {
  const PoolProblem& p = b.problem;
  const Axis &h = p.height(), &w = p.width();
  const KeyRooms rooms(p, channels_last);
  Workspace workspace(rooms.bytes());
  HalfMax t{};
  t.x = x + b.x;
  t.x_end = t.x + b.x_elements;
  t.planes = channels_last ? p.batch : p.channels;
  t.rows = h.in;
  t.count = w.in * rooms.unit;
  t.keys = workspace.take<std::int16_t>(rooms.keys);
  t.lead = w.pad * rooms.unit;
  t.pitch = rooms.pitch;
  t.folded = workspace.take<std::int16_t>(rooms.folded);
  t.folded_pitch = rooms.folded_pitch;
  t.outer = t.inner = 1;  // all rows are one run, over their ends
  t.run = rooms.folded - kSpill;
  t.pairs = w.stride != 1 && !channels_last;
  if (w.stride != 1 && channels_last) {
    t.outer = t.planes * t.rows;
    t.inner = w.out;
    t.inner_step = w.stride * rooms.unit;
    t.run = rooms.unit;
  }
  t.taps = w.kernel;
  t.tap_step = w.dilation * rooms.unit;
  t.y = y + b.y;
  t.y_end = t.y + b.y_elements;
  t.out_rows = h.out;
  t.n = w.out * rooms.unit;
  t.first_row = -h.pad;
  t.row_step = h.stride;
  t.row_taps = h.kernel;
  t.row_tap_step = h.dilation;
  kernels().of<float>().max_halves(t);
}

// ---- by way of float32 ------------------------------------------------------------------------------

void move_places(Index* indices, Index count, Index by) {
  for (Index i = 0; by != 0 && i < count; ++i) indices[i] += indices[i] < 0 ? 0 : by;
}

void widen_block(const HalfBlocks::Block& b, const std::uint16_t* x, std::uint16_t* y, Index* indices) {
  const Kernels<float>& k = kernels().of<float>();
  const RecycledBlock memory(static_cast<std::size_t>(b.x_elements + b.y_elements) * sizeof(float));
  float* const wide = memory.as<float>();
  float* const maxima = wide + b.x_elements;
  Index* const places = indices == nullptr ? nullptr : indices + b.y;
  k.widen(x + b.x, b.x_elements, wide);
  max_pool<float>(b.problem, wide, maxima, places, 1);
  k.narrow(maxima, b.y_elements, y + b.y);
  if (places != nullptr) move_places(places, b.y_elements, b.first_place);
}

}  // namespace

void max_pool_half(const PoolProblem& p, bool channels_last, const std::uint16_t* x, std::uint16_t* y, Index* indices,
                   int threads) {
  if (p.planes() == 0) return;
  const bool in_16_bits = indices == nullptr && folds_in_16_bits(p, channels_last);
  const Index wide = caches().l2 / 8 / static_cast<Index>(sizeof(float));
  const HalfBlocks blocks(p, channels_last, in_16_bits ? kKeysOfBlock : wide);
  const double moved = static_cast<double>(p.planes()) * static_cast<double>(p.plane_size() + p.pixels());
  parallel_for(useful_threads(24 * moved, blocks.count(), threads), blocks.count(), [&](Index i) {
    const HalfBlocks::Block b = blocks.block(i);
    if (in_16_bits) {
      fold_block(b, channels_last, reinterpret_cast<const std::int16_t*>(x), reinterpret_cast<std::int16_t*>(y));
    } else {
      widen_block(b, x, y, indices);
    }
  });
}

}  // namespace fastconv
