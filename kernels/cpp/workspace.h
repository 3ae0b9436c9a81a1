// Memory of one worker, reused from lane to lane.
#pragma once

#include <cstdint>
#include <cstdlib>

#include "pages.h"
#include "simd.h"

namespace lenskern::LENSKERN_ISA {

// Aligned memory that grows and never shrinks. Where it is large it asks for large pages: the rows of haloes are read
// all over, and with pages of 4 kB most reads would miss the translation buffer.
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(data_); }

  // Room for `count` elements, contents lost when it has to grow; null where memory ran out.
  template <class T>
  T* reserve(int64_t count) {
    const int64_t needed = count * static_cast<int64_t>(sizeof(T)), unit = needed >= kLarge ? kLargePage : kVectorBytes;
    const int64_t bytes = (needed + unit - 1) / unit * unit;
    if (bytes > bytes_) {
      std::free(data_);
      data_ = std::aligned_alloc(static_cast<size_t>(unit), static_cast<size_t>(bytes));
      bytes_ = data_ == nullptr ? 0 : bytes;
      if (needed >= kLarge && data_ != nullptr) prefer_large_pages(data_, static_cast<size_t>(bytes));
    }
    return static_cast<T*>(data_);
  }
  template <class T>
  T* get() const {
    return static_cast<T*>(data_);
  }
  int64_t bytes() const { return bytes_; }

 private:
  static constexpr int64_t kLarge = 2 * kLargePage;

  void* data_ = nullptr;
  int64_t bytes_ = 0;
};

// Vectors of one lane, handed out one after the other from a single allocation.
class Workspace {
 public:
  // Starts a lane that takes at most `count` vectors of up to n values of 8 bytes.
  bool start(int count, int n) {
    each_ = (int64_t{n} * 8 + kVectorBytes - 1) / kVectorBytes * kVectorBytes;
    left_ = memory_.reserve<char>(count * each_);
    return left_ != nullptr;
  }
  template <class T>
  T* take(int n) {
    static_assert(sizeof(T) <= 8);
    (void)n;
    T* vector = reinterpret_cast<T*>(left_);
    left_ += each_;
    return vector;
  }

 private:
  Buffer memory_;
  char* left_ = nullptr;
  int64_t each_ = 0;
};

}  // namespace lenskern::LENSKERN_ISA
