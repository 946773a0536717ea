#include "plan.hpp"

#include <stdexcept>

#include "../cpu.hpp"
#include "weights.hpp"

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
  }
  return "";
}

void check_algorithm(Algorithm wanted, const std::array<Axis, kSpatial>&) {
  if (wanted != Algorithm::kWinograd) return;
  throw std::invalid_argument("algorithm: 'winograd' does not apply to this problem");
}

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
  plan.direct = plan_direct<T>(p, prepacked, threads);
  plan.threads = plan.direct.threads;
  plan.workspace = plan.direct.workspace;
  plan.shared = plan.direct.shared;
  return plan;
}

std::vector<std::pair<std::string, std::string>> explain(const Problem& p, const ConvPlan& plan) {
  if (plan.algorithm == Algorithm::kDepthwise) return explain(p, plan.depthwise);
  const DirectPlan& direct = plan.direct;
  const bool channels = direct.lanes == Orientation::kChannelLanes;
  return {{"lanes", channels ? "output channels" : "output pixels"},
          {"reduction", std::to_string(p.channels * p.taps()) + " in blocks of " +
                            std::to_string(p.taps() == 0 ? 0 : direct.reduction.depth())},
          {"pixels of a task", std::to_string(direct.block_height * direct.block_width) +
                                   (channels ? direct.staged ? ", read from a padded copy" : ", read in place"
                                             : ", packed panel by panel")}};
}

int packed_form(const ConvPlan& plan) {
  return plan.algorithm == Algorithm::kDepthwise ? -1 : static_cast<int>(plan.direct.lanes);
}

template <class T>
Index packed_elements(const Problem& p, const ConvPlan& plan) {
  return checked_multiply(p.groups, WeightLayout(p, plan.direct, kernels().of<T>().lanes).group);
}

template <class T>
void pack(const Problem& p, const ConvPlan& plan, const T* w, T* packed) {
  pack_weights(p, plan.direct, w, packed, plan.threads);
}

template ConvPlan plan_conv<float>(const Problem&, bool, int, Algorithm);
template ConvPlan plan_conv<double>(const Problem&, bool, int, Algorithm);
template Index packed_elements<float>(const Problem&, const ConvPlan&);
template Index packed_elements<double>(const Problem&, const ConvPlan&);
template void pack(const Problem&, const ConvPlan&, const float*, float*);
template void pack(const Problem&, const ConvPlan&, const double*, double*);

}  // namespace fastconv
