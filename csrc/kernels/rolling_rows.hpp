// Depthwise convolution, K x K and stride S: while the rows of x roll by, each is loaded once, and its pixels move in
// registers to the lanes of the outputs that they meet.
//
//     y[i, j] = sum_r sum_s  w[r, s] * x[i * S + r - pad, j * S + s - pad]
//
// A vector of y is a strip of a row, which meets two vectors of x; or whole rows, as many as share a vector, which meet
// vectors that begin at each row of x. Either way a vector of x meets the vectors of y that lie D = S * (rows of a
// vector) rows of x apart. Their sums stay in registers until the last of their rows has passed, and those of several
// strips or planes together, since the sums of one would wait for each other. Nothing is padded or staged: lanes beyond
// a row are not loaded.
#pragma once

#include "shuffles.hpp"
#include "simd.hpp"
#include "table.hpp"

#if defined(__AVX2__)

namespace {

using fastconv::RollingRows;

// ---- lanes that move in registers ---------------------------------------------------------------

template <class T>
using LaneNumbers = decltype(Vector<T>{} < Vector<T>{});  // integers of T's size

template <class T>
inline LaneNumbers<T> load_numbers(const std::int32_t* p) {
  typedef std::int32_t Numbers __attribute__((vector_size(kLanes<T> * sizeof(std::int32_t)), aligned(4), may_alias));
  return __builtin_convertvector(*reinterpret_cast<const Numbers*>(p), LaneNumbers<T>);
}

#if defined(__AVX512F__)

template <class T>
using ReadLanes = LaneMask<T>;

template <class T>
inline ReadLanes<T> lanes_between(std::ptrdiff_t first, std::ptrdiff_t end) {
  return static_cast<ReadLanes<T>>(first_lanes<T>(end) & ~first_lanes<T>(first));
}

// The others are zero; their memory is not read.
template <class T>
inline Vector<T> read(const T* p, ReadLanes<T> lanes) {
  return load_lanes(p, lanes);
}

template <class T>
inline void write(T* p, Vector<T> v, std::ptrdiff_t lanes) {
  store_lanes(p, v, first_lanes<T>(lanes));
}

// Lane from[l] of a row, which goes on in `more`, or a zero where the number is negative; `more` ends with one.
inline Vector<float> pick(Vector<float> row, Vector<float> more, LaneNumbers<float> from) {
#if defined(__clang__)
  return __builtin_ia32_vpermi2varps512(row, from, more);
#else
  return __builtin_ia32_vpermt2varps512_mask(from, row, more, 0xffff);
#endif
}
inline Vector<double> pick(Vector<double> row, Vector<double> more, LaneNumbers<double> numbers) {
  const auto from = reinterpret_cast<Vector<long long>>(numbers);
#if defined(__clang__)
  return __builtin_ia32_vpermi2varpd512(row, from, more);
#else
  return __builtin_ia32_vpermt2varpd512_mask(from, row, more, 0xff);
#endif
}

#else  // AVX2: floats

template <class T>
using ReadLanes = LaneNumbers<T>;  // all bits set, or none

template <class T>
inline ReadLanes<T> lanes_between(std::ptrdiff_t first, std::ptrdiff_t end) {
  constexpr auto order = typename MakeIndices<kLanes<T>>::type{};
  const LaneNumbers<T> lane = count_up<std::int32_t>(order);
  return (lane >= static_cast<std::int32_t>(first)) & (lane < static_cast<std::int32_t>(end));
}

template <class T>
inline Vector<float> read(const T* p, ReadLanes<T> lanes) {
  return __builtin_ia32_maskloadps256(reinterpret_cast<const Vector<float>*>(p), lanes);
}

template <class T>
inline void write(T* p, Vector<T> v, std::ptrdiff_t lanes) {
  store_tail(p, v, static_cast<int>(lanes));
}

// All of a row is in its vector.
inline Vector<float> pick(Vector<float> row, Vector<float>, LaneNumbers<float> from) {
  const auto moved = reinterpret_cast<LaneNumbers<float>>(__builtin_ia32_permvarsf256(row, from));
  return reinterpret_cast<Vector<float>>(moved & (from >= 0));
}

#endif

// ---- rows that roll by --------------------------------------------------------------------------

template <int K, int D>
inline constexpr int kLiveSums = (K - 1) / D + 1;  // vectors of y that a row of x meets

// Planes, or strips, at a time: enough chains of sums, and no more than there are registers for.
template <int K, int D>
constexpr int choose_units() {
  constexpr int sums = kLiveSums<K, D>;
  if (kVectorBytes == 64) return sums > 4 ? 2 : sums > 3 ? 3 : sums > 2 ? 4 : 6;
  return sums > 5 ? 1 : sums > 3 ? 2 : sums > 2 ? 3 : 4;
}
template <int K, int D>
inline constexpr int kUnits = choose_units<K, D>();

constexpr std::ptrdiff_t kRowsAhead = 6;      // of a strip,
constexpr std::ptrdiff_t kPixelsAhead = 512;  // or in planes that follow each other

// The sums of P units, which are planes (V = 1) or strips of them (V = 2), whose rows take V vectors of x.
template <class T, int K, int D, int V>
struct Roll {
  static constexpr int VL = kLanes<T>, L = kLiveSums<K, D>, P = kUnits<K, D>;
  using Vec = Vector<T>;

