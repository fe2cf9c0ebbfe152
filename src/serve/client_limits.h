// What each client may ask for: requests under way, and requests a minute. A client is an API key,
// or an address where no keys are set. Decided from a request's header alone, before its body is
// read. Lives on the I/O thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>

#include "serve/api_error.h"

namespace conclave::serve {

struct ClientLimitOptions {  // 0: no limit
  std::int64_t requests = 0;
  std::int64_t requests_per_minute = 0;
};

class ClientLimits {
 public:
  using Time = std::chrono::steady_clock::time_point;
  // Borrows. At most `most_clients` are told apart; beyond that strangers share one entry.
  explicit ClientLimits(const ClientLimitOptions& options, std::size_t most_clients = 1 << 16)
      : options_(options), most_clients_(most_clients) {}

  // Nothing, or the refusal: 429 with the seconds until it is worth to ask again, for requests
  // under way `retry_after`. Takes nothing.
  std::optional<ApiError> check(const std::string& client, Time now, int retry_after);
  // Of the requests under way alone.
  std::optional<ApiError> check_under_way(const std::string& client, int retry_after) const;
  // A request was let in: it counts for the minute.
  void count(const std::string& client, Time now);
  // Its work begins and ends.
  void begin(const std::string& client) { ++entry(client).under_way; }
  void end(const std::string& client);
  bool busy(const std::string& client) const;
  std::size_t clients() const { return clients_.size(); }

 private:
  // A bucket that fills by requests_per_minute / 60 a second up to a minute's worth.
  struct Client {
    std::int64_t under_way = 0;
    double left = 0;
    Time filled{};
    bool known = false;
  };
  const std::string& name(const std::string& client) const;
  Client& entry(const std::string& client);
  void fill(Client& client, Time now) const;
  void forget(Time now);

  const ClientLimitOptions& options_;
  std::size_t most_clients_;
  std::unordered_map<std::string, Client> clients_;
  std::string others_ = "others";
  Time forgotten_{};
};

}  // namespace conclave::serve
