// Both gradients of a depthwise convolution over one plane, a tap being an offset into dY (see depthwise_table.hpp):
//
//     dx[f] = sum over taps of w * dy[offset + f],    dW of a tap = sum over f of x[f] * dy[offset + f]
//
// Either asks for the same vectors of dY, so each that is loaded serves two products. A tile of x and of dx stays in
// registers while all the taps pass by, column by column: a column's taps leave the plane's rows at the same pixels,
// which are masked once for all of them.
#pragma once

#include "shuffles.hpp"
#include "simd.hpp"
#include "table.hpp"

namespace {

using fastconv::PlaneGradients;

// Tiles of x and dx, both of them for one column too, two chains of sums, a weight and a vector of dy share the
// registers.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kGradientVectors = 7;
#else
constexpr int kGradientVectors = 3;
#endif
static_assert(kGradientVectors <= fastconv::kMostGradientVectors);

constexpr std::ptrdiff_t kAhead = 1024;

// Zeros in the first n lanes.
template <class T>
inline Vector<T> without_first(Vector<T> v, std::ptrdiff_t n) {
  const Vector<T> lane = count_up<T>(typename MakeIndices<kLanes<T>>::type{});
  return lane < broadcast(static_cast<T>(n)) ? Vector<T>{} : v;
}

// What `kept` says, 1 or 0 for each lane; all of them where it is null.
template <class T>
inline Vector<T> keep(Vector<T> v, const T* kept) {
  return load(kept) > Vector<T>{} ? v : Vector<T>{};
}

// NB vectors of pixels from f on, of which the last is moved back by some pixels that the others have counted already.
// `column` is that of the first.
template <class T, bool Dx, bool Dw, int NB>
struct GradientTile {
  static constexpr int VL = kLanes<T>;
  const PlaneGradients<T>& t;
  const std::ptrdiff_t last;
  Vector<T> x[NB], dx[NB];

  FASTCONV_INLINE std::ptrdiff_t at(int v) const { return v == NB - 1 ? last : v * VL; }

  FASTCONV_INLINE GradientTile(const PlaneGradients<T>& task, std::ptrdiff_t f, std::ptrdiff_t back)
      : t(task), last((NB - 1) * VL - back), dx{} {
    if constexpr (Dw) {
#pragma GCC unroll 8
      for (int v = 0; v < NB; ++v) {
        x[v] = load_once(t.x + f + at(v));
        __builtin_prefetch(t.x + f + at(v) + kAhead);
      }
      x[NB - 1] = without_first<T>(x[NB - 1], back);
    }
  }

  // The taps of one column.
  FASTCONV_INLINE void add(const T* dy, const std::ptrdiff_t* offset, const T* w, T* sums, const T* kept) {
    Vector<T> masked[NB], part[NB] = {};
    if constexpr (Dw) {
#pragma GCC unroll 8
      for (int v = 0; v < NB; ++v) masked[v] = kept == nullptr ? x[v] : keep(x[v], kept + at(v));
    }
    const std::ptrdiff_t rows = t.rows;
    for (std::ptrdiff_t r = 0; r < rows; ++r) {
      const T* const from = opaque(dy + offset[r]);
      Vector<T> weight{}, even{}, odd{};  // two chains of sums
      if constexpr (Dx) weight = broadcast(w[r]);
#pragma GCC unroll 8
      for (int v = 0; v < NB; ++v) {
        const Vector<T> lanes = load_once(from + at(v));
        if constexpr (Dx) part[v] += weight * lanes;
        if constexpr (Dw) {
          Vector<T>& sum = v % 2 == 0 ? even : odd;
          sum = v < 2 ? masked[v] * lanes : sum + masked[v] * lanes;
        }
      }
      if constexpr (Dw) store(sums + r * VL, load(sums + r * VL) + (NB > 1 ? even + odd : even));
    }
    if constexpr (Dx) {
#pragma GCC unroll 8
      for (int v = 0; v < NB; ++v) dx[v] += kept == nullptr ? part[v] : keep(part[v], kept + at(v));
    }
  }

