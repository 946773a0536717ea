#include "store.hpp"

#include "../cpu.hpp"

namespace fastconv {
namespace {

template <class T>
T finished(T sum, const T* bias, Index o, bool relu) {
  if (bias != nullptr) sum += bias[o];
  return relu && sum < T(0) ? T(0) : sum;
}

}  // namespace

template <class T>
void OutputBlock<T>::store_run(const T* sums, Index width, Index pixels, T* y, const Finish& finish) const {
  const Index step = p_.y.space[kWidth];
  if (p_.y.channel != 1 || step == 1) {
    kernels().of<T>().transpose({sums, width, pixels, outputs_, y, p_.y.channel, finish.bias, finish.relu, step});
    return;
  }
  for (Index i = 0; i < pixels; ++i, sums += width, y += step) {
    for (Index o = 0; o < outputs_; ++o) y[o] = finished(sums[o], finish.bias, o, finish.relu);
  }
}

template <class T>
void OutputBlock<T>::store_rows(const T* sums, Index width, Index height, Index columns, const Finish& finish) const {
  const bool joined = columns == p_.stored(p_.width().out) && p_.y.space[kHeight] == columns * p_.y.space[kWidth];
  if (joined) {
    store_run(sums, width, height * columns, data_, finish);
    return;
  }
  for (Index i = 0; i < height; ++i) {
    store_run(sums + i * columns * width, width, columns, data_ + i * p_.y.space[kHeight], finish);
  }
}

template <class T>
void OutputBlock<T>::store_pixel_rows(T* sums, Index width) const {
  if (p_.pool == OutputPool::kNone) {
    store_rows(sums, width, r_.height, r_.width, {bias_, p_.relu});
    return;
  }
  const bool max = p_.pool == OutputPool::kMax;
  kernels().of<T>().pool_pixels[max ? kFoldMax : kFoldSum](
      {sums, r_.height, r_.width, width, outputs_, bias_, p_.relu, max ? T(1) : T(0.25)});
  store_rows(sums, width, p_.stored(r_.height), p_.stored(r_.width), {nullptr, false});
}

template <class T>
void store_output_rows(const Problem& p, const PixelRun& run, T* y, Index first, Index outputs, const T* sums,
                       Index width, const T* bias) {
  T* base = y + run.n * p.y.batch + run.g * p.y.group + run.od * p.y.space[kDepth] + first * p.y.channel;
  const Index row_width = p.width().out;
  for (Index o = 0; o < outputs; ++o) {
    for (Index i = 0; i < run.count; ++i) {
      const Index pixel = run.first + i;
      base[o * p.y.channel + pixel / row_width * p.y.space[kHeight] + pixel % row_width * p.y.space[kWidth]] =
          finished(sums[o * width + i], bias, o, p.relu);
    }
  }
}

template <class T>
void fill_with_bias(const Problem& p, T* y, const T* bias) {
  for (Index n = 0; n < p.batch; ++n) {
    for (Index g = 0; g < p.groups; ++g) {
      for (Index o = 0; o < p.outputs; ++o) {
        const T value = finished(T(0), bias == nullptr ? nullptr : bias + g * p.outputs, o, p.relu);
        for (Index d = 0; d < p.depth().out; ++d) {
          for (Index h = 0; h < p.height().out; ++h) {
            T* row =
                y + n * p.y.batch + g * p.y.group + o * p.y.channel + d * p.y.space[kDepth] + h * p.y.space[kHeight];
            for (Index w = 0; w < p.width().out; ++w) row[w * p.y.space[kWidth]] = value;
          }
        }
      }
    }
  }
}

template class OutputBlock<float>;
template class OutputBlock<double>;
template void store_output_rows(const Problem&, const PixelRun&, float*, Index, Index, const float*, Index,
                                const float*);
template void store_output_rows(const Problem&, const PixelRun&, double*, Index, Index, const double*, Index,
                                const double*);
template void fill_with_bias(const Problem&, float*, const float*);
template void fill_with_bias(const Problem&, double*, const double*);

}  // namespace fastconv
