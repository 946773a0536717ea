// Pools whose window is all of a plane of `size` contiguous elements, at least a vector's.
//
// A plane is folded lane by lane; then as many planes as a vector has lanes are transposed in registers, so that one
// more fold gives all their results at once. The last vector of a plane overlaps the one before it.
#pragma once

#include "pool_lanes.hpp"
#include "table.hpp"

namespace {

using fastconv::FillPlanes;
using fastconv::PlaceOf;
using fastconv::WholePlanes;

// f(first element) for the vectors of a plane, from the last one to the first.
template <class T, class F>
FASTCONV_INLINE void for_each_vector_back(std::ptrdiff_t size, F&& f) {
  constexpr std::ptrdiff_t VL = kLanes<T>;
  f(size - VL);
  for (std::ptrdiff_t i = (size - 1) / VL * VL - VL; i >= 0; i -= VL) f(i);
}

// Lane i: the fold of the lanes of v[i].
template <class T, class F>
FASTCONV_INLINE Vector<T> fold_lanes_of(Vector<T> (&v)[kLanes<T>], F&& f) {
  transpose<T>(v);
#pragma GCC unroll 4
  for (int half = kLanes<T> / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < half; ++i) v[i] = f(v[i], v[i + half]);
  }
  return v[0];
}

template <class T>
FASTCONV_INLINE Vector<T> larger(Vector<T> a, Vector<T> b) {  // or NaN
  const Vector<T> most = opaque<Vector<T>>(b > a ? b : a);
  return b == b ? most : b;
}

// The maxima of `planes` planes, at most VL.
template <class T>
FASTCONV_INLINE Vector<T> maxima(const WholePlanes<T>& t, const T* x, int planes) {
  constexpr int VL = kLanes<T>;
  Vector<T> v[VL];
  for (int p = 0; p < VL; ++p) {
    v[p] = Vector<T>{};
    if (p >= planes) continue;
    const T* const plane = x + p * t.x_plane;
    v[p] = load(plane + t.size - VL);
    for_each_vector_back<T>(t.size, [&](std::ptrdiff_t i) { v[p] = larger<T>(v[p], load(plane + i)); });
  }
  return fold_lanes_of<T>(v, [](Vector<T> a, Vector<T> b) { return larger<T>(a, b); });
}

// The first elements that equal `most`, or are NaN if it is.
template <class T>
FASTCONV_INLINE Vector<PlaceOf<T>> first_places(const WholePlanes<T>& t, const T* x, const T* most, int planes) {
  using P = PlaceOf<T>;
  constexpr int VL = kLanes<T>;
  Vector<P> place[VL];
  for (int p = 0; p < VL; ++p) {
    Vector<P> first = broadcast(static_cast<P>(t.size));
    const T* const plane = x + p * t.x_plane;
    const Vector<T> best = broadcast(most[p]);
    if (p < planes) {
      for_each_vector_back<T>(t.size, [&](std::ptrdiff_t i) {
        const Vector<T> v = load(plane + i);
        first = ((v == best) | (v != v)) ? lane_places<P>(i, 1) : first;
      });
    }
    place[p] = first;
  }
  return fold_lanes_of<P>(place, [](Vector<P> a, Vector<P> b) { return a < b ? a : b; });
}

template <class T>
void whole_plane_maxima(const WholePlanes<T>& given) {
  using P = PlaceOf<T>;
  constexpr int VL = kLanes<T>;
  const WholePlanes<T> t = given;  // which no store can change
  for (std::ptrdiff_t first = 0; first < t.planes; first += VL) {
    const int planes = t.planes - first < VL ? static_cast<int>(t.planes - first) : VL;
    const T* const x = t.x + first * t.x_plane;
    alignas(kVectorBytes) T most[VL];
    alignas(kVectorBytes) P place[VL];
    const Vector<T> m = maxima(t, x, planes);
    store(most, m);
    // Of several zeros, or NaNs, the first one is the result.
    bool exact = t.indices == nullptr;
    for (int p = 0; p < planes; ++p) exact = exact && most[p] == most[p] && most[p] != T(0);
    if (!exact) {
      store(place, first_places(t, x, most, planes));
      for (int p = 0; p < planes; ++p) most[p] = x[p * t.x_plane + place[p]];
    }
    for (int p = 0; p < planes; ++p) t.y[first + p] = most[p];
    for (int p = 0; p < planes && t.indices != nullptr; ++p) t.indices[first + p] = place[p];
  }
}

template <class T>
void fill_planes(const FillPlanes<T>& given) {
  constexpr std::ptrdiff_t VL = kLanes<T>;
  const FillPlanes<T> t = given;  // which no store can change
  T* dx = t.dx;
  for (std::ptrdiff_t p = 0; p < t.planes; ++p, dx += t.dx_plane) {
    const Vector<T> v = broadcast(t.value == nullptr ? T(0) : t.value[p * t.value_step] * t.scale + T(0));
    for (std::ptrdiff_t i = 0; i + VL <= t.size; i += VL) store(dx + i, v);
    if (t.size >= VL) {
      store(dx + t.size - VL, v);
    } else {
      store_end(dx, v, t.size);
    }
  }
}

}  // namespace
