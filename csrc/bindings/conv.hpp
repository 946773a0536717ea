// The convolution functions of the module.
#pragma once

#include <memory>
#include <mutex>

#include "../conv/plan.hpp"
#include "../workspace.hpp"
#include "conv_problem.hpp"

namespace fastconv {

// What conv2d_plan returns: a description, detached from every array.
struct PlanInfo {
  std::string algorithm, isa, text;
  int threads;
  std::size_t workspace_bytes;
  long long flops, bytes;
};

// A convolution whose weights stay: what conv2d_prepack returns. The packed forms are made at most
// once each, on first use; a mutex guards their making, and what is made never changes.
class PackedConv {
 public:
  PackedConv(int dims, const Arguments& arguments);

  // packed(input, out=None)
  PyObject* call(PyObject* input, PyObject* out);
  // packed.backward(grad_output, input, output_mask=(True, True, True))
  PyObject* backward(PyObject* grad_output, PyObject* input, PyObject* output_mask);
  [[gnu::cold]] std::string text() const;

 private:
  template <class T>
  PyObject* run(Array& input, Precision result, PyObject* out);
  template <class T>
  const T* packed(const Problem& p, const ConvPlan& plan, const T* weight);

  ConvOptions options_;
  bool relu_;
  OutputPool pool_;
  Algorithm algorithm_;
  std::vector<Index> weight_shape_;
  Array weight_, bias_;  // private copies
  std::mutex mutex_;
  AlignedBlock packed_[2][kPackedForms];  // by element type (float, double) and form
};

// Adds conv1d, conv2d, ... to the module (METH_FASTCALL functions, see args.hpp).
void register_conv(PyObject* module);
void register_conv_transpose(PyObject* module);

const Signature& prepack_signature(int dims);
[[gnu::cold]] PlanInfo conv_plan(int dims, const Arguments& arguments);
const Signature& plan_signature(int dims);

}  // namespace fastconv