  const RollingRows<T>& t;

  struct Unit {
    const T *x, *w;
    T* y;
    Vec bias;
    ReadLanes<T> low, high;  // of a strip's rows
  };

  static std::ptrdiff_t lane(std::ptrdiff_t i) { return i < 0 ? 0 : i < VL ? i : VL; }

  FASTCONV_INLINE void set(Unit& unit, std::ptrdiff_t i) const {
    const std::ptrdiff_t plane = V > 1 ? i / t.strips : i, strip = V > 1 ? i % t.strips * t.strip : 0;
    const std::ptrdiff_t column = strip < t.width_out - t.strip ? strip : t.width_out - t.strip;
    const std::ptrdiff_t first = V > 1 ? column * t.stride - t.pad_columns : 0;
    unit.x = t.x + plane * t.x_plane - t.pad * t.x_row + first;
    unit.w = t.w + plane * t.w_plane;
    unit.y = t.y + plane * t.y_plane + (V > 1 ? column : 0);
    unit.bias = broadcast(t.bias == nullptr ? T(0) : t.bias[plane * t.bias_step]);
    if constexpr (V > 1) {
      unit.low = lanes_between<T>(lane(-first), lane(t.width_in - first));
      unit.high = lanes_between<T>(lane(-first - VL), lane(t.width_in - first - VL));
    }
  }

