#include "scratch_pool.h"

#include <mutex>

namespace lenskern {
namespace {

constexpr int kMostEntries = 64;
constexpr int64_t kMostBytes = int64_t{48} << 20;

struct Kept {
  std::mutex mutex;
  int count = 0;
  int64_t total = 0;
  struct {
    void* scratch;
    int64_t bytes;
  } entries[kMostEntries];
};
Kept& kept() {
  static Kept* const pool = new Kept;  // threads may outlive static objects
  return *pool;
}

}  // namespace

void* ScratchPool::take() {
  Kept& pool = kept();
  const std::lock_guard lock(pool.mutex);
  if (pool.count == 0) return nullptr;
  --pool.count;
  pool.total -= pool.entries[pool.count].bytes;
  return pool.entries[pool.count].scratch;
}

bool ScratchPool::keep(void* scratch, int64_t bytes) {
  Kept& pool = kept();
  const std::lock_guard lock(pool.mutex);
  if (pool.count == kMostEntries || pool.total + bytes > kMostBytes) return false;
  pool.entries[pool.count++] = {scratch, bytes};
  pool.total += bytes;
  return true;
}

}  // namespace lenskern
