// HTTP/1.1 on one I/O thread with Boost.Asio and Boost.Beast. An idle connection costs its socket
// and some hundred bytes: it has no parser, no buffer and no timer of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "serve/http/exchange.h"

namespace conclave::serve {

struct HttpAddress {
  std::string host;         // an IP address or localhost; empty: no port, the Unix socket alone
  int port = 0;             // 0: a free one
  std::string unix_socket;  // path, empty: none. What lies there must be a socket that nobody uses.
};

class HttpServer {
 public:
  // Binds; throws Error(kIo) naming the address. Port 0 takes a free one.
  HttpServer(const HttpAddress& address, const HttpLimits& limits, HttpHandler& handler);
  ~HttpServer();

  int port() const;  // 0 where it listens at no port
  // Serves until stop(). `on_signal(count)` is called on SIGINT and SIGTERM, `on_tick` every 50 ms
  // while it is wanted (after ticks(true)).
  void run(const std::function<void(int count)>& on_signal, const std::function<void()>& on_tick);
  void ticks(bool wanted);
  void stop();
  // From any thread.
  void post(std::function<void()> work);
  std::int64_t connections() const;
  // Connections whose request has not been answered completely.
  std::int64_t busy() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// True for "127.0.0.1", "::1" and the like. Throws Error(kInvalidArgument) where it is no address.
bool is_loopback(const std::string& address);

}  // namespace conclave::serve
