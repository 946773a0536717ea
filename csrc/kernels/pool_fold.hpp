// Folds of pooling windows: maxima, maxima with their places, sums. See Fold in table.hpp.
//
// A window is folded from the inside out: its taps along the width, left to right; then those results along
// the height, top to bottom; then along the depth. For maxima any grouping gives the same bits as long as
// the earlier one wins ties; for sums this is the order of additions, on every ISA and in every layout.
#pragma once

#include "simd.hpp"
#include "table.hpp"

namespace {

using fastconv::Fold;
using fastconv::PlaceOf;

// How the lanes of one tap are loaded: p[0], p[1], ... or p[0], p[2], ...
enum class Leaf { kDense, kPairs };

// ---- what is folded: a state of NV vectors, loaded from a tap and combined with a later one -------------

template <class T, int NV>
struct Maxima {
  Vector<T> value[NV];

  void set(const Fold<T>&, const T*, int j, std::ptrdiff_t, Vector<T> v) { value[j] = v; }
  // Ties stay with the earlier one. So does NaN.
  void combine(const Maxima& later) {
    for (int j = 0; j < NV; ++j) {
      const Vector<T> best = value[j], v = later.value[j];
      value[j] = (best >= v) | (best != best) ? best : v;
    }
  }
};

template <class T, int NV>
struct MaximaWithPlaces {
  Vector<T> value[NV];
  Vector<PlaceOf<T>> place[NV];

  void set(const Fold<T>& f, const T* p, int j, std::ptrdiff_t at, Vector<T> v) {
    value[j] = v;
    place[j] = broadcast(static_cast<PlaceOf<T>>(at));
    if (f.src_place != nullptr) place[j] += load(f.src_place + (p - f.src));
  }
  void combine(const MaximaWithPlaces& later) {
    for (int j = 0; j < NV; ++j) {
      const Vector<T> best = value[j], v = later.value[j];
      const auto keep = (best >= v) | (best != best);
      value[j] = keep ? best : v;
      place[j] = keep ? place[j] : later.place[j];
    }
  }
};

template <class T, int NV>
struct Sums {
  Vector<T> value[NV];

  void set(const Fold<T>&, const T*, int j, std::ptrdiff_t, Vector<T> v) { value[j] = v; }
  void combine(const Sums& later) {
    for (int j = 0; j < NV; ++j) value[j] += later.value[j];
  }
};

// ---- the taps of a window ---------------------------------------------------------------------------------

template <class V, int... I>
inline V take_even(V a, V b, Indices<I...>) {
  return __builtin_shufflevector(a, b, (2 * I)...);
}
template <class V, int... I>
inline V take_odd(V a, V b, Indices<I...>) {
  return __builtin_shufflevector(a, b, (2 * I + 1)...);
}

// Reads n elements, or a whole vector where `whole`.
template <class T>
inline Vector<T> load_some(const T* p, bool whole, std::ptrdiff_t n) {
  constexpr std::ptrdiff_t VL = kLanes<T>;
  return whole || n >= VL ? load(p) : load_tail(p, n > 0 ? static_cast<int>(n) : 0);
}

// The lanes of one row of taps. `left` is how many lanes exist, to be respected unless `whole`.
template <Leaf L, class State, class T, int NV>
struct Row {
  const Fold<T>& f;
  bool whole;
  std::ptrdiff_t left;

  State tap(const T* p, std::ptrdiff_t at) const {
    State s;
    for (int j = 0; j < NV; ++j) {
      s.set(f, p + j * kLanes<T>, j, at, load_some(p + j * kLanes<T>, whole, left - j * kLanes<T>));
    }
    return s;
  }

  State dense(const T* p, std::ptrdiff_t at) const {
    State s = tap(p, at);
    for (std::ptrdiff_t t = 1; t < f.taps[2]; ++t) {
      s.combine(tap(p + t * f.tap_step[2], at + t * f.place_step[2]));
    }
    return s;
  }

  // Taps p[0] and p[1] of every lane, from the same vectors.
  void pair(const T* p, std::ptrdiff_t at, State& even, State& odd) const {
    using Order = typename MakeIndices<kLanes<T>>::type;
    constexpr std::ptrdiff_t VL = kLanes<T>;
    for (int j = 0; j < NV; ++j) {
      const T* q = p + 2 * j * VL;
      const std::ptrdiff_t n = 2 * (left - j * VL);
      const Vector<T> a = load_some(q, whole, n), b = load_some(q + VL, whole, n - VL);
      even.set(f, q, j, at, take_even(a, b, Order{}));
      odd.set(f, q, j, at + f.place_step[2], take_odd(a, b, Order{}));
    }
  }

  // The last tap of an odd count is the odd half of a load one element before it, as an even half would
  // read one element too many.
  State pairs(const T* p, std::ptrdiff_t at) const {
    State s, even, odd;
    pair(p, at, s, odd);
    s.combine(odd);
    std::ptrdiff_t t = 2;
    for (; t + 1 < f.taps[2]; t += 2) {
      pair(p + t, at + t * f.place_step[2], even, odd);
      s.combine(even);
      s.combine(odd);
    }
    if (t < f.taps[2]) {
      pair(p + t - 1, at + (t - 1) * f.place_step[2], even, odd);
      s.combine(odd);
    }
    return s;
  }

