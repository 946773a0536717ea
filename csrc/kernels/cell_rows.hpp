// Rows of pixels between arrays and cells; see CellRows in cell_table.hpp.
//
// Rows go in whole vectors as far as others' memory allows it: cells behind a row are padding, and what lies behind a
// row of the array is its next row, which is written later. Else the last vector overlaps the one before, or halves and
// quarters do.
#pragma once

#include "pool_lanes.hpp"
#include "table.hpp"

namespace {

using fastconv::CellRows;
using fastconv::PlaceOf;

template <int L>
struct Width {};

// f(width, i) for pieces of n elements.
template <int L, class F>
FASTCONV_INLINE void for_each_piece(std::ptrdiff_t n, F&& f) {
  std::ptrdiff_t i = 0;
  for (; i + L <= n; i += L) f(Width<L>{}, i);
  if (i == n) return;
  if (n >= L) {
    f(Width<L>{}, n - L);
  } else if constexpr (L > 1) {
    for_each_piece<(L > 4 ? L / 2 : 1)>(n, f);
  }
}

// ---- what becomes of the elements -----------------------------------------------------------------------------------

struct Keys {
  template <class T>
  static constexpr PlaceOf<T> padding() {
    return static_cast<PlaceOf<T>>(PlaceOf<T>{1} << (8 * static_cast<int>(sizeof(T)) - 1));
  }
  template <int L, class T>
  static FASTCONV_INLINE Lanes<PlaceOf<T>, L> of(Lanes<T, L> v) {
    using P = PlaceOf<T>;
    const Lanes<P, L> most = ~padding<T>() - Lanes<P, L>{};
    const Lanes<P, L> bits = (Lanes<P, L>)(v + T(0));
    return v == v ? bits ^ ((bits >> (8 * static_cast<int>(sizeof(P)) - 1)) & most) : most;
  }
};

// No -0: then no sum depends on zeros that it meets.
struct Addends {
  template <class T>
  static constexpr T padding() {
    return 0;
  }
  template <int L, class T>
  static FASTCONV_INLINE Lanes<T, L> of(Lanes<T, L> v) {
    return v + T(0);
  }
};

// ---- rows -----------------------------------------------------------------------------------------------------------

template <class A, class B, class F>
FASTCONV_INLINE void for_each_cell_row(const CellRows& t, A* array, B* cells, F&& f) {
  for (std::ptrdiff_t p = 0; p < t.planes; ++p, array += t.array_plane, cells += t.cell_plane) {
    A* from = array;
    B* to = cells;
    int stream = 0;
    for (std::ptrdiff_t r = 0; r < t.rows; ++r, from += t.array_row) {
      f(from, to + t.row_stream[stream]);
      if (++stream == t.row_streams) stream = 0, to += t.cell_row;
    }
  }
}

// Pixels, and streams, whose elements follow each other.
FASTCONV_INLINE bool contiguous(const CellRows& t) {
  return t.streams == 1 && (t.pixels == 1 || (t.array_pixel == t.lanes && t.count == t.lanes));
}
FASTCONV_INLINE std::ptrdiff_t row_elements(const CellRows& t) { return t.pixels == 1 ? t.count : t.pixels * t.lanes; }
FASTCONV_INLINE bool alternating(const CellRows& t) { return t.streams == 2 && t.lanes == 1 && t.array_pixel == 1; }

// f(pixel of the array, its cell), one after the other.
template <class F>
FASTCONV_INLINE void for_each_pixel(const CellRows& t, F&& f) {
  for (int s = 0; s < t.streams; ++s) {
    std::ptrdiff_t cell = t.stream[s];
    for (std::ptrdiff_t m = s; m < t.pixels; m += t.streams, cell += t.lanes) f(m * t.array_pixel, cell);
  }
}

// The first n elements.
template <class T>
FASTCONV_INLINE Vector<T> load_first(const T* p, const T* end, std::ptrdiff_t n) {
  if (__builtin_expect(p + kLanes<T> <= end, 1)) return load(p);
  return load_end(p, n);
}

// n elements, the others padding; P is an integer as wide as B.
template <class P, class B, int... I>
FASTCONV_INLINE Vector<B> pad_behind(Vector<B> v, std::ptrdiff_t n, B padding, Indices<I...>) {
  if (n >= kLanes<B>) return v;
  return Vector<P>{static_cast<P>(I)...} < broadcast(static_cast<P>(n)) ? v : broadcast(padding);
}

template <class Op, class T, class B>
void into_cells(const CellRows& given, const T* array, const T* end, B* cells) {
  constexpr int VL = kLanes<T>;
  using Order = typename MakeIndices<VL>::type;
  const CellRows t = given;
  const auto put = [](B* to, Vector<T> v, std::ptrdiff_t n) {
    store(to, pad_behind<PlaceOf<T>, B>(Op::template of<VL, T>(v), n, Op::template padding<T>(), Order{}));
  };
  if (contiguous(t)) {
    const std::ptrdiff_t n = row_elements(t);
    for_each_cell_row(t, array, cells + t.stream[0], [&](const T* from, B* to) {
      for (std::ptrdiff_t i = 0; i < n; i += VL) put(to + i, load_first(from + i, end, n - i), n - i);
    });
  } else if (alternating(t)) {
    const std::ptrdiff_t odds = t.pixels / 2, evens = t.pixels - odds;
    for_each_cell_row(t, array, cells, [&](const T* from, B* to) {
      for (std::ptrdiff_t i = 0; i < evens; i += VL) {
        const std::ptrdiff_t n = t.pixels - 2 * i;
        const Vector<T> a = load_first(from + 2 * i, end, n), b = load_first(from + 2 * i + VL, end, n - VL);
        put(to + t.stream[0] + i, take_even(a, b, Order{}), evens - i);
        put(to + t.stream[1] + i, take_odd(a, b, Order{}), odds - i);
      }
    });
  } else {
    for_each_cell_row(t, array, cells, [&](const T* from, B* to) {
      for_each_pixel(t, [&](std::ptrdiff_t pixel, std::ptrdiff_t cell) {
        for_each_piece<VL>(t.count, [&]<int L>(Width<L>, std::ptrdiff_t i) {
          store_lanes<L>(to + cell + i, Op::template of<L, T>(load_lanes<L>(from + pixel + i)));
        });
      });
    });
  }
}

template <class T>
void keys_to_cells(const CellRows& t, const T* array, const T* end, PlaceOf<T>* cells) {
  into_cells<Keys>(t, array, end, cells);
}

template <class T>
void to_cells(const CellRows& t, const T* array, const T* end, T* cells) {
  into_cells<Addends>(t, array, end, cells);
}

template <class T>
void from_cells(const CellRows& given, const T* cells, T* array) {
  constexpr int VL = kLanes<T>;
  using Order = typename MakeIndices<VL>::type;
  const CellRows t = given;
  const std::ptrdiff_t n = row_elements(t);
  const bool dense = t.array_row == n && (t.planes == 1 || t.array_plane == t.rows * n);
  const T* const end = dense ? array + t.planes * t.rows * n : nullptr;
  if (contiguous(t)) {
    for_each_cell_row(t, array, cells + t.stream[0], [&](T* to, const T* from) {
      for (std::ptrdiff_t i = 0; i < n; i += VL) store_first(to + i, load(from + i), end, n - i);
    });
  } else if (alternating(t)) {
    for_each_cell_row(t, array, cells, [&](T* to, const T* from) {
      for (std::ptrdiff_t i = 0; 2 * i < n; i += VL) {
        const Vector<T> a = load(from + t.stream[0] + i), b = load(from + t.stream[1] + i);
        store_first(to + 2 * i, zip_low(a, b, Order{}), end, n - 2 * i);
        store_first(to + 2 * i + VL, zip_high(a, b, Order{}), end, n - 2 * i - VL);
      }
    });
  } else {
    for_each_cell_row(t, array, cells, [&](T* to, const T* from) {
      for_each_pixel(t, [&](std::ptrdiff_t pixel, std::ptrdiff_t cell) {
        for_each_piece<VL>(t.count, [&]<int L>(Width<L>, std::ptrdiff_t i) {
          store_lanes<L>(to + pixel + i, load_lanes<L>(from + cell + i));
        });
      });
    });
  }
}

}  // namespace
