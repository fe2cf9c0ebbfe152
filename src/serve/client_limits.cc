#include "serve/client_limits.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace conclave::serve {
namespace {

ApiError too_many(std::string message, double seconds) {
  return {.status = 429,
          .type = "requests",
          .code = "rate_limit_exceeded",
          .message = std::move(message),
          .param = {},
          .retry_after = static_cast<int>(std::clamp(std::ceil(seconds), 1.0, 3600.0))};
}

}  // namespace

const std::string& ClientLimits::name(const std::string& client) const {
  const bool room = clients_.size() < most_clients_ || clients_.contains(client);
  return room ? client : others_;
}

ClientLimits::Client& ClientLimits::entry(const std::string& client) {
  return clients_[name(client)];
}

void ClientLimits::fill(Client& client, Time now) const {
  const auto most = static_cast<double>(options_.requests_per_minute);
  if (!std::exchange(client.known, true)) {
    client.left = most;
  } else {
    const double seconds = std::chrono::duration<double>(now - client.filled).count();
    client.left = std::min(most, client.left + seconds * most / 60);
  }
  client.filled = now;
}

// Entries that say nothing any more: no request under way, and a full bucket.
void ClientLimits::forget(Time now) {
  if (now - forgotten_ < std::chrono::seconds(1)) return;  // it looks at all of them
  forgotten_ = now;
  for (auto& [name, client] : clients_) fill(client, now);
  std::erase_if(clients_, [&](const auto& item) {
    return item.second.under_way == 0 &&
           item.second.left >= static_cast<double>(options_.requests_per_minute);
  });
}

std::optional<ApiError> ClientLimits::check_under_way(const std::string& client,
                                                      int retry_after) const {
  if (options_.requests == 0) return std::nullopt;
  const auto place = clients_.find(name(client));
  if (place == clients_.end() || place->second.under_way < options_.requests) return std::nullopt;
  return too_many(fmt::format("Rate limit reached: {} requests of this client are under way, and "
                              "that is the limit.",
                              place->second.under_way),
                  retry_after);
}

std::optional<ApiError> ClientLimits::check(const std::string& client, Time now, int retry_after) {
  if (clients_.size() >= most_clients_ && !clients_.contains(client)) forget(now);
  if (auto error = check_under_way(client, retry_after)) return error;
  const auto place = clients_.find(name(client));
  if (options_.requests_per_minute == 0 || place == clients_.end()) return std::nullopt;
  Client& found = place->second;
  fill(found, now);
  if (found.left >= 1) return std::nullopt;
  return too_many(
      fmt::format("Rate limit reached: {} requests a minute.", options_.requests_per_minute),
      (1 - found.left) * 60 / static_cast<double>(options_.requests_per_minute));
}

void ClientLimits::count(const std::string& client, Time now) {
  if (options_.requests_per_minute == 0) return;
  Client& found = entry(client);
  fill(found, now);
  found.left -= 1;
}

void ClientLimits::end(const std::string& client) {
  // Its work may have begun under the other name, when there was no room.
  auto place = clients_.find(client);
  if (place == clients_.end() || place->second.under_way == 0) place = clients_.find(others_);
  if (place == clients_.end() || place->second.under_way == 0) return;
  --place->second.under_way;
  if (place->second.under_way == 0 && options_.requests_per_minute == 0) clients_.erase(place);
}

bool ClientLimits::busy(const std::string& client) const {
  const auto place = clients_.find(name(client));
  return place != clients_.end() && place->second.under_way > 0;
}

}  // namespace conclave::serve