  State width(const T* p, std::ptrdiff_t at) const {
    if constexpr (L == Leaf::kDense) {
      return dense(p, at);
    } else {
      return pairs(p, at);
    }
  }
  State height(const T* p, std::ptrdiff_t at) const {
    State s = width(p, at);
    for (std::ptrdiff_t t = 1; t < f.taps[1]; ++t) {
      s.combine(width(p + t * f.tap_step[1], at + t * f.place_step[1]));
    }
    return s;
  }
  State depth(const T* p, std::ptrdiff_t at) const {
    State s = height(p, at);
    for (std::ptrdiff_t t = 1; t < f.taps[0]; ++t) {
      s.combine(height(p + t * f.tap_step[0], at + t * f.place_step[0]));
    }
    return s;
  }
};

// ---- storing ----------------------------------------------------------------------------------------------

template <class T>
inline void store_some(T* p, Vector<T> v, bool whole, std::ptrdiff_t n) {
  if (whole || n >= kLanes<T>) {
    store(p, v);
  } else if (n > 0) {
    store_tail(p, v, static_cast<int>(n));
  }
}

template <class T>
struct RowOf {  // where in the fold: a row, and the first of its lanes that is worked on
  const Fold<T>& f;
  std::ptrdiff_t row, lane;
  bool whole;

  T* dst() const { return f.dst + row * f.ld_dst + lane; }
  std::ptrdiff_t left() const { return f.n - lane; }
};

template <class T, int NV>
inline void finish(const RowOf<T>& r, const Maxima<T, NV>& s) {
  for (int j = 0; j < NV; ++j) {
    store_some(r.dst() + j * kLanes<T>, s.value[j], r.whole, r.left() - j * kLanes<T>);
  }
}

template <class T, int NV>
inline void finish(const RowOf<T>& r, const Sums<T, NV>& s) {
  const Fold<T>& f = r.f;
  for (int j = 0; j < NV; ++j) {
    Vector<T> v = s.value[j];
    const std::ptrdiff_t n = r.left() - j * kLanes<T>;
    if (f.scale_lanes) {
      v *= load_some(f.scale + r.lane + j * kLanes<T>, r.whole, n);
    } else if (f.scale != nullptr) {
      v *= broadcast(f.scale[r.row]);
    }
    store_some(r.dst() + j * kLanes<T>, v, r.whole, n);
  }
}

template <int From, class V, int... I>
inline auto part(V v, Indices<I...>) {
  return __builtin_shufflevector(v, v, (From + I)...);
}

inline void store_wide(std::int64_t* p, Vector<std::int64_t> v, std::ptrdiff_t n) { store_some(p, v, false, n); }

// Twice as many lanes as int64 has in a vector.
inline void store_wide(std::int64_t* p, Vector<std::int32_t> v, std::ptrdiff_t n) {
  constexpr int half = kLanes<std::int64_t>;
  using Order = typename MakeIndices<half>::type;
  store_some(p, __builtin_convertvector(part<0>(v, Order{}), Vector<std::int64_t>), false, n);
  store_some(p + half, __builtin_convertvector(part<half>(v, Order{}), Vector<std::int64_t>), false, n - half);
}

template <class P, int... I>
inline Vector<P> count_up(Indices<I...>) {
  return Vector<P>{static_cast<P>(I)...};
}

template <class T, int NV>
inline void finish(const RowOf<T>& r, const MaximaWithPlaces<T, NV>& s) {
  using P = PlaceOf<T>;
  const Fold<T>& f = r.f;
  const Vector<P> lanes = count_up<P>(typename MakeIndices<kLanes<P>>::type{}) * broadcast(static_cast<P>(f.place_lane));
  for (int j = 0; j < NV; ++j) {
    const std::ptrdiff_t lane = r.lane + j * kLanes<T>, n = f.n - lane;
    store_some(r.dst() + j * kLanes<T>, s.value[j], r.whole, n);
    const std::ptrdiff_t first = f.place + r.row * f.place_row + lane * f.place_lane;
    const Vector<P> place = s.place[j] + lanes + broadcast(static_cast<P>(first));
    if (f.dst_place != nullptr) {
      store_some(f.dst_place + r.row * f.ld_dst + lane, place, r.whole, n);
    } else {
      store_wide(f.indices + r.row * f.ld_indices + lane, place, n);
    }
  }
}

// ---- the kernels ------------------------------------------------------------------------------------------

template <class T, Leaf L, template <class, int> class State, int NV>
inline void fold_block(const Fold<T>& f, std::ptrdiff_t row, std::ptrdiff_t lane, std::ptrdiff_t reach) {
  constexpr std::ptrdiff_t apart = L == Leaf::kDense ? 1 : 2;
  const T* p = f.src + row * f.step + apart * lane;
  const bool readable = p + reach + apart * NV * kLanes<T> <= f.src_end;
  const bool writable = f.dst + row * f.ld_dst + lane + NV * kLanes<T> <= f.dst_end;
  const Row<L, State<T, NV>, T, NV> taps{f, readable, f.n - lane};
  finish(RowOf<T>{f, row, lane, writable}, taps.depth(p, 0));
}

template <class T, Leaf L, template <class, int> class State>
void fold(const Fold<T>& f) {
  constexpr std::ptrdiff_t VL = kLanes<T>;
  constexpr int most = 2;
  std::ptrdiff_t reach = (f.taps[0] - 1) * f.tap_step[0] + (f.taps[1] - 1) * f.tap_step[1];
  reach += L == Leaf::kDense ? (f.taps[2] - 1) * f.tap_step[2] : f.taps[2] - 2;
  for (std::ptrdiff_t row = 0; row < f.rows; ++row) {
    std::ptrdiff_t lane = 0;
    for (; lane + most * VL <= f.n; lane += most * VL) fold_block<T, L, State, most>(f, row, lane, reach);
    for (; lane < f.n; lane += VL) fold_block<T, L, State, 1>(f, row, lane, reach);
  }
}

}  // namespace
