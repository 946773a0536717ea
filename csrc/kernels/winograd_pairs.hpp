// Winograd's transforms along an axis for any even number of points: 0, pairs +-q, and infinity. See
// winograd_points.hpp for the matrices; here their coefficients are computed from the q while compiling.
//
// Eight points are 0, +-1, +-2, +-1/2 and infinity; along one axis alone they err no more than six points along two.
// Ten would serve F(4, 7), but of some 200 sets tried even the best came too near to the promised bound (2.9e-5 of
// 3e-5).
#pragma once

#include "winograd_points.hpp"

namespace {

template <int Points>
struct PairsOf;
template <>
struct PairsOf<8> {
  static constexpr double q[] = {1, 2, 0.5};
};

constexpr int kMostPoints = 8;

template <int Points>
struct PairCoefficients {
  static constexpr int kPairs = (Points - 2) / 2;
  static constexpr int kAll = kPairs;           // instead of a pair: none is left out
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
    at_zero = 1 / product[kAll][0];
    for (int i = 0; i < kPairs; ++i) {
      const double square = q[i] * q[i];
      double distances = 2 * square;
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

template <int Points>
struct WinogradPoints {
  static constexpr int kPairs = (Points - 2) / 2;
  static constexpr PairCoefficients<Points> k{};
  using Powers = double[kPairs][kMostPoints];

  // B^T d, in place.
  template <class T>
  static inline __attribute__((always_inline)) void input(Vector<T> (&d)[Points]) {
    Vector<T> v[Points];
    v[0] = d[Points - 2];
    v[Points - 1] = d[Points - 1];
#pragma GCC unroll 4
    for (int j = 0; j < kPairs; ++j) {
      v[0] += T(k.product[kPairs][j]) * d[2 * j];
      v[Points - 1] += T(k.product[kPairs][j]) * d[2 * j + 1];
    }
#pragma GCC unroll 4
    for (int i = 0; i < kPairs; ++i) {
      Vector<T> even = d[2 * kPairs], odd = d[2 * kPairs - 1];
#pragma GCC unroll 4
      for (int j = 0; j < kPairs - 1; ++j) {
        even += T(k.product[i][j]) * d[2 * j + 2];
        odd += T(k.product[i][j]) * d[2 * j + 1];
      }
      odd *= T(k.power[i][1]);
      v[1 + 2 * i] = even + odd;
      v[2 + 2 * i] = even - odd;
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
  // The polynomial with coefficients c at all points.
  template <class T, int N>
  static inline __attribute__((always_inline)) void evaluated(const Vector<T> (&c)[N], const Powers& power, double zero,
                                                              Vector<T> (&v)[Points]) {
    v[0] = T(zero) * c[0];
    v[Points - 1] = c[N - 1];
#pragma GCC unroll 4
    for (int i = 0; i < kPairs; ++i) {
      Vector<T> even = T(power[i][0]) * c[0], odd = T(power[i][1]) * c[1];
#pragma GCC unroll 7
      for (int j = 2; j < N; ++j) (j % 2 == 0 ? even : odd) += T(power[i][j]) * c[j];
      v[1 + 2 * i] = even + odd;
      v[2 + 2 * i] = even - odd;
    }
  }

  // The transpose of that.
  template <class T, int N>
  static inline __attribute__((always_inline)) void transposed(const Vector<T> (&v)[Points], const Powers& power,
                                                               double zero, Vector<T> (&c)[N]) {
    c[0] = T(zero) * v[0];
#pragma GCC unroll 7
    for (int j = 1; j < N; ++j) c[j] = Vector<T>{};
#pragma GCC unroll 4
    for (int i = 0; i < kPairs; ++i) {
      const Vector<T> even = v[1 + 2 * i] + v[2 + 2 * i], odd = v[1 + 2 * i] - v[2 + 2 * i];
#pragma GCC unroll 7
      for (int j = 0; j < N; ++j) c[j] += T(power[i][j]) * (j % 2 == 0 ? even : odd);
    }
    c[N - 1] += v[Points - 1];
  }
};

}  // namespace
