// A queue that takes turns between clients: virtual token counters (Sheng et al. 2024, "Fairness in
// Serving Large Language Models", algorithm 2). Every client has a counter of the tokens that it
// was served; the client with the lowest one is next, and within a client the order is that of
// arrival. Who comes back after a pause starts at the lowest counter of those who wait, or where
// the last one stood who did, so that nobody saves up for later. Not safe for several threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace conclave::serve {

inline constexpr std::int64_t kPromptTokenCost = 1;
inline constexpr std::int64_t kAnswerTokenCost = 2;  // the paper's weights

template <class Item>
class FairQueue {
 public:
  // `tokens` of the prompt: what the client pays when the item's turn comes.
  void push(const std::string& client, Item item, std::int64_t tokens) {
    Client& c = clients_[client];
    if (c.waiting.empty()) c.counter = std::max(c.counter, empty() ? last_ : lowest_waiting());
    c.waiting.push_back({std::move(item), tokens});
    c.waiting_tokens += tokens;
    ++size_;
  }

  bool empty() const { return size_ == 0; }
  std::int64_t size() const { return size_; }
  std::int64_t waiting(const std::string& client) const {
    const auto place = clients_.find(client);
    return place == clients_.end() ? 0 : static_cast<std::int64_t>(place->second.waiting.size());
  }
  std::int64_t waiting_tokens(const std::string& client) const {
    const auto place = clients_.find(client);
    return place == clients_.end() ? 0 : place->second.waiting_tokens;
  }

  // Whose turn it is; the queue is not empty.
  Item& front() { return next()->second.waiting.front().item; }
  // Takes front(). Its client pays for the prompt, and has one more that is served until leave().
  Item pop() {
    const auto place = next();
    place->second.counter += kPromptTokenCost * place->second.waiting.front().tokens;
    last_ = place->second.counter;
    return take(place->second, place->second.waiting.begin());
  }
  // Takes what `wanted` says of all that wait, unpaid. They too end with leave().
  template <class Predicate>
  std::vector<Item> take_if(Predicate wanted) {
    std::vector<Item> taken;
    for (auto& [name, client] : clients_) {
      for (auto place = client.waiting.begin(); place != client.waiting.end();) {
        if (!wanted(place->item)) {
          ++place;
          continue;
        }
        const auto index = place - client.waiting.begin();
        taken.push_back(take(client, place));
        place = client.waiting.begin() + index;
      }
    }
    return taken;
  }

  // The client pays for tokens of an answer.
  void charge(const std::string& client, std::int64_t tokens) {
    clients_[client].counter += kAnswerTokenCost * tokens;
  }
  // One of the client's items that were taken has ended.
  void leave(const std::string& client) {
    const auto place = clients_.find(client);
    if (place == clients_.end()) return;
    --place->second.served;
    forget();
  }
  // Clients that are remembered.
  std::size_t clients() const { return clients_.size(); }

 private:
  struct Waiting {
    Item item;
    std::int64_t tokens;
  };
  struct Client {
    std::deque<Waiting> waiting;
    std::int64_t waiting_tokens = 0, served = 0, counter = 0;
    bool idle() const { return waiting.empty() && served == 0; }
  };
  using Clients = std::map<std::string, Client>;

  Item take(Client& client, typename std::deque<Waiting>::iterator place) {
    Item item = std::move(place->item);
    client.waiting_tokens -= place->tokens;
    client.waiting.erase(place);
    ++client.served;
    --size_;
    return item;
  }
  typename Clients::iterator next() {
    auto best = clients_.end();
    for (auto place = clients_.begin(); place != clients_.end(); ++place) {
      if (place->second.waiting.empty()) continue;
      if (best == clients_.end() || place->second.counter < best->second.counter) best = place;
    }
    return best;
  }
  // 0 where nobody waits.
  std::int64_t lowest_waiting() const {
    bool found = false;
    std::int64_t lowest = 0;
    for (const auto& [name, client] : clients_) {
      if (client.waiting.empty()) continue;
      lowest = found ? std::min(lowest, client.counter) : client.counter;
      found = true;
    }
    return lowest;
  }
  // A client that is idle keeps its debt only while others wait who would be served before it. So
  // there are never more entries than clients at work and their debtors of the busy time.
  void forget() {
    const bool all = size_ == 0;
    const std::int64_t lowest = lowest_waiting();
    std::erase_if(clients_, [&](const auto& entry) {
      return entry.second.idle() && (all || entry.second.counter <= lowest);
    });
    if (clients_.empty()) last_ = 0;
  }

  Clients clients_;
  std::int64_t size_ = 0;
  std::int64_t last_ = 0;  // counter of the client whose turn came last
};

}  // namespace conclave::serve
