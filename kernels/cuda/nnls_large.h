// The kernel for large systems: its scratch memory, as host and device see it.
#pragma once

#include <cstdint>

#include "lenskern/dual.h"

namespace lenskern::cuda::large {

// A group of blocks solves a lane; entries are dealt out in chunks, matrices in tiles. The number of groups bounds the
// scratch memory of large batches.
constexpr int kTile = 64, kChunk = 16, kMostGroups = 64, kMostEntries = 4096;
constexpr int kVectors = 20, kReduced = 4;  // vectors of a lane, and numbers that are reduced at a time

struct Layout {
  explicit LENSKERN_MEMBER Layout(int64_t n)
      : tiles((n + kTile - 1) / kTile), padded(tiles * kTile), chunks((n + kChunk - 1) / kChunk) {}

  int64_t tiles, padded, chunks;

  // Three words that have a cache line each, and one for every row of tiles of a matrix and its inverse.
  LENSKERN_MEMBER int64_t word_bytes() const { return up(4 * (3 * 32 + 2 * tiles)); }
  LENSKERN_MEMBER int64_t box_bytes() const { return up(8 * (padded + kReduced * chunks)); }
  LENSKERN_MEMBER int64_t vector_bytes() const { return 8 * padded; }
  // A float64 triangle, or a float32 one with the inverse of it above the diagonal.
  LENSKERN_MEMBER int64_t tile_bytes() const { return tiles * (tiles + 1) / 2 * kTile * kTile * 8; }
  LENSKERN_MEMBER int64_t group_bytes() const {
    return word_bytes() + 2 * box_bytes() + kVectors * vector_bytes() + tile_bytes();
  }

 private:
  static LENSKERN_MEMBER int64_t up(int64_t bytes) { return (bytes + 255) / 256 * 256; }
};

inline int64_t scratch(int64_t lanes, int64_t n) {
  return (lanes < kMostGroups ? lanes : kMostGroups) * Layout(n).group_bytes();
}

}  // namespace lenskern::cuda::large
