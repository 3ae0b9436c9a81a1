// Memory that a call leaves for the next one: fresh memory costs a page fault for every 4 kB, which can be a fifth of a
// small sum.
#pragma once

#include <cstdint>

namespace lenskern {

// For one type of scratch memory. What is kept is never freed.
class ScratchPool {
 public:
  // Null where nothing is kept.
  static void* take();
  // False where that would be too much memory to keep.
  static bool keep(void* scratch, int64_t bytes);
};

}  // namespace lenskern
