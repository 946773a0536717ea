// Folds of pooling windows: maxima, maxima with their places, sums. See Fold in table.hpp.
//
// A window is folded from the inside out: its taps along the width, left to right; then those results along
// the height, top to bottom; then along the depth. For maxima any grouping gives the same bits as long as
// the earlier one wins ties; for sums this is the order of additions, on every ISA and in every layout.
#pragma once

#include "pool_lanes.hpp"
#include "table.hpp"

namespace {

using fastconv::Fold;
using fastconv::PlaceOf;

// ---- what is folded: a state of NV vectors, loaded from a tap and combined with a later one -------------

template <class T, int NV>
struct Maxima {
  static constexpr bool kPlaces = false;
  Vector<T> value[NV];

  FASTCONV_INLINE void set(const Fold<T>&, const T*, int j, std::ptrdiff_t, Vector<T> v) { value[j] = v; }
  // Ties stay with the earlier one, and NaN wins. x86 has one instruction for `larger`, which compilers find
  // unless they first merge the two conditions.
  FASTCONV_INLINE void combine(const Maxima& later) {
    for (int j = 0; j < NV; ++j) {
      const Vector<T> best = value[j], v = later.value[j];
      const Vector<T> larger = opaque<Vector<T>>(v > best ? v : best);
      value[j] = v == v ? larger : v;
    }
  }
};

template <class T, int NV>
struct MaximaWithPlaces {
  static constexpr bool kPlaces = true;
  Vector<T> value[NV];
  Vector<PlaceOf<T>> place[NV];

  FASTCONV_INLINE void set(const Fold<T>& f, const T* p, int j, std::ptrdiff_t at, Vector<T> v) {
    value[j] = v;
    place[j] = broadcast(static_cast<PlaceOf<T>>(at));
    if (f.src_place != nullptr) place[j] += load(f.src_place + (p - f.src));
  }
  // Ties stay with the earlier one; so does NaN.
  FASTCONV_INLINE void combine(const MaximaWithPlaces& later) {
    for (int j = 0; j < NV; ++j) {
      const Vector<T> best = value[j], v = later.value[j];
      const auto take = ~(v <= best) & (best == best);
      value[j] = take ? v : best;
      place[j] = take ? later.place[j] : place[j];
    }
  }
};

template <class T, int NV>
struct Sums {
  static constexpr bool kPlaces = false;
  Vector<T> value[NV];

  FASTCONV_INLINE void set(const Fold<T>&, const T*, int j, std::ptrdiff_t, Vector<T> v) { value[j] = v; }
  FASTCONV_INLINE void combine(const Sums& later) {
    for (int j = 0; j < NV; ++j) value[j] += later.value[j];
  }
};

// ---- the taps of a window ---------------------------------------------------------------------------------

// A whole vector, or only the n elements that exist.
template <bool Whole, class T>
FASTCONV_INLINE Vector<T> load_some(const T* p, std::ptrdiff_t n) {
  if (Whole || n >= kLanes<T>) return load(p);
  return load_end(p, n);
}

// Places of double precision, which hardly anyone asks for, would be half as much code again as all other folds.
template <class T, class State>
inline constexpr bool kSmall = State::kPlaces && sizeof(T) > sizeof(float);

// One window in each lane, `left` of which exist; what lies behind them is read only where Whole. KH and KW
// are taps[1] and taps[2] where they are known, else 0.
template <Leaf L, class State, class T, int NV, bool Whole, int KH, int KW>
struct Windows {
  static constexpr bool kUnrolled = Whole && !kSmall<T, State>;  // ends of arrays come once
  const Fold<T>& f;
  std::ptrdiff_t left;

  FASTCONV_INLINE State tap(const T* p, std::ptrdiff_t at) const {
    State s;
    for (int j = 0; j < NV; ++j) {
      s.set(f, p + j * kLanes<T>, j, at, load_some<Whole>(p + j * kLanes<T>, left - j * kLanes<T>));
    }
    return s;
  }

  FASTCONV_INLINE State dense(const T* p, std::ptrdiff_t at) const {
    State s = tap(p, at);
    const std::ptrdiff_t taps = KW > 0 ? KW : f.taps[2];
    const auto next = [&]() __attribute__((always_inline)) {
      p += f.tap_step[2];
      at += f.place_step[2];
      s.combine(tap(p, at));
    };
    if constexpr (kUnrolled) {
#pragma GCC unroll 5
      for (std::ptrdiff_t t = 1; t < taps; ++t) next();
    } else {
      for (std::ptrdiff_t t = 1; t < taps; ++t) next();
    }
    return s;
  }

