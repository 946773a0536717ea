// What the sums of average pooling are multiplied with: 1 / (elements of the window).
#pragma once

#include <deque>
#include <vector>

#include "window.hpp"

namespace fastconv {

// How many elements the window has with its padding, which ends `pad_after` behind the input.
inline Index padded_extent(const Axis& a, Index pad_after, Index o) {
  const Index start = a.input_of(o, 0);
  return std::min(start + a.kernel, a.in + pad_after) - start;
}

// The factors of a row of outputs, and how many rows and depths of elements the windows have there.
template <class T>
struct Factors {
  const T* values = nullptr;
  double count = 0;
};

// The factors of some columns of a row of outputs, kept for as long as the rows are alike.
template <class T>
class RowFactors {
 public:
  // `values` has room for those columns. `known`: of all columns of some rows.
  RowFactors(const PoolProblem& p, Range columns, T* values, const Factors<T>& known = {})
      : p_(p), columns_(columns), values_(values), known_(known) {}

  const T* of(Index od, Index oh) {
    const double count = p_.divisor != 0 ? 1 : extent(kDepth, od) * extent(kHeight, oh);
    if (count == known_.count) return known_.values + columns_.first;
    return fill(count);
  }

  // Of rows of windows that lose nothing at the edges.
  Factors<T> whole_rows() {
    const double count =
        p_.divisor != 0 ? 1 : static_cast<double>(p_.depth().kernel) * static_cast<double>(p_.height().kernel);
    return {fill(count), count};
  }

 private:
  const T* fill(double count) {
    if (count == count_) return values_;
    count_ = count;
    for (Index ow = columns_.first; ow < columns_.last; ++ow) {
      const double all = p_.divisor != 0 ? static_cast<double>(p_.divisor) : count * extent(kWidth, ow);
      values_[ow - columns_.first] = T(1) / static_cast<T>(all);
    }
    return values_;
  }

  // A double: a window may be padded to more elements than 64 bits count.
  double extent(std::size_t s, Index o) const {
    const Axis& a = p_.axis[s];
    return static_cast<double>(p_.count_include_pad ? padded_extent(a, p_.pad_after[s], o) : span_of(a, o).count);
  }

  const PoolProblem& p_;
  Range columns_;
  T* values_;
  Factors<T> known_;
  double count_ = 0;
};

// The factors of all rows of a plane's outputs at one depth; rows that are alike share them.
template <class T>
class PlaneFactors {
 public:
  explicit PlaneFactors(const PoolProblem& p, Index od = 0);
  PlaneFactors(const PlaneFactors&) = delete;
  const T* const* rows() const { return rows_.data(); }

 private:
  std::vector<const T*> rows_;
  std::deque<std::vector<T>> values_;
};

}  // namespace fastconv
