// What the calls of convolutions and of transposed ones share.
#pragma once

#include <algorithm>
#include <array>
#include <optional>

#include "array.hpp"

namespace fastconv {

constexpr double kReleaseGil = 50e3;  // flops; below, the switch would cost as much as the work

// NumPy's promotion of the arrays that were given.
template <class... Arrays>
Precision common_precision(const Arrays&... arrays) {
  Precision p = Precision::kHalf;
  ((p = arrays ? std::max(p, arrays.precision()) : p), ...);
  return p;
}

// Room for the gradients that a mask asks for.
struct Gradients {
  std::optional<Output> input, weight, bias;

  Gradients(const std::array<bool, 3>& mask, ShapeView input_shape, ShapeView weight_shape, Index outputs,
            Precision precision) {
    const std::initializer_list<const Array*> none;
    if (mask[0]) input.emplace(nullptr, input_shape, precision, none);
    if (mask[1]) weight.emplace(nullptr, weight_shape, precision, none);
    if (mask[2]) bias.emplace(nullptr, Shape{outputs}, precision, none);
  }

  // The tuple for the caller, None for what was not asked for.
  PyObject* finish() {
    const auto or_none = [](std::optional<Output>& out) { return out ? Ref(out->finish()) : Ref::borrow(Py_None); };
    const Ref dx = or_none(input), dw = or_none(weight), db = or_none(bias);
    return PyTuple_Pack(3, dx.get(), dw.get(), db.get());
  }
};

}  // namespace fastconv
