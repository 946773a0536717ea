// Vectors as the compiler's own type: arithmetic by operators, any ISA, no intrinsics.
//
// This header is compiled once per ISA with that ISA's flags, so everything lives in an anonymous
// namespace: an inline function with external linkage, compiled for AVX-512, could become the
// linker's one copy for every CPU. For the same reason nothing of the standard library comes in.
#pragma once

#include <cstddef>
#include <cstdint>

namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;  // SSE2, NEON; elsewhere the compiler splits it into scalars
#endif

// Kernels for CPUs that hardly anyone has are built for size: one shape of each, not the fastest for each case.
#if defined(__OPTIMIZE_SIZE__)
constexpr bool kCompact = true;
#else
constexpr bool kCompact = false;
#endif

template <class T>
inline constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

template <class T>
struct VectorOf {
  typedef T type __attribute__((vector_size(kVectorBytes)));
  // The same vector where memory promises no more than an element's alignment.
  typedef T unaligned __attribute__((vector_size(kVectorBytes), aligned(alignof(T)), may_alias));
};
template <class T>
using Vector = typename VectorOf<T>::type;

// N elements, as a type that memory need not align.
template <class T, int N>
struct Piece {
  typedef T type __attribute__((vector_size(N * sizeof(T))));
  typedef T unaligned __attribute__((vector_size(N * sizeof(T)), aligned(alignof(T)), may_alias));
};

template <class T>
inline Vector<T> load(const T* p) {
  return *reinterpret_cast<const typename VectorOf<T>::unaligned*>(p);
}

template <class T>
inline void store(T* p, Vector<T> v) {
  *reinterpret_cast<typename VectorOf<T>::unaligned*>(p) = v;
}

// A load that happens once. GCC makes a plain one part of every instruction that uses it, and so loads a vector that
// serves three sums three times; across cache lines that costs more than the sums.
template <class T>
inline Vector<T> load_once(const T* p) {
  Vector<T> v = load(p);
#if defined(__SSE__)
  asm("" : "+v"(v));
#elif defined(__aarch64__)
  asm("" : "+w"(v));
#endif
  return v;
}

// A pointer that GCC takes as it is: of one that it can take apart it makes base + index addresses, with which an FMA
// that loads costs two instructions instead of one.
template <class T>
inline const T* opaque(const T* p) {
  asm("" : "+r"(p));
  return p;
}

template <class T>
inline Vector<T> broadcast(T x) {
  return x - Vector<T>{};  // x - 0 keeps -0 and NaN; compilers emit one broadcast
}

#if defined(__AVX512F__)

// A bit for each lane that exists. Memory of the others is neither read nor written. What is stored so reaches no load
// before it reaches the cache, which is why store_tail does without. (Pools of large windows take 1.2 times as long
// with load_tail by masks, too.)
template <int Bytes>
struct LaneMaskOf {
  using type = unsigned short;
};
template <>
struct LaneMaskOf<8> {
  using type = unsigned char;
};
template <class T>
using LaneMask = typename LaneMaskOf<static_cast<int>(sizeof(T))>::type;

// n <= kLanes<T>
template <class T>
inline LaneMask<T> first_lanes(std::ptrdiff_t n) {
  return static_cast<LaneMask<T>>((1U << n) - 1);
}

// Lanes of `others` where the mask has none.
template <class T>
inline Vector<T> load_lanes(const T* p, LaneMask<T> mask, Vector<T> others = Vector<T>{}) {
  if constexpr (sizeof(T) == 4) {
    const auto from = reinterpret_cast<const float*>(p);
    return reinterpret_cast<Vector<T>>(
        __builtin_ia32_loadups512_mask(from, reinterpret_cast<Vector<float>>(others), mask));
  } else {
    static_assert(sizeof(T) == 8);
    const auto from = reinterpret_cast<const double*>(p);
    return reinterpret_cast<Vector<T>>(
        __builtin_ia32_loadupd512_mask(from, reinterpret_cast<Vector<double>>(others), mask));
  }
}
template <class T>
inline void store_lanes(T* p, Vector<T> v, LaneMask<T> mask) {
  if constexpr (sizeof(T) == 4) {
    __builtin_ia32_storeups512_mask(reinterpret_cast<float*>(p), reinterpret_cast<Vector<float>>(v), mask);
  } else {
    static_assert(sizeof(T) == 8);
    __builtin_ia32_storeupd512_mask(reinterpret_cast<double*>(p), reinterpret_cast<Vector<double>>(v), mask);
  }
}

#endif

// The first n lanes, the others zero; reads nothing behind p[n - 1].
template <class T>
inline Vector<T> load_tail(const T* p, int n) {
  alignas(kVectorBytes) T lane[kLanes<T>] = {};
  for (int i = 0; i < n; ++i) lane[i] = p[i];
  return load(lane);
}

