// Exercises the work sharing of kernels/cpp/crew.h with real threads; built with ThreadSanitizer by test_crew.py.
#include "crew.h"

#include <cstdio>
#include <thread>
#include <vector>

using lenskern::Crew;

namespace {

// Lanes that share pieces of work: every lane and every piece must run exactly once, in any number of threads.
bool each_piece_runs_once(int lanes, int threads, int jobs, int pieces) {
  std::vector<std::thread> pool;
  std::vector<std::vector<int>> runs(lanes, std::vector<int>(static_cast<size_t>(jobs) * pieces, 0));
  std::vector<int> lane_runs(lanes, 0);
  Crew::run(
      lanes, threads, [&](std::function<void()> task) { pool.emplace_back(std::move(task)); },
      [&](int64_t lane, Crew::Worker& worker) {
        ++lane_runs[lane];
        for (int job = 0; job < jobs; ++job) {
          worker.parallel_for(pieces, [&](int i) { ++runs[lane][static_cast<size_t>(job) * pieces + i]; });
          // The end of one job happens before the next: a later job may change what an earlier one wrote.
          for (int i = 0; i < pieces; ++i) runs[lane][static_cast<size_t>(job) * pieces + i] *= 1;
        }
      });
  for (std::thread& thread : pool) thread.join();
  for (int lane = 0; lane < lanes; ++lane) {
    if (lane_runs[lane] != 1) return false;
    for (int count : runs[lane]) {
      if (count != 1) return false;
    }
  }
  return true;
}

// Tasks that start only after the call has returned find nothing to do, and touch nothing of the call.
bool late_tasks_do_nothing() {
  std::vector<std::function<void()>> tasks;
  int count = 0;
  Crew::run(
      3, 4, [&](std::function<void()> task) { tasks.push_back(std::move(task)); },
      [&](int64_t, Crew::Worker& worker) { worker.parallel_for(5, [&](int) { ++count; }); });
  for (auto& task : tasks) task();
  return count == 15;
}

}  // namespace

int main() {
  struct Case {
    int lanes, threads, jobs, pieces;
  };
  for (const Case& c : {Case{1, 1, 3, 7}, Case{1, 4, 300, 9}, Case{5, 3, 50, 4}, Case{64, 4, 3, 1}, Case{2, 8, 40, 33}}) {
    if (!each_piece_runs_once(c.lanes, c.threads, c.jobs, c.pieces)) {
      std::printf("failed: %d lanes, %d threads, %d jobs of %d pieces\n", c.lanes, c.threads, c.jobs, c.pieces);
      return 1;
    }
  }
  if (!late_tasks_do_nothing()) {
    std::printf("failed: late tasks\n");
    return 1;
  }
  return 0;
}
