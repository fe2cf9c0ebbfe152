// Routing statistics since the start and over the last minutes. What is counted now lies in one set
// of statistics; when its second is over it joins the total, and its counts without co-activation
// join a list of seconds, later of minutes. So counting costs the same as without a history, and
// the history is small: at most 60 + 60 entries of layers x experts counts, none for idle times.
// Not safe for several threads.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <vector>

#include "moe/statistics.h"

namespace conclave::serve {

inline constexpr std::int64_t kMostWindowSeconds = 3600;

class RoutingHistory {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Layers = std::vector<moe::RoutingStatistics>;

  RoutingHistory(std::size_t layers, Time now);

  // To be called before a step's decisions are added.
  void advance(Time now);
  void add(int layer, const moe::RoutingDecision& decision) {
    now_L_[static_cast<std::size_t>(layer)].add(decision);
  }

  Layers total() const;
  struct Window {
    double seconds = 0;  // that it covers, to now
    Layers layers;       // without co-activation
  };
  // The last `seconds` (1 to kMostWindowSeconds) and the rest of the second, beyond the last minute
  // of the minute, in which they begin.
  Window window(double seconds, Time now) const;

 private:
  struct Entry {
    std::int64_t second = 0;  // in which it begins, since the start
    Layers layers;
  };
  std::int64_t second_of(Time time) const {
    return std::chrono::duration_cast<std::chrono::seconds>(time - begin_).count();
  }
  void close_second();
  void age(std::int64_t second);

  Time begin_;
  std::int64_t second_ = 0;  // of now_L_
  Layers now_L_, total_L_;
  std::deque<Entry> seconds_, minutes_;  // oldest first
};

}  // namespace conclave::serve
