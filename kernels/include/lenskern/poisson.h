// The Poisson sampler of one element, as python/lenskern/simulate/poisson_reference.py, which says what is what.
//
// Draws are the same to the bit as the reference's: only operations that IEEE 754 rounds, in the same order. Sources
// that include this are compiled with -ffp-contract=off; on the device `times` keeps nvcc from fusing.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "lenskern/dual.h"

#if defined(LENSKERN_ISA)
namespace lenskern::LENSKERN_ISA {
#else
namespace lenskern {
#endif
namespace poisson {

constexpr double kLeastRejection = 10.0;
constexpr double kLargest = 1329227995784915872903807060280344576.0;  // 2^120
constexpr double kLeastProbability = 1.0 / (1ull << 60);
constexpr uint32_t kMostAttempts = 1000;
constexpr double kCore = 0.07;

LENSKERN_INLINE double times(double a, double b) {
#if defined(__CUDA_ARCH__)
  return __dmul_rn(a, b);
#else
  return a * b;
#endif
}

LENSKERN_INLINE double as_double(uint64_t bits) {
  double value;
  memcpy(&value, &bits, 8);
  return value;
}
LENSKERN_INLINE uint64_t as_bits(double value) {
  uint64_t bits;
  memcpy(&bits, &value, 8);
  return bits;
}

// Threefry-2x32 with 20 rounds (Salmon et al. 2011): (x0, x1) is the counter, and then the random words.
LENSKERN_INLINE void threefry(uint32_t k0, uint32_t k1, uint32_t& x0, uint32_t& x1) {
  const uint32_t keys[3] = {k0, k1, k0 ^ k1 ^ 0x1BD11BDAu};
  constexpr int rotations[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
  x0 += k0;
  x1 += k1;
  for (uint32_t group = 0; group < 5; ++group) {
    for (int round = 0; round < 4; ++round) {
      const int rotation = rotations[group % 2][round];
      x0 += x1;
      x1 = (x1 << rotation) | (x1 >> (32 - rotation));
      x1 ^= x0;
    }
    x0 += keys[(group + 1) % 3];
    x1 += keys[(group + 2) % 3] + group + 1;
  }
}

// In (0, 1), an odd multiple of 2^-53.
LENSKERN_INLINE double uniform(uint32_t high, uint32_t low) {
  const uint64_t bits = (static_cast<uint64_t>(high) << 20) | (low >> 12);
  return (as_double(0x3FF0000000000000ull | bits) - 1) + 0x1p-53;
}

// e^-x for x >= 0, at least e^-700.
LENSKERN_INLINE double exp_of_minus(double x) {
  x = x < 700 ? x : 700;
  const int whole = static_cast<int>(times(x, 1.4426950408889634) + 0.5);
  const double rest = (times(whole, 0.6931471805598903) - x) + times(whole, 5.497923018708371e-14);
  double e = 1.0 / 6227020800.0;
  e = times(e, rest) + 1.0 / 479001600;
  e = times(e, rest) + 1.0 / 39916800;
  e = times(e, rest) + 1.0 / 3628800;
  e = times(e, rest) + 1.0 / 362880;
  e = times(e, rest) + 1.0 / 40320;
  e = times(e, rest) + 1.0 / 5040;
  e = times(e, rest) + 1.0 / 720;
  e = times(e, rest) + 1.0 / 120;
  e = times(e, rest) + 1.0 / 24;
  e = times(e, rest) + 1.0 / 6;
  e = times(e, rest) + 0.5;
  e = times(e, rest) + 1;
  e = times(e, rest) + 1;
  return times(e, as_double(static_cast<uint64_t>(1023 - whole) << 52));
}

// What an attempt draws: `offset` from floor(rate), and whether it is accepted without further computation.
struct Attempt {
  double offset;
  bool accepted;
};

// From uniform numbers u in (-1/2, 1/2) and v in (0, 1).
LENSKERN_INLINE Attempt attempt(double rate, double u, double v) {
  const double root = ::sqrt(rate), whole = ::floor(rate);
  const double a = times(0.0628199, root) - 0.03588327, slope = times(2.53, root), b = slope + 0.931;
  const double edge = 0.5 - ::fabs(u);
  const double squeeze = 0.91378 - 3.56806 / (slope - 1.069);
  const double offset = ::floor(times((a + a) / edge + b, u) + ((rate - whole) + 0.43));
  return {offset, static_cast<bool>((edge >= kCore) & (v <= squeeze))};
}

// k ln(k/rate) - (k - rate), with `positive` = max(k, 1) and `excess` = k - rate.
LENSKERN_INLINE double deviance(double rate, double count, double positive, double excess) {
  constexpr uint64_t kRootHalf = 0x3fe6a09e667f3bcd, kBias = 1023;
  const uint64_t biased = (as_bits(positive / rate) - kRootHalf + (kBias << 52)) >> 52;
  // An integer below 2^52 becomes a double by the bits of 2^52.
  const double exponent = as_double(0x4330000000000000ull | biased) - (4503599627370496.0 + 1023);
  const double scaled = times(rate, as_double(biased << 52));
  const bool near = biased == kBias;
  const double v = (near ? excess : positive - scaled) / (positive + scaled);
  const double square = times(v, v), part = times(count, v);
  double tail = 1.0 / 21;
  tail = times(tail, square) + 1.0 / 19;
  tail = times(tail, square) + 1.0 / 17;
  tail = times(tail, square) + 1.0 / 15;
  tail = times(tail, square) + 1.0 / 13;
  tail = times(tail, square) + 1.0 / 11;
  tail = times(tail, square) + 1.0 / 9;
  tail = times(tail, square) + 1.0 / 7;
  tail = times(tail, square) + 1.0 / 5;
  tail = times(tail, square) + 1.0 / 3;
  const double far = times(count, times(exponent, 0.6931471805599453) + (v + v)) - excess;
  return (near ? times(excess, v) : far) + times(part + part, times(square, tail));
}

// ln(k! e^k / (k^k sqrt(2 pi k))) for k >= 16.
LENSKERN_INLINE double stirling(double count) {
  const double inverse = 1 / count, square = times(inverse, inverse);
  double series = -691.0 / 360360;
  series = times(series, square) + 1.0 / 1188;
  series = times(series, square) + -1.0 / 1680;
  series = times(series, square) + 1.0 / 1260;
  series = times(series, square) + -1.0 / 360;
  series = times(series, square) + 1.0 / 12;
  return times(inverse, series);
}

// The same for k < 16; for k = 0 without the k below the root. What it gives from 16 on is of no use.
LENSKERN_INLINE double stirling_of_few(double count) {
  static constexpr double table[16] = {
      -0.9189385332046728,  0.08106146679532726,  0.0413406959554093,    0.02767792568499834,
      0.020790672103765093, 0.016644691189821193, 0.013876128823070748,  0.01189670994589177,
      0.010411265261972096, 0.009255462182712733, 0.00833056343336287,   0.007573675487951841,
      0.00694284010720953,  0.006408994188004207, 0.0059513701127588475, 0.005554733551962801};
  const double least = count > 0 ? count : 0;
  return table[static_cast<int>(least < 15 ? least : 15)];
}

// Whether what an attempt draws is accepted, by its probability; `few` is stirling_of_few of its count.
LENSKERN_INLINE bool accepted(double rate, double offset, double u, double v, double few) {
  const double root = ::sqrt(rate), whole = ::floor(rate);
  const double a = times(0.0628199, root) - 0.03588327, slope = times(2.53, root), b = slope + 0.931;
  const double bound = 1.1318 + 1.1407 / (slope - 2.469);
  const double edge = 0.5 - ::fabs(u), square = times(edge, edge);
  const double count = whole + offset, excess = offset - (rate - whole);
  const double positive = count > 1 ? count : 1, least = count > 0 ? count : 0;
  const double correction = count < 16 ? few : stirling(positive);
  const double weight = times(times(v, bound), times(::sqrt(times(6.283185307179586, positive)), square));
  const double density = a + times(b, square);
  const double exponent = deviance(rate, least, positive, excess) + correction;
  return (count >= 0) & (weight <= times(density, exp_of_minus(exponent)));
}

}  // namespace poisson
}  // namespace lenskern
