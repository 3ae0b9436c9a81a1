#include "crew.h"

#include <thread>

namespace lenskern {
namespace {

constexpr int kPieceBits = 20;  // of the claim word: next piece, then number of pieces; the job's number above them
constexpr uint64_t kPieceMask = (uint64_t{1} << kPieceBits) - 1;

class Backoff {
 public:
  void pause() {
    if (++spins_ > 64) std::this_thread::yield();
  }
  void reset() { spins_ = 0; }

 private:
  int spins_ = 0;
};

}  // namespace

void Crew::Worker::parallel_for(int count, void (*piece)(void*, int), void* context) {
  if (count == 1 || count > static_cast<int>(kPieceMask) || crew_ == nullptr || crew_->threads_ == 1) {
    for (int i = 0; i < count; ++i) piece(context, i);
    return;
  }
  finished_.store(0, std::memory_order_relaxed);
  piece_.store(piece, std::memory_order_relaxed);
  context_.store(context, std::memory_order_relaxed);
  const uint64_t job = (claim_.load(std::memory_order_relaxed) >> 2 * kPieceBits) + 1;
  claim_.store(job << 2 * kPieceBits | static_cast<uint64_t>(count) << kPieceBits, std::memory_order_release);
  while (help()) {
  }
  Backoff backoff;
  while (finished_.load(std::memory_order_acquire) < count) backoff.pause();
}

bool Crew::Worker::help() {
  uint64_t seen = claim_.load(std::memory_order_acquire);
  const auto piece = piece_.load(std::memory_order_relaxed);
  void* context = context_.load(std::memory_order_relaxed);
  const int i = static_cast<int>(seen & kPieceMask);
  if (i >= static_cast<int>(seen >> kPieceBits & kPieceMask)) return false;
  // What was read belongs to the job in `seen` if the exchange succeeds: the owner changes it only when every piece of
  // that job, this one included, is finished.
  if (!claim_.compare_exchange_strong(seen, seen + 1, std::memory_order_acq_rel)) return true;
  piece(context, i);
  finished_.fetch_add(1, std::memory_order_release);
  return true;
}

Crew::Crew(int64_t lanes, int threads, const Lane& lane)
    : lanes_(lanes), threads_(threads), lane_(&lane), workers_(new Worker[threads]) {
  for (int i = 0; i < threads; ++i) workers_[i].crew_ = this;
}

void Crew::work() {
  const int me = joined_.fetch_add(1, std::memory_order_acq_rel);
  if (me >= threads_) return;
  for (;;) {
    const int64_t lane = next_lane_.fetch_add(1, std::memory_order_acq_rel);
    if (lane >= lanes_) break;
    (*lane_)(lane, workers_[me]);
    finished_lanes_.fetch_add(1, std::memory_order_release);
  }
  if (workers_[me].scratch_ != nullptr) workers_[me].free_scratch_(workers_[me].scratch_);
  Backoff backoff;
  while (finished_lanes_.load(std::memory_order_acquire) < lanes_) {
    bool helped = false;
    for (int i = 0; i < threads_; ++i) {
      if (i != me) helped |= workers_[i].help();
    }
    if (helped) backoff.reset();
    else backoff.pause();
  }
}

void Crew::run(int64_t lanes, int threads, const Schedule& schedule, const Lane& lane) {
  if (lanes <= 0) return;
  const std::shared_ptr<Crew> crew(new Crew(lanes, threads < 1 ? 1 : threads, lane));
  for (int i = 1; i < crew->threads_; ++i) schedule([crew] { crew->work(); });
  crew->work();
}

}  // namespace lenskern
