// Winograd's algorithm along one axis: m outputs of an r-tap correlation from m + r - 1 products.
//
// Two polynomials of degrees m - 1 and r - 1 have a product of degree m + r - 2, which its values at m + r - 1 points
// determine: evaluate both, multiply value by value, interpolate. Transposing that bilinear form turns the product into
// the correlation y = A^T [(G g) * (B^T d)] (Winograd 1980; Lavin and Gray, arXiv:1509.09308). With the points p_i
//
//   A^T[k, i] = p_i^k             G[i, k] = p_i^k / prod over j != i of (p_i - p_j)
//   B^T[i, :] = coefficients of   prod over j != i of (x - p_j)
//
// and infinity as the last point, where A^T and G take the highest coefficient and B^T the product over all finite p_j.
//
// Six points are 0, +-a, +-1/a and infinity with a = sqrt(2). The rounding error grows with the spread of the powers
// p^k; these points, reciprocal to each other, spread them half as wide as 0, +-1, +-2 (figures:
// tests/test_winograd.py). Four points are 0, +-1 and infinity, whose transforms are sums alone.
#pragma once

#include "simd.hpp"

namespace {

// Pairs of points +-p share their even and odd parts, which is most of what the functions below do. Other counts of
// points are in winograd_pairs.hpp.
template <int Points>
struct WinogradPoints;

template <>
struct WinogradPoints<6> {
  static constexpr double a = 1.41421356237309504880;  // a^2 = 2
  static constexpr double b = 0.70710678118654752440;  // b = 1/a, b^2 = 1/2

  // B^T d, in place.
  template <class T>
  static inline __attribute__((always_inline)) void input(Vector<T> (&d)[6]) {
    const Vector<T> even_a = d[4] - T(0.5) * d[2], odd_a = d[3] - T(0.5) * d[1];
    const Vector<T> even_b = d[4] - T(2) * d[2], odd_b = d[3] - T(2) * d[1];
    d[0] = d[0] - T(2.5) * d[2] + d[4];
    d[5] = d[5] - T(2.5) * d[3] + d[1];
    d[1] = even_a + T(a) * odd_a;
    d[2] = even_a - T(a) * odd_a;
    d[3] = even_b + T(b) * odd_b;
    d[4] = even_b - T(b) * odd_b;
  }

  // A^T m, for the first `count` of the outputs.
  template <class T, int Outputs>
  static inline __attribute__((always_inline)) void output(const Vector<T> (&m)[6], Vector<T> (&y)[Outputs]) {
    static_assert(Outputs == 2 || Outputs == 4);
    const Vector<T> even_a = m[1] + m[2], odd_a = m[1] - m[2];
    const Vector<T> even_b = m[3] + m[4], odd_b = m[3] - m[4];
    y[0] = m[0] + even_a + even_b;
    y[1] = T(a) * odd_a + T(b) * odd_b;
    if constexpr (Outputs == 4) {
      y[2] = T(2) * even_a + T(0.5) * even_b;
      y[3] = T(2 * a) * odd_a + T(0.5 * b) * odd_b;
    }
    y[Outputs - 1] += m[5];
  }

  // G g: the products over j are 1 at 0, 6 at +-a, -3/2 at +-b.
  template <class T, int Taps>
  static inline __attribute__((always_inline)) void weights(const Vector<T> (&g)[Taps], Vector<T> (&u)[6]) {
    static_assert(Taps == 3 || Taps == 5);
    Vector<T> even_a = g[0] + T(2) * g[2], odd_a = g[1];
    Vector<T> even_b = g[0] + T(0.5) * g[2], odd_b = g[1];
    if constexpr (Taps == 5) {
      even_a += T(4) * g[4];
      odd_a += T(2) * g[3];
      even_b += T(0.25) * g[4];
      odd_b += T(0.5) * g[3];
    }
    u[0] = g[0];
    u[1] = T(1.0 / 6) * even_a + T(a / 6) * odd_a;
    u[2] = T(1.0 / 6) * even_a - T(a / 6) * odd_a;
    u[3] = T(-2.0 / 3) * even_b - T(b * 2 / 3) * odd_b;
    u[4] = T(-2.0 / 3) * even_b + T(b * 2 / 3) * odd_b;
    u[5] = g[Taps - 1];
  }

  // A y: what the products' gradient is, transposing `output`.
  template <class T, int Outputs>
  static inline __attribute__((always_inline)) void output_gradient(const Vector<T> (&y)[Outputs], Vector<T> (&m)[6]) {
    static_assert(Outputs == 2 || Outputs == 4);
    Vector<T> even_a = y[0], odd_a = T(a) * y[1], even_b = y[0], odd_b = T(b) * y[1];
    if constexpr (Outputs == 4) {
      even_a += T(2) * y[2];
      odd_a += T(2 * a) * y[3];
      even_b += T(0.5) * y[2];
      odd_b += T(0.5 * b) * y[3];
    }
    m[0] = y[0];
    m[1] = even_a + odd_a;
    m[2] = even_a - odd_a;
    m[3] = even_b + odd_b;
    m[4] = even_b - odd_b;
    m[5] = y[Outputs - 1];
  }