  // Row a of x, with those that share its vector. The sums of the row of taps Phase + i * D are those of vector i
  // before the newest.
  template <int Phase>
  FASTCONV_INLINE void meet(std::ptrdiff_t a, const Unit (&unit)[P], const LaneNumbers<T> (&from)[K],
                            Vec (&acc)[P][L]) const {
    const std::ptrdiff_t above = V > 1 || a >= 0 ? 0 : -a, left = t.rows_in - a;
    const std::ptrdiff_t rows = left < t.rows_of_vector ? left : t.rows_of_vector;
    if (V > 1 ? a < 0 || left <= 0 : above >= rows) return;
    const ReadLanes<T> whole = V > 1 ? ReadLanes<T>{} : lanes_between<T>(above * t.width_in, rows * t.width_in);
    Vec pixels[P], more[P];
    const T* taps[P];
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) {
      pixels[p] = read(unit[p].x, V > 1 ? unit[p].low : whole);
      more[p] = V > 1 ? read(unit[p].x + VL, unit[p].high) : Vec{};
      if (V == 1) __builtin_prefetch(unit[p].x + kPixelsAhead);
      if (V > 1) {
        __builtin_prefetch(unit[p].x + VL / 2 + kRowsAhead * t.x_row);
        if (D > 1) __builtin_prefetch(unit[p].x + 3 * VL / 2 + kRowsAhead * t.x_row);
      }
      taps[p] = opaque(unit[p].w + Phase * K);
    }
#pragma GCC unroll 7
    for (int s = 0; s < K; ++s) {
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) {
        const Vec moved = pick(pixels[p], more[p], from[s]);
#pragma GCC unroll 7
        for (int i = 0; Phase + i * D < K; ++i) acc[p][i] += broadcast(taps[p][i * D * K + s]) * moved;
      }
    }
  }

  FASTCONV_INLINE void store_vector(std::ptrdiff_t g, const Unit (&unit)[P], const Vec (&acc)[P][L]) const {
    const Vec least = broadcast(t.relu ? T(0) : -static_cast<T>(__builtin_inf()));
    const std::ptrdiff_t first = g * t.rows_of_vector, left = t.rows_out - first, at = first * t.y_row;
    const std::ptrdiff_t lanes = V > 1 ? t.strip : (left < t.rows_of_vector ? left : t.rows_of_vector) * t.width_out;
    Vec sum[P];
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) {
      sum[p] = acc[p][L - 1] + unit[p].bias;     // last, as in other kernels
      sum[p] = sum[p] < least ? least : sum[p];  // NaN stays
    }
    if (V > 1 ? lanes == VL : at + VL <= t.overwritten) {
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) store(unit[p].y + at, sum[p]);
    } else {
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) write(unit[p].y + at, sum[p], lanes);
    }
  }

  template <int Phase>
  FASTCONV_INLINE void phases(std::ptrdiff_t block, Unit (&unit)[P], const LaneNumbers<T> (&from)[K],
                              Vec (&acc)[P][L]) const {
    meet<Phase>(block * D + Phase - t.pad, unit, from, acc);
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) unit[p].x += t.x_row;
    if (Phase == (K - 1) % D && block >= L - 1) store_vector(block - (L - 1), unit, acc);
    if constexpr (Phase + 1 < D) phases<Phase + 1>(block, unit, from, acc);
  }

  // Units from `first` on; the last one again where they are not enough.
  FASTCONV_INLINE void run(std::ptrdiff_t first, std::ptrdiff_t units, std::ptrdiff_t vectors,
                           const LaneNumbers<T> (&from)[K]) const {
    Unit unit[P];
    Vec acc[P][L] = {};
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) set(unit[p], first + p < units ? first + p : units - 1);
    for (std::ptrdiff_t block = 0; block < vectors + L - 1; ++block) {
      phases<0>(block, unit, from, acc);
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) {
#pragma GCC unroll 7
        for (int i = L - 1; i > 0; --i) acc[p][i] = acc[p][i - 1];
        acc[p][0] = Vec{};
      }
    }
  }
};

template <class T, int K, int D, int V>
void rolling_rows(const RollingRows<T>& t) {
  const Roll<T, K, D, V> roll{t};
  const std::ptrdiff_t units = V > 1 ? t.planes * t.strips : t.planes;
  const std::ptrdiff_t vectors = (t.rows_out + t.rows_of_vector - 1) / t.rows_of_vector;
  LaneNumbers<T> from[K];
#pragma GCC unroll 7
  for (int s = 0; s < K; ++s) from[s] = load_numbers<T>(t.from + s * kLanes<T>);
  // Wide planes one by one: what is read and written at a time lies together.
  const std::ptrdiff_t together = V > 1 && t.strips > roll.P ? t.strips : units;
  for (std::ptrdiff_t end = together; end <= units; end += together) {
    for (std::ptrdiff_t first = end - together; first < end; first += roll.P) roll.run(first, end, vectors, from);
  }
}

}  // namespace

#endif
