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
      row(i)[i / 64] |= uint64_t{1} << i % 64;
      for_each(row(i), words_, [&](int j) { row(j)[i / 64] |= uint64_t{1} << i % 64; });
    }
  }

  template <class F>
  static void for_each(const uint64_t* bits, int words, F&& visit) {
    for (int w = 0; w < words; ++w) {
      for (uint64_t b = bits[w]; b != 0; b &= b - 1) visit(w * 64 + __builtin_ctzll(b));
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
    seen_ = workspace.take<bool>(n_);
    queue_ = workspace.take<int>(n_);
  }

  // order[k] is the entry at position k; first[k] the first position that it couples to.
  void run(int* order, int* first) {
    for (int i = 0; i < n_; ++i) {
      degree_[i] = 0;
      for (int w = 0; w < pattern_.words(); ++w) degree_[i] += __builtin_popcountll(pattern_.row(i)[w]);
    }
    for (int i = 0; i < n_; ++i) seen_[i] = degree_[i] > kMany * n_;
    int count = 0;
    for (int i = 0; i < n_; ++i) {
      if (seen_[i]) continue;
      const int end = search(i, count), far = queue_[end - 1];
      for (int k = count; k < end; ++k) seen_[queue_[k]] = false;
      count = search(far, count);  // from the far end the levels are narrower
    }
    for (int k = 0; k < count; ++k) order[k] = queue_[count - 1 - k];
    for (int i = 0, k = count; i < n_; ++i) {
      if (degree_[i] > kMany * n_) order[k++] = i;
    }
    envelope(order, first);
  }

 private:
  static constexpr double kMany = 0.35;

  // Breadth first, neighbours by ascending degree; appends to the queue.
  int search(int root, int from) {
    int end = from;
    queue_[end++] = root, seen_[root] = true;
    for (int k = from; k < end; ++k) {
      const int begin = end;
      Pattern::for_each(pattern_.row(queue_[k]), pattern_.words(), [&](int j) {
        if (seen_[j]) return;
        seen_[j] = true;
        int at = end++;
        for (; at > begin && degree_[queue_[at - 1]] > degree_[j]; --at) queue_[at] = queue_[at - 1];
        queue_[at] = j;
      });
    }
    return end;
  }

  void envelope(const int* order, int* first) {
    int* position = queue_;
    for (int k = 0; k < n_; ++k) position[order[k]] = k;
    for (int k = 0; k < n_; ++k) {
      first[k] = k;
      Pattern::for_each(pattern_.row(order[k]), pattern_.words(), [&](int j) {
        if (position[j] < first[k]) first[k] = position[j];
      });
    }
  }

  const Pattern& pattern_;
  const int n_;
  int* degree_;
  bool* seen_;
  int* queue_;
};

}  // namespace lenskern::LENSKERN_ISA
