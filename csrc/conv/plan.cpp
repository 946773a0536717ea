#include "plan.hpp"

#include <stdexcept>

#include "../cpu.hpp"
#include "weights.hpp"
#include "winograd.hpp"

namespace fastconv {

const char* name_of(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::kAuto:
      return "auto";
    case Algorithm::kDirect:
      return "direct";
    case Algorithm::kWinograd:
      return "winograd";
    case Algorithm::kDepthwise:
      return "depthwise";
    case Algorithm::kDots:
      return "dot products";
  }
  return "";
}

void check_algorithm(Algorithm wanted, const std::array<Axis, kSpatial>& axes) {
  if (wanted != Algorithm::kWinograd || winograd_applies(axes)) return;
  throw std::invalid_argument(
      "algorithm: 'winograd' needs a kernel of 2x2, 3x3, 5x5, or 2, 3, 5 or 7 in one row or column, with stride 1");
}

void check_algorithm(Algorithm wanted, Index channels, Index outputs, Index depth_taps) {
  if (wanted != Algorithm::kWinograd || channels * outputs == 0) return;
  if (winograd_applies(channels, outputs, depth_taps)) return;
  throw std::invalid_argument(
      "algorithm: 'winograd' needs 8 input and 8 output channels in each group, and a multiple of 16 input channels "
      "where the kernel has depth");
}

namespace {

template <class T>
bool chooses_winograd(const Problem& p, bool prepacked, Algorithm wanted) {
  if (wanted != Algorithm::kWinograd) return wanted == Algorithm::kAuto && winograd_wins<T>(p, prepacked);
  if (p.flops() > 0) check_algorithm(wanted, p.channels, p.outputs, p.depth().kernel);
  return true;
}

std::string sizes(Index height, Index width) { return std::to_string(height) + "x" + std::to_string(width); }

ConvPlan plan_of(const WinogradPlan& winograd) {
  ConvPlan plan;
  plan.algorithm = Algorithm::kWinograd;
  plan.winograd = winograd;
  plan.threads = winograd.threads;
  plan.workspace = winograd.workspace;
  plan.shared = winograd.shared;
  return plan;
}

}  // namespace

template <class T>
ConvPlan plan_conv(const Problem& p, bool prepacked, int threads, Algorithm wanted) {
  check_algorithm(wanted, p.axis);
  ConvPlan plan;
  if (wanted == Algorithm::kAuto && plan_depthwise<T>(p, threads, plan.depthwise)) {
    plan.algorithm = Algorithm::kDepthwise;
    plan.threads = plan.depthwise.threads;
    plan.workspace = plan.depthwise.workspace;
    return plan;
  }
  if (wanted == Algorithm::kAuto && !prepacked && plan_dots<T>(p, threads, plan.dots)) {
    plan.algorithm = Algorithm::kDots;
    plan.threads = plan.dots.threads;
    plan.workspace = plan.dots.workspace;
    return plan;
  }
  if (chooses_winograd<T>(p, prepacked, wanted)) return plan_of(plan_winograd<T>(p, prepacked, threads));
  plan.direct = plan_direct<T>(p, prepacked, threads);
  plan.threads = plan.direct.threads;
  plan.workspace = plan.direct.workspace;
  plan.shared = plan.direct.shared;
  return plan;
}

template <class T>
ConvPlan plan_part(const Problem& part, const ConvPlan& whole, int threads) {
  if (whole.algorithm == Algorithm::kWinograd) {
    return plan_of(plan_winograd<T>(part, whole.winograd.form, true, threads));
  }
  // What is narrow as a whole is narrow in parts.
  const bool depthwise = whole.algorithm == Algorithm::kDepthwise;
  return plan_conv<T>(part, true, threads, depthwise ? Algorithm::kAuto : Algorithm::kDirect);
}

std::vector<std::pair<std::string, std::string>> explain(const Problem& p, const ConvPlan& plan) {
  if (plan.algorithm == Algorithm::kDepthwise) return explain(p, plan.depthwise);
  if (plan.algorithm == Algorithm::kDots) {
    const Index vectors = plan.dots.steps;
    return {{"lanes", "input channels, in pieces of " + std::to_string(vectors) + " vectors"},
            {"outputs of a task", std::to_string(plan.dots.outputs)}};
  }
  if (plan.algorithm == Algorithm::kWinograd) {
    const WinogradPlan& w = plan.winograd;
    const WinogradAxis &h = w.form.height, &v = w.form.width;
    return {
        {"tiles", std::to_string(w.tiles * w.images) + " of F(" + sizes(h.tile, v.tile) + ", " + sizes(h.taps, v.taps) +
                      (w.form.strided() ? ") with stride 2, " : "), ") + std::to_string(w.points) + " products for " +
                      std::to_string(h.tile * v.tile * h.taps * v.taps)},
        {"tiles of a task", std::to_string(w.block_tiles() * w.images)}};
  }
  const DirectPlan& direct = plan.direct;
  const bool channels = direct.lanes == Orientation::kChannelLanes;
  const char* how = direct.staged                              ? ", read from a padded copy"
                    : direct.lanes != Orientation::kPixelLanes ? ", read in place"
                    : direct.by_panels()                       ? ", packed panel by panel"
                                                               : ", packed block by block";
  return {{"lanes", channels ? "output channels" : "output pixels"},
          {"reduction", std::to_string(p.channels * p.taps()) + " in blocks of " +
                            std::to_string(p.taps() == 0 ? 0 : direct.reduction.depth())},
          {"pixels of a task", std::to_string(direct.block_images * direct.block_height * direct.block_width) + how}};
}

int packed_form(const ConvPlan& plan) {
  if (plan.algorithm == Algorithm::kDepthwise || plan.algorithm == Algorithm::kDots) return -1;
  if (plan.algorithm == Algorithm::kWinograd) return 2 + plan.winograd.form.kernels;
  return plan.direct.lanes == Orientation::kChannelLanes ? 0 : 1;
}

template <class T>
Index packed_elements(const Problem& p, const ConvPlan& plan) {
  if (plan.algorithm == Algorithm::kWinograd) {
    return checked_multiply(p.groups, WinogradWeightLayout<T>(p, plan.winograd, kernels().of<T>().lanes).group());
  }
  return checked_multiply(p.groups, WeightLayout(p, plan.direct, kernels().of<T>().lanes).group);
}

template <class T>
void pack(const Problem& p, const ConvPlan& plan, const T* w, T* packed) {
  if (plan.algorithm == Algorithm::kWinograd) {
    pack_winograd(p, plan.winograd, w, packed);
    return;
  }
  pack_weights(p, plan.direct, w, packed, plan.threads);
}

template ConvPlan plan_conv<float>(const Problem&, bool, int, Algorithm);
template ConvPlan plan_conv<double>(const Problem&, bool, int, Algorithm);
template ConvPlan plan_part<float>(const Problem&, const ConvPlan&, int);
template ConvPlan plan_part<double>(const Problem&, const ConvPlan&, int);
template Index packed_elements<float>(const Problem&, const ConvPlan&);
template Index packed_elements<double>(const Problem&, const ConvPlan&);
template void pack(const Problem&, const ConvPlan&, const float*, float*);
template void pack(const Problem&, const ConvPlan&, const double*, double*);

}  // namespace fastconv