// Powers of two from the top, so that a half or a quarter vector is one move.
template <class T>
inline void store_tail(T* p, Vector<T> v, int n) {
  alignas(kVectorBytes) T lane[kLanes<T>];
  store(lane, v);
  const T* from = lane;
#pragma GCC unroll 4
  for (int half = kLanes<T> / 2; half > 0; half /= 2) {
    if ((n & half) == 0) continue;
    __builtin_memcpy(p, from, static_cast<std::size_t>(half) * sizeof(T));
    p += half;
    from += half;
  }
}

// The same value, of which the optimiser knows nothing.
template <class V>
inline V opaque(V v) {
#if defined(__x86_64__)
  asm("" : "+v"(v));
#elif defined(__aarch64__)
  asm("" : "+w"(v));
#endif
  return v;
}

inline std::ptrdiff_t opaque(std::ptrdiff_t v) {
  asm("" : "+r"(v));
  return v;
}

// NaN stays NaN, as it does in torch.
template <class T>
inline Vector<T> relu(Vector<T> v) {
  return v < Vector<T>{} ? Vector<T>{} : v;
}

// ---- transposing VL x VL values in registers ----------------------------------------------------
//
// Quarters of 128 bits first: rows that follow each other are interleaved, then pairs of them, which leaves column
// 4 * l + j of rows 4 * q to 4 * q + 3 in quarter l of vector 4 * q + j (of double, 2 in place of 4). Then whole
// quarters change places. Every step is one instruction of two operands and without a table: log2(VL) * VL of them in
// all.

template <int... I>
struct Indices {};
template <int N, int... I>
struct MakeIndices : MakeIndices<N - 1, N - 1, I...> {};
template <int... I>
struct MakeIndices<0, I...> {
  using type = Indices<I...>;
};

template <class V, int... I>
inline auto join_two(V a, V b, Indices<I...>) {
  return __builtin_shufflevector(a, b, I...);
}

// Units of N elements of a and b in turn, from the low or the high half of each quarter.
template <int N, int Half, class V, int... I>
inline V interleaved(V a, V b, Indices<I...>) {
  constexpr int n = sizeof...(I), quarter = 16 / static_cast<int>(sizeof(a[0]));
  return __builtin_shufflevector(
      a, b, (I / quarter * quarter + Half * quarter / 2 + I % quarter / (2 * N) * N + I % N + I / N % 2 * n)...);
}
template <int N, class V, class Order>
inline void interleave_both(V& a, V& b, Order order) {
  const V low = interleaved<N, 0>(a, b, order);
  b = interleaved<N, 1>(a, b, order);
  a = low;
}

// Every second quarter of a, then of b, from the first or the second on.
template <int First, class V, int... I>
inline V second_quarters(V a, V b, Indices<I...>) {
  constexpr int quarter = 16 / static_cast<int>(sizeof(a[0]));
  return __builtin_shufflevector(a, b, ((2 * (I / quarter) + First) * quarter + I % quarter)...);
}
template <class V, class Order>
inline void part_quarters(V& a, V& b, Order order) {
  const V even = second_quarters<0>(a, b, order);
  b = second_quarters<1>(a, b, order);
  a = even;
}

// As many rows as a quarter has elements, in each quarter by itself.
template <class T>
inline void transpose_quarters(Vector<T>* row) {
  constexpr int quarter = 16 / static_cast<int>(sizeof(T));
  constexpr typename MakeIndices<kLanes<T>>::type order{};
#pragma GCC unroll 4
  for (int i = 0; i < quarter; i += 2) interleave_both<1>(row[i], row[i + 1], order);
  if constexpr (quarter == 4) {
    interleave_both<2>(row[0], row[2], order);
    interleave_both<2>(row[1], row[3], order);
    const Vector<T> second = row[1];
    row[1] = row[2];
    row[2] = second;
  }
}

template <class T>
inline void transpose(Vector<T> (&row)[kLanes<T>]) {
  constexpr int VL = kLanes<T>, quarter = 16 / static_cast<int>(sizeof(T));
  constexpr typename MakeIndices<VL>::type order{};
#pragma GCC unroll 16
  for (int i = 0; i < VL; i += quarter) transpose_quarters<T>(row + i);
  if constexpr (VL == 2 * quarter) {
#pragma GCC unroll 16
    for (int j = 0; j < quarter; ++j) part_quarters(row[j], row[quarter + j], order);
  } else if constexpr (VL == 4 * quarter) {
#pragma GCC unroll 16
    for (int j = 0; j < quarter; ++j) {
      Vector<T>&a = row[j], &b = row[quarter + j], &c = row[2 * quarter + j], &d = row[3 * quarter + j];
      part_quarters(a, b, order);
      part_quarters(c, d, order);
      part_quarters(a, c, order);
      part_quarters(b, d, order);
    }
  }
}

}  // namespace
