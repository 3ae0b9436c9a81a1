// Pages of memory. Linux hands out new memory in pages of 4 kB, one at a time as they are written, which for a large
// result can take longer than to compute it.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace lenskern {

constexpr int64_t kLargePage = int64_t{1} << 21;

// Asks for large pages where memory has not been written yet: a hint, which the system may ignore.
inline void prefer_large_pages(void* data, size_t bytes) {
#if defined(__linux__)
  const auto at = reinterpret_cast<uintptr_t>(data);
  const uintptr_t begin = (at + kLargePage - 1) / kLargePage * kLargePage, end = (at + bytes) / kLargePage * kLargePage;
  if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  static_cast<void>(data), static_cast<void>(bytes);
#endif
}

}  // namespace lenskern
