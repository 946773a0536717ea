#include "direct_cost.hpp"

#include <algorithm>
#include <cmath>

#include "../cpu.hpp"
#include "raw_stage.hpp"
#include "stage.hpp"
#include "weights.hpp"

namespace fastconv {
namespace {

constexpr Index kStageLimit = Index{6} << 20;     // bytes; beyond, pixels are packed panel by panel
constexpr Index kRawStageLimit = Index{1} << 20;  // elements of one row of outputs and all its taps

// Pixels of one depth slice that follow each other in memory, row upon row.
bool rows_join(const Axis& width, const ImageStrides& s) { return s.space[kHeight] == width.out * s.space[kWidth]; }

// Efficiencies: a lane's FMAs over these and what the orientation spends beside them, in cycles for
// each element that is packed or stored (estimates, in line with measurements on Cascade Lake and Zen 5). An FMA unit
// pair does 2 * lanes products a cycle, so a packed weight brings pixels / (2 * lanes) cycles of arithmetic, a packed
// pixel outputs / (2 * lanes), a stored sum depth / (2 * lanes).
// Cycles to bring a weight into a row (pixels in the lanes) or into a vector of outputs.
double row_cost(const Problem& p) {
  return reduction_contiguous(p) ? 0.1 : p.taps() == 1 ? 0.5 : kernels_backwards(p) ? 1.0 : 4.0;
}
double vector_cost(const Problem& p, Index lanes) {
  if (p.w.out == 1) return 0.2;  // they lie in vectors already
  return reduction_contiguous(p) ? 0.1 + 2.0 / static_cast<double>(lanes) : kernels_backwards(p) ? 0.7 : 2.0;
}

bool weights_leave_l2(const Problem& p, std::size_t element) {
  return weight_bytes(p, element) > static_cast<double>(caches().l2);
}

// What is left where each block of so many pixels fetches weights again that L2 does not hold: from L3 or, where they
// are not packed for all blocks at once, from beyond.
double weights_again(const Problem& p, Index lanes, std::size_t element, bool prepacked, double block) {
  if (block >= static_cast<double>(p.batch) * static_cast<double>(p.pixels())) return 1;
  const bool packed = prepacked || weight_bytes(p, element) <= static_cast<double>(kSharedWeights);
  return share(block, 2.0 * static_cast<double>(lanes) * (packed ? 0.1 : 0.6));
}

// Packing weights transposes them: read badly, written well.
double channel_lanes_efficiency(const Problem& p, Index lanes, std::size_t element, bool prepacked) {
  const double rate = 2.0 * static_cast<double>(lanes);
  const double depth = static_cast<double>(p.channels * p.taps());
  const double pixels = static_cast<double>(p.batch) * static_cast<double>(p.pixels());
  const double store = p.y.channel == 1 ? 0.1 : p.y.space[kWidth] == 1 ? 0.35 : 1.3;
  const double stage = Stage::wanted(p) ? 0.25 : 0.05;
  const double fed = static_cast<double>(p.outputs * p.taps());
  const double narrow = p.outputs <= lanes ? 0.85 : p.outputs <= 2 * lanes ? 0.93 : 1;
  const double vectors = std::min(4.0, std::ceil(static_cast<double>(p.outputs) / static_cast<double>(lanes)));
  const double start = share(depth * 3 * vectors, 50);  // what a tile of 6 rows costs beside its products
  const double again = weights_leave_l2(p, element) ? weights_again(p, lanes, element, prepacked,
                                                                    pixels_of_block(p, static_cast<Index>(element)))
                                                    : 1;
  return lane_use(p.outputs, lanes) * share(depth, rate * store) *
         share(pixels, prepacked ? 0 : rate * vector_cost(p, lanes)) * again * share(fed, rate * stage) * narrow *
         start;
}

// Packing pixels copies runs of a row, for all channels of a block: some dozen cycles for each, and more
// for finding where it lies.
double pixel_lanes_efficiency(const Problem& p, Index lanes, std::size_t element, bool prepacked) {
  const double rate = 2.0 * static_cast<double>(lanes);
  const double outputs = static_cast<double>(p.outputs);
  const double pixels = static_cast<double>(p.batch) * static_cast<double>(p.pixels());
  const bool runs = p.x.space[kWidth] == 1 && p.width().stride == 1;
  const double run = static_cast<double>(std::min<Index>(p.width().out, 4 * lanes));
  const double start = 45.0 / static_cast<double>(std::min<Index>(p.channels, 14));
  // Every second column comes by whole vectors, others one by one.
  const bool halved = p.width().stride * p.x.space[kWidth] == 2 && run >= static_cast<double>(lanes);
  const double strided = halved ? 0.15 + 8 / run : 1;
  const bool unbroken = p.height().kernel == 1 && p.width().kernel == 1;  // by the ends of rows
  const double pack = runs ? 0.12 + (unbroken ? 1 : 18 + start) / run : strided + start / run;
  // Not in place: sums are scattered one by one, and blocks are small, so weights are fetched more often.
  const bool direct = tiles_write_output(p, Orientation::kPixelLanes);
  const double depth = static_cast<double>(p.channels * p.taps());
  // A short reduction waits for its sums' way out, to as many pages as there are outputs.
  const double store = !direct ? share(depth, rate * 3) * share(std::min(pixels, 6.0 * static_cast<double>(lanes)), 16)
                       : !unbroken ? share(depth, 9)
                                   : 1;
  const double most = std::min(static_cast<double>(p.height().out * p.width().out), 768.0);
  const double again = weights_leave_l2(p, element) ? weights_again(p, lanes, element, prepacked, most) : 1;
  const double rows = std::min(1.0, outputs / 6);  // fewer leave the FMA units waiting for loads
  return lane_use(p.height().out * p.width().out, lanes) * rows * store * again * share(outputs, rate * pack) *
         share(pixels, prepacked ? 0 : rate * row_cost(p));
}

// Loads of raw pixels cross cache lines, so that fewer than three rows of weights leave the FMA units waiting; copying
// the input costs a fraction of a cycle an element, and more where its columns lie apart.
double raw_pixels_efficiency(const Problem& p, Index lanes, bool prepacked) {
  const bool scattered = !tiles_write_output(p, Orientation::kRawPixels);
  if (scattered && p.outputs * p.width().out > kRawStageLimit / 4) return 0;
  if (RawStage(p, 1, p.width().out, false).elements() > kRawStageLimit) return 0;
  const double rate = 2.0 * static_cast<double>(lanes);
  const double depth = static_cast<double>(p.channels * p.taps());
  const double rows = static_cast<double>(p.outputs) / static_cast<double>(ceil_div(p.outputs, 6));
  const double loads = std::min(1.0, 4 * rows / (8 + rows));
  const Index step = p.width().stride * p.x.space[kWidth];
  const double copy = (step == 1 ? 0.15 : step == 2 ? 0.4 : 1.5) + 12.0 / static_cast<double>(p.width().in);
  const double uses = static_cast<double>(p.outputs * p.taps()) /
                      static_cast<double>(p.height().stride * std::min(p.width().stride, p.width().span()));
  const bool tails = p.width().out < lanes || p.channels * p.taps() > 256;
  const double store = (p.width().out % lanes == 0 ? 4.0 : tails ? 24 : 5) + (scattered ? rate * 1.5 : 0);
  const double pixels = static_cast<double>(p.batch) * static_cast<double>(p.pixels());
  const double weights = prepacked || reduction_contiguous(p) ? 0 : rate * row_cost(p);
  const double stream = p.channels * p.taps() > 128 ? 0.72 : 1;  // a tile's input comes from L2 then
  return lane_use(p.width().out, lanes) * loads * share(uses, rate * copy) * share(depth, store) *
         share(pixels, weights) * stream;
}

}  // namespace

bool tiles_write_output(const Problem& p, Orientation lanes) {
  if (lanes == Orientation::kRawPixels) return p.y.space[kWidth] == 1;
  const bool joined = p.height().out == 1 || rows_join(p.width(), p.y);
  if (lanes == Orientation::kPixelLanes) return p.y.space[kWidth] == 1 && joined;
  return p.y.channel == 1 && joined;
}

double weight_bytes(const Problem& p, std::size_t element) {
  return static_cast<double>(p.groups * p.outputs) * static_cast<double>(p.channels * p.taps()) *
         static_cast<double>(element);
}

double pixels_of_block(const Problem& p, Index element) {
  const Index budget = caches().l2 / 2 / element, plane = p.height().out * p.width().out;
  const Index stage = Stage::wanted(p) ? Stage::elements(p, p.height().out, p.width().out) : 1;
  const Index blocks = std::max(ceil_div(plane, 512), ceil_div(stage, budget));
  if (blocks > 1) return std::max(8.0, static_cast<double>(plane) / static_cast<double>(blocks));
  const Index images = std::min({p.batch, std::max<Index>(1, 256 / plane), std::max<Index>(1, budget / stage)});
  return static_cast<double>(plane) * static_cast<double>(images);
}

Orientation fastest_orientation(const Problem& p, Index lanes, std::size_t element, bool prepacked) {
  const bool small_stage =
      Stage::elements(p, 1, std::min<Index>(8, p.width().out)) <= kStageLimit / static_cast<Index>(element);
  const double channels = Stage::wanted(p) && !small_stage ? 0 : channel_lanes_efficiency(p, lanes, element, prepacked);
  const double pixels = pixel_lanes_efficiency(p, lanes, element, prepacked);
  const double raw = raw_pixels_efficiency(p, lanes, prepacked);
  return raw > std::max(pixels, channels) ? Orientation::kRawPixels
         : pixels > channels              ? Orientation::kPixelLanes
                                          : Orientation::kChannelLanes;
}

}  // namespace fastconv
