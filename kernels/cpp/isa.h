// Which of the compiled instruction sets this processor runs.
#pragma once

#include <cstdlib>
#include <cstring>

namespace lenskern {

enum class Isa { baseline, avx2, avx512 };

inline const char* IsaName(Isa isa) {
  switch (isa) {
    case Isa::avx512: return "avx512";
    case Isa::avx2: return "avx2";
    default: return "baseline";
  }
}

inline Isa DetectIsa() {
#if defined(LENSKERN_HAS_AVX512) || defined(LENSKERN_HAS_AVX2)
  __builtin_cpu_init();
  const bool avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  // A lower one on request, so that each of them can be tested and timed on one machine.
  const char* most = std::getenv("LENSKERN_ISA");
  if (most != nullptr && std::strcmp(most, "baseline") == 0) return Isa::baseline;
  if (avx512 && !(most != nullptr && std::strcmp(most, "avx2") == 0)) return Isa::avx512;
  if (avx2) return Isa::avx2;
#endif
  return Isa::baseline;
}

// Decided once: a process never mixes instruction sets.
inline Isa ActiveIsa() {
  static const Isa isa = DetectIsa();
  return isa;
}

}  // namespace lenskern
