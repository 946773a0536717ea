// Choose first, execute second: which algorithm convolves, as a value.
//
// An ordered list of algorithms, each of which accepts a problem or declines it; the direct one comes last and
// accepts everything. The choice follows from the problem and from whether its weights are packed beforehand, never
// from the number of threads, so that the bits do not depend on it either.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "depthwise.hpp"
#include "direct_plan.hpp"
#include "dot_products.hpp"
#include "winograd_plan.hpp"

namespace fastconv {

enum class Algorithm { kAuto, kDirect, kWinograd, kDepthwise, kDots };
const char* name_of(Algorithm algorithm);

struct ConvPlan {
  Algorithm algorithm = Algorithm::kDirect;
  int threads = 1;
  std::size_t workspace = 0;  // bytes for each thread
  std::size_t shared = 0;     // bytes for the call
  DirectPlan direct;
  WinogradPlan winograd;
  DepthwisePlan depthwise;
  DotPlan dots;
};

// Throws std::invalid_argument where an algorithm that the caller asked for (kAuto, kDirect or kWinograd) does not
// apply to these kernels, strides and dilations, whatever the sizes of the images.
void check_algorithm(Algorithm wanted, const std::array<Axis, kSpatial>& axes);
void check_algorithm(Algorithm wanted, Index channels, Index outputs, Index depth_taps);  // channels of a group

// Calls check_algorithm.
template <class T>
ConvPlan plan_conv(const Problem& p, bool prepacked, int threads, Algorithm wanted = Algorithm::kAuto);

// The plan of a part of the problem that `whole` was made for: its batch and its outputs are fewer. The same algorithm
// in the same form, hence the same bits; weights are packed beforehand.
template <class T>
ConvPlan plan_part(const Problem& part, const ConvPlan& whole, int threads);

// What conv2d_plan tells of the algorithm's own choices: (label, value) pairs. Text for people is cold, which spares
// the wheel 9 KB.
[[gnu::cold]] std::vector<std::pair<std::string, std::string>> explain(const Problem& p, const ConvPlan& plan);

// Weights packed beforehand come in a few forms, numbered from 0; a form depends on the weights' side of the problem
// alone, so that one operator packs each form once. -1: the algorithm reads the weights as they are.
constexpr int kPackedForms = 2 + kWinogradTiles;
int packed_form(const ConvPlan& plan);
template <class T>
Index packed_elements(const Problem& p, const ConvPlan& plan);
template <class T>
void pack(const Problem& p, const ConvPlan& plan, const T* w, T* packed);

}  // namespace fastconv
