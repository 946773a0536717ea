// Winograd's transforms along an axis for any number of points: pairs +-q, infinity, and 0 where the number is even.
// See winograd_points.hpp for the matrices; here their coefficients are computed from the q while compiling.
//
// Along one axis alone eight points err no more than six along two. Ten would serve F(4, 7), but of some 200 sets tried
// even the best came too near to the promised bound (2.9e-5 of 3e-5).
#pragma once

#include "winograd_points.hpp"

namespace {

template <int Points>
struct PairsOf;
template <>
struct PairsOf<5> {
  static constexpr double q[] = {1.25, 0.5};
};
template <>
struct PairsOf<8> {
  static constexpr double q[] = {1, 2, 0.5};
};

constexpr int kMostPoints = 8;

template <int Points>
struct PairCoefficients {
  static constexpr int kPairs = (Points - 1) / 2;
  static constexpr int kAll = kPairs;  // instead of a pair: none is left out
  static constexpr bool kZero = Points % 2 == 0;
  double product[kPairs + 1][kPairs + 1] = {};  // of (t - q^2) over all pairs but one, by powers of t = x^2
  double power[kPairs][kMostPoints] = {};       // q^k
  double divided[kPairs][kMostPoints] = {};     // q^k over the products of q's distances to the other points
  double at_zero = 1;                           // one over those of 0

  constexpr PairCoefficients() {
    const auto& q = PairsOf<Points>::q;
    for (int left_out = 0; left_out <= kPairs; ++left_out) {
      double* const c = product[left_out];
      c[0] = 1;
      int degree = 0;
      for (int i = 0; i < kPairs; ++i) {
        if (i == left_out) continue;
        for (int k = degree++; k >= 0; --k) {
          c[k + 1] += c[k];
          c[k] *= -q[i] * q[i];
        }
      }
    }
    if (kZero) at_zero = 1 / product[kAll][0];
    for (int i = 0; i < kPairs; ++i) {
      const double square = q[i] * q[i];
      double distances = kZero ? 2 * square : 2 * q[i];
      for (int j = 0; j < kPairs; ++j) {
        if (j != i) distances *= square - q[j] * q[j];
      }
      double power_k = 1;
      for (int k = 0; k < kMostPoints; ++k, power_k *= q[i]) {
        power[i][k] = power_k;
        divided[i][k] = power_k / distances;
      }
    }
  }
};

// Points come in the order 0 (if it is one), +q, -q, of the next pair +q, -q, and so on, infinity. Without 0 the
// distances of -q are those of +q with the other sign, which V then takes instead of U.
template <int Points>
struct WinogradPoints {
  static constexpr PairCoefficients<Points> k{};
  static constexpr int kPairs = k.kPairs, kFirst = k.kZero ? 1 : 0;
  using Powers = double[kPairs][kMostPoints];

  // B^T d, in place.
  template <class T>
  static inline __attribute__((always_inline)) void input(Vector<T> (&d)[Points]) {
    Vector<T> v[Points];
    if constexpr (k.kZero) v[0] = product<T>(k.kAll, d, 0);
    v[Points - 1] = product<T>(k.kAll, d, kFirst);
#pragma GCC unroll 4
    for (int i = 0; i < kPairs; ++i) {
      const Vector<T> a = product<T>(i, d, kFirst + 1), b = T(k.power[i][1]) * product<T>(i, d, kFirst);
      v[kFirst + 2 * i] = a + b;
      v[kFirst + 2 * i + 1] = k.kZero ? a - b : b - a;
    }
#pragma GCC unroll 8
    for (int i = 0; i < Points; ++i) d[i] = v[i];
  }

  template <class T, int Outputs>
  static inline __attribute__((always_inline)) void output(const Vector<T> (&m)[Points], Vector<T> (&y)[Outputs]) {
    transposed<T>(m, k.power, 1, y);
  }
  template <class T, int Taps>
  static inline __attribute__((always_inline)) void weights(const Vector<T> (&g)[Taps], Vector<T> (&u)[Points]) {
    evaluated<T>(g, k.divided, k.at_zero, u);
  }
  template <class T, int Outputs>
  static inline __attribute__((always_inline)) void output_gradient(const Vector<T> (&y)[Outputs],
                                                                    Vector<T> (&m)[Points]) {
    evaluated<T>(y, k.power, 1, m);
  }
  template <class T, int Taps>
  static inline __attribute__((always_inline)) void weights_gradient(const Vector<T> (&u)[Points],
                                                                     Vector<T> (&g)[Taps]) {
    transposed<T>(u, k.divided, k.at_zero, g);
  }

 private:
  // Every second element from `first` on, times the coefficients of a product.
  template <class T>
  static inline __attribute__((always_inline)) Vector<T> product(int left_out, const Vector<T> (&d)[Points],
                                                                 int first) {
    const int degree = left_out == k.kAll ? kPairs : kPairs - 1;
    Vector<T> sum = d[first + 2 * degree];
#pragma GCC unroll 4
    for (int j = 0; j < degree; ++j) sum += T(k.product[left_out][j]) * d[first + 2 * j];
    return sum;
  }

  // The polynomial with coefficients c at all points.
  template <class T, int N>
  static inline __attribute__((always_inline)) void evaluated(const Vector<T> (&c)[N], const Powers& power, double zero,
                                                              Vector<T> (&v)[Points]) {
    if constexpr (k.kZero) v[0] = T(zero) * c[0];
    v[Points - 1] = c[N - 1];
#pragma GCC unroll 4
    for (int i = 0; i < kPairs; ++i) {
      Vector<T> even = T(power[i][0]) * c[0], odd = T(power[i][1]) * c[1];
#pragma GCC unroll 7
      for (int j = 2; j < N; ++j) (j % 2 == 0 ? even : odd) += T(power[i][j]) * c[j];
      v[kFirst + 2 * i] = even + odd;
      v[kFirst + 2 * i + 1] = even - odd;
    }
  }

  // The transpose of that.
  template <class T, int N>
  static inline __attribute__((always_inline)) void transposed(const Vector<T> (&v)[Points], const Powers& power,
                                                               double zero, Vector<T> (&c)[N]) {
    c[0] = k.kZero ? T(zero) * v[0] : Vector<T>{};
#pragma GCC unroll 7
    for (int j = 1; j < N; ++j) c[j] = Vector<T>{};
#pragma GCC unroll 4
    for (int i = 0; i < kPairs; ++i) {
      const Vector<T> plus = v[kFirst + 2 * i], minus = v[kFirst + 2 * i + 1], even = plus + minus, odd = plus - minus;
#pragma GCC unroll 7
      for (int j = 0; j < N; ++j) c[j] += T(power[i][j]) * (j % 2 == 0 ? even : odd);
    }
    c[N - 1] += v[Points - 1];
  }
};

}  // namespace