  // Taps p[0] and p[1] of every lane, from the same vectors.
  FASTCONV_INLINE void pair(const T* p, std::ptrdiff_t at, State& even, State& odd) const {
    using Order = typename MakeIndices<kLanes<T>>::type;
    constexpr std::ptrdiff_t VL = kLanes<T>;
    for (int j = 0; j < NV; ++j) {
      const T* q = p + 2 * j * VL;
      const std::ptrdiff_t n = 2 * (left - j * VL);
      const Vector<T> a = load_some<Whole>(q, n), b = load_some<Whole>(q + VL, n - VL);
      even.set(f, q, j, at, take_even(a, b, Order{}));
      odd.set(f, q, j, at + f.place_step[2], take_odd(a, b, Order{}));
    }
  }

  // The last tap of an odd count is the odd half of a load one element before it, as an even half would
  // read one element too many.
  FASTCONV_INLINE State pairs(const T* p, std::ptrdiff_t at) const {
    State s, even, odd;
    pair(p, at, s, odd);
    s.combine(odd);
    const std::ptrdiff_t taps = KW > 0 ? KW : f.taps[2];
    std::ptrdiff_t t = 2;
    for (; t + 1 < taps; t += 2) {
      pair(p + t, at + t * f.place_step[2], even, odd);
      s.combine(even);
      s.combine(odd);
    }
    if (t < taps) {
      pair(p + t - 1, at + (t - 1) * f.place_step[2], even, odd);
      s.combine(odd);
    }
    return s;
  }

  FASTCONV_INLINE State width(const T* p, std::ptrdiff_t at) const {
    if constexpr (L == Leaf::kDense) {
      return dense(p, at);
    } else {
      return pairs(p, at);
    }
  }
  FASTCONV_INLINE State height(const T* p, std::ptrdiff_t at) const {
    State s = width(p, at);
    const std::ptrdiff_t taps = KH > 0 ? KH : f.taps[1];
    const auto next = [&]() __attribute__((always_inline)) {
      p += f.tap_step[1];
      at += f.place_step[1];
      s.combine(width(p, at));
    };
    if constexpr (kUnrolled) {
#pragma GCC unroll 5
      for (std::ptrdiff_t t = 1; t < taps; ++t) next();
    } else {
      for (std::ptrdiff_t t = 1; t < taps; ++t) next();
    }
    return s;
  }
  FASTCONV_INLINE State depth(const T* p) const {
    State s = height(p, 0);
    for (std::ptrdiff_t t = 1; t < f.taps[0]; ++t) {
      s.combine(height(p + t * f.tap_step[0], t * f.place_step[0]));
    }
    return s;
  }
};

// ---- storing ----------------------------------------------------------------------------------------------

// A whole vector, or only the n elements that exist.
template <bool Whole, class T>
FASTCONV_INLINE void store_some(T* p, Vector<T> v, std::ptrdiff_t n) {
  if (Whole || n >= kLanes<T>) {
    store(p, v);
  } else if (n > 0) {
    store_end(p, v, n);
  }
}

// Where in the fold: a row of a plane, and the first of its lanes that is worked on.
template <class T>
struct Target {
  const Fold<T>& f;
  std::ptrdiff_t plane, row, lane, place;

