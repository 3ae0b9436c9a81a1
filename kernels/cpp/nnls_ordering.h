// An order of the unknowns that keeps a Cholesky factor inside a narrow envelope.
#pragma once

#include <cstdint>

#include "workspace.h"

namespace lenskern::LENSKERN_ISA {

// Which entries of a symmetric matrix count, one bit each, row by row.
class Pattern {
 public:
  bool reserve(int n) {
    n_ = n, words_ = (n + 63) / 64;
    uint64_t* bits = bits_.reserve<uint64_t>(int64_t{n} * words_);
    if (bits == nullptr) return false;
    for (int64_t i = 0; i < int64_t{n} * words_; ++i) bits[i] = 0;
    return true;
  }
  int size() const { return n_; }
  int words() const { return words_; }
  uint64_t* row(int i) { return bits_.get<uint64_t>() + int64_t{i} * words_; }
  const uint64_t* row(int i) const { return bits_.get<uint64_t>() + int64_t{i} * words_; }

  // Makes symmetric what was set below the diagonal only.
  void mirror() {
    for (int i = 0; i < n_; ++i) {
      for (int w = 0; w <= i / 64; ++w) {
        for (uint64_t b = row(i)[w]; b != 0; b &= b - 1) {
          row(w * 64 + __builtin_ctzll(b))[i / 64] |= uint64_t{1} << i % 64;
        }
      }
    }
  }

  // Visits the entries of row i that are also in `left`, a row of its own, and takes them out there.
  template <class F>
  void take(int i, uint64_t* left, F&& visit) const {
    for (int w = 0; w < words_; ++w) {
      for (uint64_t b = row(i)[w] & left[w]; b != 0; b &= b - 1) visit(w * 64 + __builtin_ctzll(b));
      left[w] &= ~row(i)[w];
    }
  }

 private:
  int n_ = 0, words_ = 0;
  Buffer bits_;
};

// Reverse Cuthill-McKee (1969) on the entries that couple to few others; those that couple to many come last, where
// their full rows cost least. In a lens inversion a source pixel couples to the pixels that the PSF and the multiple
// images bring together, a light component to nearly everything.
class Ordering {
 public:
  static constexpr int kVectors = 3;

  Ordering(const Pattern& pattern, Workspace& workspace) : pattern_(pattern), n_(pattern.size()) {
    degree_ = workspace.take<int>(n_);
    queue_ = workspace.take<int>(n_);
    left_ = workspace.take<uint64_t>(n_);
  }

  // order[k] is the entry at position k; first[k] the first position that it couples to.
  void run(int* order, int* first) {
    for (int i = 0; i < n_; ++i) {
      degree_[i] = 0;
      for (int w = 0; w < pattern_.words(); ++w) degree_[i] += __builtin_popcountll(pattern_.row(i)[w]);
    }
    for (int w = 0; w < pattern_.words(); ++w) left_[w] = 0;
    for (int i = 0; i < n_; ++i) put_back(i, !couples_to_many(i));
    int count = 0;
    for (int i = 0; i < n_; ++i) {
      if (!(left_[i / 64] >> i % 64 & 1)) continue;
      const int end = search(i, count), far = queue_[end - 1];
      for (int k = count; k < end; ++k) put_back(queue_[k], true);
      count = search(far, count);  // from the far end the levels are narrower
    }
    for (int k = 0; k < count; ++k) order[k] = queue_[count - 1 - k];
    for (int i = 0, k = count; i < n_; ++i) {
      if (couples_to_many(i)) order[k++] = i;
    }

    int* position = queue_;
    for (int k = 0; k < n_; ++k) position[order[k]] = k;
    for (int i = 0; i < n_; ++i) put_back(i, true);
    for (int k = 0; k < n_; ++k) {
      pattern_.take(order[k], left_, [&](int j) { first[position[j]] = k < position[j] ? k : position[j]; });
    }
  }

 private:
  static constexpr double kMany = 0.35;

  bool couples_to_many(int i) const { return degree_[i] > kMany * n_; }
  void put_back(int i, bool yes) { left_[i / 64] |= static_cast<uint64_t>(yes) << i % 64; }

  // Breadth first, neighbours by ascending degree; appends to the queue.
  int search(int root, int from) {
    int end = from;
    queue_[end++] = root, left_[root / 64] &= ~(uint64_t{1} << root % 64);
    for (int k = from; k < end; ++k) {
      const int begin = end;
      pattern_.take(queue_[k], left_, [&](int j) {
        int at = end++;
        for (; at > begin && degree_[queue_[at - 1]] > degree_[j]; --at) queue_[at] = queue_[at - 1];
        queue_[at] = j;
      });
    }
    return end;
  }

  const Pattern& pattern_;
  const int n_;
  int *degree_, *queue_;
  uint64_t* left_;  // entries not yet reached, one bit each
};

}  // namespace lenskern::LENSKERN_ISA