  // G^T u, transposing `weights`.
  template <class T, int Taps>
  static inline __attribute__((always_inline)) void weights_gradient(const Vector<T> (&u)[6], Vector<T> (&g)[Taps]) {
    static_assert(Taps == 3 || Taps == 5);
    const Vector<T> even_a = T(1.0 / 6) * (u[1] + u[2]), odd_a = T(a / 6) * (u[1] - u[2]);
    const Vector<T> even_b = T(-2.0 / 3) * (u[3] + u[4]), odd_b = T(b * 2 / 3) * (u[4] - u[3]);
    g[0] = u[0] + even_a + even_b;
    g[1] = odd_a + odd_b;
    g[2] = T(2) * even_a + T(0.5) * even_b;
    if constexpr (Taps == 5) {
      g[3] = T(2) * odd_a + T(0.5) * odd_b;
      g[4] = T(4) * even_a + T(0.25) * even_b;
    }
    g[Taps - 1] += u[5];
  }
};

template <>
struct WinogradPoints<4> {
  template <class T>
  static inline __attribute__((always_inline)) void input(Vector<T> (&d)[4]) {
    const Vector<T> minus = d[2] - d[1];
    d[0] -= d[2];
    d[3] -= d[1];
    d[1] += d[2];
    d[2] = minus;
  }

  template <class T, int Outputs>
  static inline __attribute__((always_inline)) void output(const Vector<T> (&m)[4], Vector<T> (&y)[Outputs]) {
    static_assert(Outputs == 2);
    y[0] = m[0] + m[1] + m[2];
    y[1] = m[1] - m[2] + m[3];
  }

  template <class T, int Taps>
  static inline __attribute__((always_inline)) void weights(const Vector<T> (&g)[Taps], Vector<T> (&u)[4]) {
    static_assert(Taps == 3);
    const Vector<T> even = T(0.5) * (g[0] + g[2]);
    u[0] = g[0];
    u[1] = even + T(0.5) * g[1];
    u[2] = even - T(0.5) * g[1];
    u[3] = g[2];
  }

  template <class T, int Outputs>
  static inline __attribute__((always_inline)) void output_gradient(const Vector<T> (&y)[Outputs], Vector<T> (&m)[4]) {
    static_assert(Outputs == 2);
    m[0] = y[0];
    m[1] = y[0] + y[1];
    m[2] = y[0] - y[1];
    m[3] = y[1];
  }

  template <class T, int Taps>
  static inline __attribute__((always_inline)) void weights_gradient(const Vector<T> (&u)[4], Vector<T> (&g)[Taps]) {
    static_assert(Taps == 3);
    const Vector<T> even = T(0.5) * (u[1] + u[2]);
    g[0] = u[0] + even;
    g[1] = T(0.5) * (u[1] - u[2]);
    g[2] = even + u[3];
  }
};

// Two outputs of three taps with stride 2, from five elements:
//
//     y0 = x0 g0 + x1 g1 + x2 g2        y1 = x2 g0 + x3 g1 + x4 g2
//
// The even elements meet two taps as they would without a stride, in three products, and each odd one has its own:
//
//     y0 = (x0 - x2) g0 + x2 (g0 + g2) + x1 g1        y1 = (x4 - x2) g2 + x2 (g0 + g2) + x3 g1
//
// Five products instead of six, four of whose factors from g differ, and which come in three sums. There are but sums
// and differences, so that rounding is that of the direct convolution, and small integers stay exact.
struct StridedPoints {
  template <class T>
  static inline __attribute__((always_inline)) void input(Vector<T> (&d)[5]) {
    const Vector<T> x1 = d[1], x3 = d[3], x4 = d[4];
    d[1] = d[2];
    d[0] -= d[1];
    d[2] = x4 - d[1];
    d[3] = x1;
    d[4] = x3;
  }

  template <class T, int Outputs>
  static inline __attribute__((always_inline)) void output(const Vector<T> (&m)[3], Vector<T> (&y)[Outputs]) {
    static_assert(Outputs == 2);
    y[0] = m[0] + m[1];
    y[1] = m[2] + m[1];
  }

  template <class T, int Taps>
  static inline __attribute__((always_inline)) void weights(const Vector<T> (&g)[Taps], Vector<T> (&u)[4]) {
    static_assert(Taps == 3);
    u[0] = g[0];
    u[1] = g[0] + g[2];
    u[2] = g[2];
    u[3] = g[1];
  }
};

}  // namespace
