#include "serve/routing_history.h"

#include <algorithm>
#include <cmath>

namespace conclave::serve {
namespace {

void merge(RoutingHistory::Layers& into, const RoutingHistory::Layers& from) {
  for (std::size_t i = 0; i < into.size(); ++i) into[i].merge(from[i]);
}

}  // namespace

RoutingHistory::RoutingHistory(std::size_t layers, Time now)
    : begin_(now), now_L_(layers), total_L_(layers) {}

void RoutingHistory::close_second() {
  merge(total_L_, now_L_);
  bool any = false;
  for (moe::RoutingStatistics& layer : now_L_) any = any || layer.tokens() > 0;
  if (!any) return;
  Entry entry{.second = second_, .layers = now_L_};
  for (moe::RoutingStatistics& layer : entry.layers) layer.drop_coactivation();
  seconds_.push_back(std::move(entry));
  for (moe::RoutingStatistics& layer : now_L_) layer.reset();
}

// Seconds that are older than a minute become minutes, and minutes end after an hour.
void RoutingHistory::age(std::int64_t second) {
  while (!seconds_.empty() && seconds_.front().second < second - 60) {
    Entry& old = seconds_.front();
    const std::int64_t minute = old.second / 60 * 60;
    if (minutes_.empty() || minutes_.back().second != minute) {
      minutes_.push_back({.second = minute, .layers = std::move(old.layers)});
    } else {
      merge(minutes_.back().layers, old.layers);
    }
    seconds_.pop_front();
  }
  while (!minutes_.empty() && minutes_.front().second + 60 < second - kMostWindowSeconds) {
    minutes_.pop_front();
  }
}

void RoutingHistory::advance(Time now) {
  const std::int64_t second = second_of(now);
  if (second == second_) return;
  close_second();
  second_ = second;
  age(second);
}

RoutingHistory::Layers RoutingHistory::total() const {
  Layers total = total_L_;
  merge(total, now_L_);
  return total;
}

RoutingHistory::Window RoutingHistory::window(double seconds, Time now) const {
  const double end = std::chrono::duration<double>(now - begin_).count();
  const double from = std::max(0.0, end - seconds);
  Window window;
  window.layers.resize(total_L_.size());
  double begin = end;
  const auto take = [&](const Layers& layers, std::int64_t second, double length) {
    if (static_cast<double>(second) + length <= from) return;
    begin = std::min(begin, static_cast<double>(second));
    for (std::size_t i = 0; i < layers.size(); ++i) {
      moe::RoutingStatistics part = layers[i];
      part.drop_coactivation();
      window.layers[i].merge(part);
    }
  };
  for (const Entry& entry : minutes_) take(entry.layers, entry.second, 60);
  for (const Entry& entry : seconds_) take(entry.layers, entry.second, 1);
  take(now_L_, second_, 1);
  window.seconds = end - std::min(begin, from);
  return window;
}

}  // namespace conclave::serve
