// Work sharing between a handler's own thread and pool threads that may or may not show up.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <type_traits>

namespace lenskern {

// A handler must never wait for a pool task that has not started: the pool may be busy running the very computation
// that waits. So the caller does all the work itself, helpers join when they get a thread, and a helper that starts
// late finds nothing to do. The caller waits only for pieces that a running thread has claimed.
//
// Two levels are shared: lanes, and inside a lane the pieces of one `parallel_for`. A worker that finds no lane left
// helps inside the lanes still running.
class Crew : public std::enable_shared_from_this<Crew> {
 public:
  class Worker {
   public:
    // Calls piece(context, i) for i in [0, count), shared with idle workers; returns when all are done.
    void parallel_for(int count, void (*piece)(void* context, int i), void* context);

    template <class F>
    void parallel_for(int count, F&& piece) {
      parallel_for(count, [](void* f, int i) { (*static_cast<std::remove_reference_t<F>*>(f))(i); }, &piece);
    }

    // This worker's memory, made at the first call and freed when the worker has no lane left.
    void* scratch(void* (*make)(), void (*free)(void*)) {
      if (scratch_ == nullptr) scratch_ = make(), free_scratch_ = free;
      return scratch_;
    }

   private:
    friend class Crew;
    bool help();

    Crew* crew_ = nullptr;
    void* scratch_ = nullptr;
    void (*free_scratch_)(void*) = nullptr;
    // Job number, number of pieces and next unclaimed piece in one word: a claim by compare-and-swap succeeds only
    // inside the job that the claimant has read.
    std::atomic<uint64_t> claim_{0};
    std::atomic<int> finished_{0};
    std::atomic<void (*)(void*, int)> piece_{nullptr};
    std::atomic<void*> context_{nullptr};
  };

  using Lane = std::function<void(int64_t lane, Worker&)>;
  using Schedule = std::function<void(std::function<void()>)>;

  // Runs lane(i, worker) for i in [0, lanes) on the calling thread and up to `threads - 1` tasks given to `schedule`.
  static void run(int64_t lanes, int threads, const Schedule& schedule, const Lane& lane);

 private:
  Crew(int64_t lanes, int threads, const Lane& lane);
  void work();

  const int64_t lanes_;
  const int threads_;
  const Lane* lane_;  // valid while a lane is unclaimed or running
  std::unique_ptr<Worker[]> workers_;
  std::atomic<int> joined_{0};
  std::atomic<int64_t> next_lane_{0};
  std::atomic<int64_t> finished_lanes_{0};
};

}  // namespace lenskern
