// What a halo is: its parameters, when they are valid, and the codes of profiles and fields.
#pragma once

#include <cstdint>

#include "lenskern/profiles.h"

namespace lenskern::deflect {

// Profile codes from this on are rows of the radial tables; those below it are in lenskern/profiles.h.
constexpr int32_t kTable = 16;

// What is summed, with the components that it has on each ray. As _KINDS in python/lenskern/deflect/primitive.py.
enum Kind : int32_t { kDeflection = 0, kConvergence = 1, kPotential = 2, kJacobian = 3 };

constexpr int components(int kind) { return kind == kDeflection ? 2 : kind == kJacobian ? 3 : 1; }

}  // namespace lenskern::deflect

#if defined(LENSKERN_ISA)
namespace lenskern::LENSKERN_ISA {
#else
namespace lenskern {
#endif
namespace deflect {

template <class T>
struct HaloOf {
  int32_t profile;
  T y, x, amplitude, scale, p, q;
};

// As Halos.status in Python.
template <class T>
LENSKERN_INLINE bool is_valid(const HaloOf<T>& h, int tables) {
  // NaN where one of them is not finite
  const T none = 0 * h.y + 0 * h.x + 0 * h.amplitude + 0 * h.scale + 0 * h.p + 0 * h.q;
  if (!(none == 0) || !(h.scale > 0)) return false;
  switch (h.profile) {
    case kProfileTnfw:
      return h.p > 0;
    case kProfileCnfw:
    case kProfilePoint:
      return h.p >= 0;
    case kProfileTnfwc:
      return h.p >= 0 && h.q > 0;
    case kProfileDpie:
      return h.p >= 0 && h.p < 1;
    case kProfileNfw:
    case kProfileSis:
    case kProfileSheet:
      return true;
    default:
      return h.profile >= lenskern::deflect::kTable && h.profile < lenskern::deflect::kTable + tables;
  }
}

// Number of shape parameters that a profile reads.
LENSKERN_INLINE int shape_parameters(int32_t profile) {
  switch (profile) {
    case kProfileTnfw:
    case kProfileCnfw:
    case kProfileDpie:
    case kProfilePoint:
      return 1;
    case kProfileTnfwc:
      return 2;
    default:
      return 0;
  }
}

}  // namespace deflect
#if defined(LENSKERN_ISA)
}  // namespace lenskern::LENSKERN_ISA
#else
}  // namespace lenskern
#endif
