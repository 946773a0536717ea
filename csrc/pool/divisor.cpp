#include "divisor.hpp"

#include "../cpu.hpp"

namespace fastconv {

template <class T>
PlaneFactors<T>::PlaneFactors(const PoolProblem& p, Index od) {
  const Axis& h = p.height();
  const auto count = [&](Index oh) {
    return p.count_include_pad ? padded_extent(h, p.pad_after[kHeight], oh) : span_of(h, oh).count;
  };
  for (Index oh = 0; oh < h.out; ++oh) {
    if (oh == 0 || (p.divisor == 0 && count(oh) != count(oh - 1))) {
      // A vector's room behind them: where rows are shorter than one, its other lanes are multiplied, too.
      values_.emplace_back(static_cast<std::size_t>(p.width().out + kernels().of<T>().lanes));
      RowFactors<T>(p, {0, p.width().out}, values_.back().data()).of(od, oh);
    }
    rows_.push_back(values_.back().data());
  }
}

template class PlaneFactors<float>;
template class PlaneFactors<double>;

}  // namespace fastconv
