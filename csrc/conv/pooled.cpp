// Bands of the map: as many images as fit the caches, or some rows (in one dimension columns, in three slices) of one
// image. Each is convolved as a problem of its own into a block of memory that stays in the cache, and pooled from
// there.
#include "pooled.hpp"

#include "../cpu.hpp"
#include "../memory.hpp"
#include "../parallel.hpp"
#include "../pool/pool.hpp"
#include "conv.hpp"

namespace fastconv {
namespace {

// Images [image, image + images) and outputs [first, first + count) along the axis that is cut.
struct Band {
  Index image, images, first, count;
};

// The same, with a y that holds the outputs before they are pooled: dense, in the data format of the result.
Problem with_map(Problem p) {
  p.y = dense_strides(p.groups, p.outputs, {p.depth().out, p.height().out, p.width().out}, p.y.channel == 1);
  return p;
}

class Bands {
 public:
  Bands(const Problem& p, const ConvPlan& whole, int dims, Index budget)
      : p_(p), axis_(static_cast<std::size_t>(kSpatial - dims)) {
    const Index height = p.axis[axis_].out, slice = elements({0, 1, 0, 1});
    // Bands start where Winograd's tiles do, so that tiles are those of the whole image.
    const bool tiles = whole.algorithm == Algorithm::kWinograd;
    const WinogradForm& form = whole.winograd.form;  // its height may be the depth here, see simplified()
    const Index tile = round_up(axis_ == kWidth ? form.width.tile : form.height.tile, 2);  // windows stay whole
    const Index step = tiles ? tile * winograd_grids(p.axis[axis_]) : 2;
    const Index units = ceil_div(height, step), most = std::max<Index>(1, budget / (slice * step));
    step_ = step;
    rows_ = Panels(units, most);
    const Index images = rows_.count > 1 ? 1 : std::max<Index>(1, budget / (slice * height));
    images_ = Panels(p.batch, images);
  }

  Index count() const { return images_.count * rows_.count; }
  Band band(Index i) const {
    const Index image = i / rows_.count, row = i % rows_.count, first = rows_.start(row) * step_;
    return {images_.start(image), images_.size(image), first,
            std::min(rows_.size(row) * step_, p_.axis[axis_].out - first)};
  }
  Index most_elements() const {
    return elements({0, most(images_), 0, std::min(most(rows_) * step_, p_.axis[axis_].out)});
  }

  // The band as a problem, whose y is the map.
  Problem convolution(const Band& b) const {
    Problem part = p_;
    part.batch = b.images;
    Axis& a = part.axis[axis_];
    a.pad -= b.first * a.stride;
    a.out = b.count;
    return with_map(part);
  }
  PoolProblem pooling(const Band& b) const {
    PoolProblem pool;
    pool.batch = b.images;
    pool.channels = p_.groups * p_.outputs;
    const Problem part = convolution(b);
    for (std::size_t s = axis_; s < kSpatial; ++s) {
      pool.axis[s].in = part.axis[s].out;
      pool.axis[s].kernel = pool.axis[s].stride = 2;
      pool.axis[s].out = part.axis[s].out / 2;
    }
    pool.x = part.y;
    pool.y = p_.y;
    return pool;
  }
  Index output_offset(const Band& b) const { return b.image * p_.y.batch + b.first / 2 * p_.y.space[axis_]; }

 private:
  static Index most(const Panels& panels) { return panels.base + (panels.extra > 0 ? 1 : 0); }
  Index elements(const Band& b) const {
    Index n = b.images * p_.groups * p_.outputs * b.count;
    for (std::size_t s = axis_ + 1; s < kSpatial; ++s) n *= p_.axis[s].out;
    return n;
  }

  const Problem& p_;
  std::size_t axis_;
  Index step_;
  Panels images_, rows_;
};

// The problem that pools in its store; direct algorithms need not compute what is dropped.
Problem with_pool(Problem p, OutputPool pool, bool direct, const ImageStrides& y) {
  p.pool = pool;
  p.y = y;
  for (const SpatialAxis s : {kHeight, kWidth}) {
    if (direct) p.axis[s].out -= p.axis[s].out % 2;
  }
  return p;
}

// Windows of two axes lie within a tile of Winograd's, or within a block that is finished at once.
bool pools_in_store(const Problem& p, const ConvPlan& plan, int dims) {
  if (dims != 2 || p.channels * p.taps() == 0) return false;
  if (plan.algorithm == Algorithm::kWinograd) {
    const WinogradForm& form = plan.winograd.form;
    return winograd_grids(p.height()) * winograd_grids(p.width()) == 1 &&
           std::min(form.height.tile, form.width.tile) > 1;
  }
  if (plan.algorithm != Algorithm::kDirect) return false;
  return plan.direct.lanes == Orientation::kChannelLanes ||
         (plan.direct.lanes == Orientation::kRawPixels && p.y.space[kWidth] == 1);
}

}  // namespace

template <class T>
void conv_pool_forward(const Problem& p, OutputPool pool, int dims, Algorithm wanted, const Operands<T>& a,
                       const PackedWeights<T>& packed, int threads) {
  if (p.batch * p.groups * p.outputs == 0) return;
  const Problem map_problem = simplified(with_map(p));
  const ConvPlan whole = plan_conv<T>(map_problem, true, threads, wanted);
  if (map_problem.height().out == p.height().out && map_problem.batch == p.batch) {  // nothing was merged
    const Problem pooled = with_pool(map_problem, pool, whole.algorithm == Algorithm::kDirect, p.y);
    const ConvPlan plan = plan_part<T>(pooled, whole, threads);
    if (pools_in_store(pooled, plan, dims)) {
      conv_forward<T>(pooled, plan, a, packed(pooled, plan));
      return;
    }
  }
  const Bands bands(p, whole, dims, caches().l2 / 2 / static_cast<Index>(sizeof(T)));
  // A band for each thread, if there are enough of them; otherwise all threads for each band.
  const bool apart = bands.count() >= whole.threads;
  const int team = apart ? 1 : whole.threads;
  parallel_for(apart ? whole.threads : 1, bands.count(), [&](Index i) {
    const RecycledBlock block(static_cast<std::size_t>(bands.most_elements()) * sizeof(T));
    T* const map = block.as<T>();
    const Band band = bands.band(i);
    const Problem part = simplified(bands.convolution(band));
    const ConvPlan plan = plan_part<T>(part, whole, team);
    conv_forward<T>(part, plan, {a.x + band.image * p.x.batch, a.w, a.bias, map}, packed(part, plan));
    const PoolProblem pooling = bands.pooling(band);
    T* const y = a.y + bands.output_offset(band);
    if (pool == OutputPool::kMax) {
      max_pool<T>(pooling, map, y, nullptr, team);
    } else {
      avg_pool<T>(pooling, map, y, team);
    }
  });
}

template void conv_pool_forward(const Problem&, OutputPool, int, Algorithm, const Operands<float>&,
                                const PackedWeights<float>&, int);
template void conv_pool_forward(const Problem&, OutputPool, int, Algorithm, const Operands<double>&,
                                const PackedWeights<double>&, int);

}  // namespace fastconv