  FASTCONV_INLINE void store_dx(std::ptrdiff_t f) const {
    if constexpr (Dx) {
#pragma GCC unroll 8
      for (int v = 0; v < NB; ++v) {
        store(t.dx + f + at(v), dx[v]);
        __builtin_prefetch(t.dx + f + at(v) + kAhead, 1);
      }
    }
  }
};

template <class T, bool Dx, bool Dw, int NB>
void gradient_tile(const PlaneGradients<T>& t, std::ptrdiff_t f, std::ptrdiff_t column, std::ptrdiff_t back) {
  GradientTile<T, Dx, Dw, NB> tile(t, f, back);
  const std::ptrdiff_t rows = t.rows;
  for (std::ptrdiff_t c = 0; c < t.columns; ++c) {
    const T* const kept = t.kept[c] == nullptr ? nullptr : t.kept[c] + column;
    tile.add(t.dy + f, t.offset + c * rows, t.w + c * rows, t.sums + c * rows * kLanes<T>, kept);
  }
  tile.store_dx(f);
}

template <class T, bool Dx, bool Dw, int NB>
void gradient_tile_of(std::ptrdiff_t vectors, const PlaneGradients<T>& t, std::ptrdiff_t f, std::ptrdiff_t column,
                      std::ptrdiff_t back) {
  if (vectors == NB) {
    gradient_tile<T, Dx, Dw, NB>(t, f, column, back);
  } else if constexpr (NB > 1) {
    gradient_tile_of<T, Dx, Dw, NB - 1>(vectors, t, f, column, back);
  }
}

// The fewest tiles, of like sizes.
template <class T, bool Dx, bool Dw>
void gradient_tiles(const PlaneGradients<T>& t) {
  constexpr int VL = kLanes<T>, most = kGradientVectors;
  const unsigned vectors = static_cast<unsigned>((t.length + VL - 1) / VL);
  const unsigned tiles = (vectors + most - 1) / most, each = (vectors + tiles - 1) / tiles;
  const unsigned period = static_cast<unsigned>(t.period), step = each * VL % period;
  unsigned v = 0, column = 0;
  for (; v + each < vectors; v += each) {
    gradient_tile_of<T, Dx, Dw, most>(each, t, v * VL, column, 0);
    column += step;
    if (column >= period) column -= period;
  }
  gradient_tile_of<T, Dx, Dw, most>(vectors - v, t, v * VL, column, vectors * VL - t.length);
}

template <class T>
void plane_gradients(const PlaneGradients<T>& t) {
  if (t.dx == nullptr) {
    gradient_tiles<T, false, true>(t);
  } else if (t.sums == nullptr) {
    gradient_tiles<T, true, false>(t);
  } else {
    gradient_tiles<T, true, true>(t);
  }
}

// The last vector overlaps the one before.
template <class T>
void split_pairs(const T* src, std::ptrdiff_t pairs, T* even, T* odd) {
  constexpr std::ptrdiff_t VL = kLanes<T>;
  using Order = typename MakeIndices<kLanes<T>>::type;
  const auto split = [&](std::ptrdiff_t i) {
    const Vector<T> a = load_once(src + 2 * i), b = load_once(src + 2 * i + VL);
    store(even + i, take_even(a, b, Order{}));
    store(odd + i, take_odd(a, b, Order{}));
  };
  if (pairs < VL) {
    for (std::ptrdiff_t i = 0; i < pairs; ++i) even[i] = src[2 * i], odd[i] = src[2 * i + 1];
    return;
  }
  for (std::ptrdiff_t i = 0; i + VL <= pairs; i += VL) split(i);
  split(pairs - VL);
}

template <class T>
void join_pairs(const T* even, const T* odd, std::ptrdiff_t pairs, T* dst) {
  constexpr std::ptrdiff_t VL = kLanes<T>;
  using Order = typename MakeIndices<kLanes<T>>::type;
  const auto zip = [&](std::ptrdiff_t i) {
    const Vector<T> a = load_once(even + i), b = load_once(odd + i);
    store(dst + 2 * i, zip_low(a, b, Order{}));
    store(dst + 2 * i + VL, zip_high(a, b, Order{}));
  };
  if (pairs < VL) {
    for (std::ptrdiff_t i = 0; i < pairs; ++i) dst[2 * i] = even[i], dst[2 * i + 1] = odd[i];
    return;
  }
  for (std::ptrdiff_t i = 0; i + VL <= pairs; i += VL) zip(i);
  zip(pairs - VL);
}

}  // namespace
