// Shapes without the heap: every call looks at several of them.
#pragma once

#include <algorithm>
#include <array>
#include <initializer_list>
#include <span>

#include "../problem.hpp"

namespace fastconv {

// Someone else's: an array's, or a Shape.
using ShapeView = std::span<const Index>;

// (N,) C and at most three spatial axes, in any order; or fewer.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<Index> dims) : size_(dims.size()) { std::copy(dims.begin(), dims.end(), dims_.begin()); }

  void push_back(Index n) { dims_[size_++] = n; }
  std::size_t size() const { return size_; }
  const Index* data() const { return dims_.data(); }
  const Index* begin() const { return data(); }
  const Index* end() const { return data() + size_; }

 private:
  std::size_t size_ = 0;
  std::array<Index, kSpatial + 2> dims_;  // the first `size_` of them
};

inline bool same_shape(ShapeView a, ShapeView b) { return std::ranges::equal(a, b); }

}  // namespace fastconv
