// float16 to float32 and back, in integers: no ISA that the kernels are compiled for need know the type.
//
// A half has 5 bits of exponent with bias 15 and 10 of mantissa, a float 8 with bias 127 and 23. With both mantissas at
// the top of their field the numbers differ by the bias, 112, and a half's subnormals are floats with exponent 2^-14
// less one.
#pragma once

#include "simd.hpp"
#include "table.hpp"

namespace {

using Half = std::uint16_t;
using Bits = Vector<std::uint32_t>;
constexpr int kHalfShift = 13;
constexpr std::uint32_t kHalfSign = 0x8000, kHalfInf = 0x7c00, kHalfNormal = 0x0400;
constexpr std::uint32_t kFloatInf = 0x7f800000, kBias = 112u << 23;
constexpr std::uint32_t kSmallestNormal = 113u << 23;  // 2^-14
constexpr std::uint32_t kTooLarge = 143u << 23;        // 2^16; between here and 65520 rounding carries
constexpr std::uint32_t kHalf = 126u << 23;            // 0.5, whose last bit is a half's last one

template <class To, class From>
inline To bits_of(From v) {
  return __builtin_bit_cast(To, v);
}
inline Bits all(std::uint32_t x) { return Bits{} + x; }

using HalfPiece = Piece<Half, kLanes<float>>;

inline Vector<float> widen(typename HalfPiece::type h) {
  const Bits bits = __builtin_convertvector(h, Bits), magnitude = bits & ~kHalfSign;
  const Bits shifted = (magnitude << kHalfShift) + kBias;
  // A subnormal's leading one is none: with 2^-14 in its place, 2^-14 is too much.
  const Vector<float> small =
      bits_of<Vector<float>>(shifted + (1u << 23)) - bits_of<Vector<float>>(all(kSmallestNormal));
  const Bits value = magnitude < kHalfNormal ? bits_of<Bits>(small) : magnitude < kHalfInf ? shifted : shifted + kBias;
  return bits_of<Vector<float>>(value | (bits & kHalfSign) << 16);
}

// To the nearest, ties to even; a NaN keeps the top of its payload, and stays one.
inline typename HalfPiece::type narrow(Vector<float> v) {
  const Bits bits = bits_of<Bits>(v), magnitude = bits & 0x7fffffffu;
  const Bits even = magnitude >> kHalfShift & 1;
  const Bits rounded = (magnitude - kBias + ((1u << (kHalfShift - 1)) - 1) + even) >> kHalfShift;
  const Bits small = bits_of<Bits>(bits_of<Vector<float>>(magnitude) + bits_of<Vector<float>>(all(kHalf))) - kHalf;
  const Bits payload = magnitude >> kHalfShift & 0x3ffu;
  const Bits nan = kHalfInf | (payload == Bits{} ? all(0x200) : payload);
  const Bits finite = magnitude < kSmallestNormal ? small : magnitude < kTooLarge ? rounded : all(kHalfInf);
  const Bits value = magnitude > kFloatInf ? nan : finite;
  return __builtin_convertvector(value | (bits >> 16 & kHalfSign), typename HalfPiece::type);
}

inline void widen_halves(const Half* src, std::ptrdiff_t n, float* dst) {
  constexpr int VL = kLanes<float>;
  std::ptrdiff_t i = 0;
  for (; i + VL <= n; i += VL) store(dst + i, widen(*reinterpret_cast<const typename HalfPiece::unaligned*>(src + i)));
  if (i == n) return;
  typename HalfPiece::type last{};
  __builtin_memcpy(&last, src + i, static_cast<std::size_t>(n - i) * sizeof(Half));
  store_tail(dst + i, widen(last), static_cast<int>(n - i));
}

inline void narrow_to_halves(const float* src, std::ptrdiff_t n, Half* dst) {
  constexpr int VL = kLanes<float>;
  std::ptrdiff_t i = 0;
  for (; i + VL <= n; i += VL) *reinterpret_cast<typename HalfPiece::unaligned*>(dst + i) = narrow(load(src + i));
  if (i == n) return;
  const typename HalfPiece::type last = narrow(load_tail(src + i, static_cast<int>(n - i)));
  __builtin_memcpy(dst + i, &last, static_cast<std::size_t>(n - i) * sizeof(Half));
}

}  // namespace