  FASTCONV_INLINE std::ptrdiff_t offset() const { return plane * f.dst_plane + row * f.ld_dst + lane; }
  FASTCONV_INLINE T* dst() const { return f.dst + offset(); }
  FASTCONV_INLINE std::int64_t* indices() const {
    return f.indices + plane * f.indices_plane + row * f.ld_indices + lane;
  }
  FASTCONV_INLINE std::ptrdiff_t left() const { return f.n - lane; }
};

template <bool Whole, class T, int NV>
FASTCONV_INLINE void finish(const Target<T>& to, const Maxima<T, NV>& s) {
  for (int j = 0; j < NV; ++j) {
    store_some<Whole>(to.dst() + j * kLanes<T>, s.value[j], to.left() - j * kLanes<T>);
  }
}

template <bool Whole, class T, int NV>
FASTCONV_INLINE void finish(const Target<T>& to, const Sums<T, NV>& s) {
  const Fold<T>& f = to.f;
  for (int j = 0; j < NV; ++j) {
    Vector<T> v = s.value[j];
    if (f.scale != nullptr) {
      v *= f.scale_lanes ? load(f.scale + to.lane + j * kLanes<T>) : broadcast(f.scale[to.row]);
    }
    store_some<Whole>(to.dst() + j * kLanes<T>, v, to.left() - j * kLanes<T>);
  }
}

template <int From, class V, int... I>
inline auto part(V v, Indices<I...>) {
  return __builtin_shufflevector(v, v, (From + I)...);
}

template <bool Whole>
FASTCONV_INLINE void store_wide(std::int64_t* p, Vector<std::int64_t> v, std::ptrdiff_t n) {
  store_some<Whole>(p, v, n);
}

// Twice as many lanes as int64 has in a vector.
template <bool Whole>
FASTCONV_INLINE void store_wide(std::int64_t* p, Vector<std::int32_t> v, std::ptrdiff_t n) {
  constexpr int half = kLanes<std::int64_t>;
  using Order = typename MakeIndices<half>::type;
  store_some<Whole>(p, __builtin_convertvector(part<0>(v, Order{}), Vector<std::int64_t>), n);
  store_some<Whole>(p + half, __builtin_convertvector(part<half>(v, Order{}), Vector<std::int64_t>), n - half);
}

template <bool Whole, class T, int NV>
FASTCONV_INLINE void finish(const Target<T>& to, const MaximaWithPlaces<T, NV>& s) {
  using P = PlaceOf<T>;
  const Fold<T>& f = to.f;
  for (int j = 0; j < NV; ++j) {
    const std::ptrdiff_t skip = j * kLanes<T>, n = to.left() - skip;
    store_some<Whole>(to.dst() + skip, s.value[j], n);
    const Vector<P> place = s.place[j] + lane_places<P>(to.place + (to.lane + skip) * f.place_lane, f.place_lane);
    if (f.dst_place != nullptr) {
      store_some<Whole>(f.dst_place + to.offset() + skip, place, n);
    } else {
      store_wide<Whole>(to.indices() + skip, place, n);
    }
  }
}

// ---- the kernels ------------------------------------------------------------------------------------------

template <class T, Leaf L, template <class, int> class State, int NV, bool Whole, int KH, int KW>
FASTCONV_INLINE void fold_lanes(const Target<T>& to, const T* src) {
  const Windows<L, State<T, NV>, T, NV, Whole, KH, KW> windows{to.f, to.left()};
  finish<Whole>(to, windows.depth(src + (L == Leaf::kDense ? to.lane : 2 * to.lane)));
}

// A row that is shorter than a vector, at the end of an array.
template <class T, Leaf L, template <class, int> class State>
__attribute__((noinline)) void fold_short_row(const Target<T>& to, const T* src) {
  fold_lanes<T, L, State, 1, false, 0, 0>(to, src);
}

// How far a window's last tap, or pair of taps, lies behind its first.
template <class T, Leaf L>
FASTCONV_INLINE std::ptrdiff_t reach_of(const Fold<T>& f) {
  return (f.taps[0] - 1) * f.tap_step[0] + (f.taps[1] - 1) * f.tap_step[1] +
         (L == Leaf::kDense ? (f.taps[2] - 1) * f.tap_step[2] : f.taps[2] - 2);
}

template <class T, Leaf L, template <class, int> class State, int KH, int KW>
void fold_rows(const Fold<T>& given) {
  constexpr std::ptrdiff_t VL = kLanes<T>, apart = L == Leaf::kDense ? 1 : 2;
  constexpr int NV = L == Leaf::kDense && kVectorBytes > 16 ? 4 : 2;
  const Fold<T> f = given;  // which no store can change
  const std::ptrdiff_t reach = reach_of<T, L>(f) + apart * VL;
  for (std::ptrdiff_t plane = 0; plane < f.planes; ++plane) {
    Target<T> to{f, plane, 0, 0, f.place + plane * f.place_plane};
    const T* src = f.src + plane * f.src_plane;
    for (; to.row < f.rows; ++to.row, to.place += f.place_row, src += f.step) {
      to.lane = 0;
      if (f.n < VL) {
        const bool whole = src + reach <= f.src_end && to.dst() + VL <= f.dst_end &&
                           (f.indices == nullptr || to.indices() + VL <= f.indices_end);
        if (whole) {
          fold_lanes<T, L, State, 1, true, KH, KW>(to, src);
        } else {
          fold_short_row<T, L, State>(to, src);
        }
        continue;
      }
      for (; to.lane + NV * VL <= f.n; to.lane += NV * VL) fold_lanes<T, L, State, NV, true, KH, KW>(to, src);
      // The last vector overlaps the one before it.
      for (; to.lane < f.n; to.lane += VL) {
        if (to.lane + VL > f.n) to.lane = f.n - VL;
        fold_lanes<T, L, State, 1, true, KH, KW>(to, src);
      }
    }
  }
}

template <class T, Leaf L, template <class, int> class State>
void fold(const Fold<T>& f) {
  const bool flat = f.taps[0] == 1;
  const auto is = [&](int h, int w) { return flat && f.taps[1] == h && f.taps[2] == w; };
  if (is(2, 2)) return fold_rows<T, L, State, 2, 2>(f);
  if constexpr (L == Leaf::kDense && !kCompact && !kSmall<T, State<T, 1>>) {
    if (is(3, 3)) return fold_rows<T, L, State, 3, 3>(f);
    if (is(3, 1)) return fold_rows<T, L, State, 3, 1>(f);
    if (is(1, 3)) return fold_rows<T, L, State, 1, 3>(f);
    if (is(5, 1)) return fold_rows<T, L, State, 5, 1>(f);
    if (is(1, 5)) return fold_rows<T, L, State, 1, 5>(f);
  }
  fold_rows<T, L, State, 0, 0>(f);
}

// ---- two folds whose results alternate -------------------------------------------------------------------

// One row of dst: f gives its even columns, g the odd ones. All of src may be read in whole vectors.
template <class T, template <class, int> class State, int EVEN, int ODD>
FASTCONV_INLINE void fold_alternately(const Fold<T>& f, const Fold<T>& g, const T* src, T* dst) {
  using Order = typename MakeIndices<kLanes<T>>::type;
  constexpr std::ptrdiff_t VL = kLanes<T>;
  for (std::ptrdiff_t lane = 0; 2 * lane < f.n; lane += VL) {
    const Windows<Leaf::kDense, State<T, 1>, T, 1, true, 0, EVEN> even{f, VL};
    const Windows<Leaf::kDense, State<T, 1>, T, 1, true, 0, ODD> odd{g, VL};
    const Vector<T> a = even.depth(src + lane).value[0], b = odd.depth(src + lane + f.odd).value[0];
    T* const to = dst + 2 * lane;
    const std::ptrdiff_t n = f.n - 2 * lane;
    if (to + 2 * VL <= f.dst_end) {
      store(to, zip_low(a, b, Order{}));
      store(to + VL, zip_high(a, b, Order{}));
    } else {
      store_some<false>(to, zip_low(a, b, Order{}), n);
      store_some<false>(to + VL, zip_high(a, b, Order{}), n - VL);
    }
  }
}

template <class T, template <class, int> class State, int EVEN, int ODD>
void fold_zip_rows(const Fold<T>& given) {
  Fold<T> f = given, g = given, f_odd = given, g_odd = given;  // which no store can change
  g.taps[2] = g_odd.taps[2] = given.odd_taps;
  f_odd.taps[1] = g_odd.taps[1] = given.odd_row_taps;
  for (std::ptrdiff_t plane = 0; plane < f.planes; ++plane) {
    const T* src = f.src + plane * f.src_plane;
    T* dst = f.dst + plane * f.dst_plane;
    for (std::ptrdiff_t row = 0; row < f.rows; row += f.row_kinds, src += f.step, dst += f.row_kinds * f.ld_dst) {
      fold_alternately<T, State, EVEN, ODD>(f, g, src, dst);
      if (f.row_kinds == 1 || row + 1 == f.rows) continue;
      fold_alternately<T, State, EVEN, ODD>(f_odd, g_odd, src + f.odd_row, dst + f.ld_dst);
    }
  }
}

template <class T, template <class, int> class State>
void fold_zip(const Fold<T>& f) {
  if (f.taps[2] == 1 && f.odd_taps == 2) return fold_zip_rows<T, State, 1, 2>(f);
  fold_zip_rows<T, State, 0, 0>(f);
}

}  // namespace
