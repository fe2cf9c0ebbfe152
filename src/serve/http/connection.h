// One connection, over TCP or a Unix socket: reads requests one after the other, and writes the
// answers that a handler gives. Used by http_server.cc alone.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <optional>
#include <unordered_map>

#include "serve/http/exchange.h"

namespace conclave::serve {

using HttpClock = std::chrono::steady_clock;

// What all connections share.
struct ConnectionHub {
  boost::asio::io_context io{1};
  HttpLimits limits;
  HttpHandler* handler = nullptr;
  std::unordered_map<class Connection*, std::weak_ptr<class Connection>> connections;
  std::int64_t busy = 0;
};

class Connection final : public std::enable_shared_from_this<Connection> {
 public:
  using Socket = boost::asio::generic::stream_protocol::socket;

  // `address` of the client, as HttpRequest has it.
  Connection(Socket socket, std::string address, std::shared_ptr<ConnectionHub> hub);
  ~Connection();

  void start();
  // Ends the connection where it has stalled for longer than it may.
  void check_deadline(HttpClock::time_point now);
  void close();

  // For the exchange with this number; others are over.
  void respond(std::uint64_t exchange, HttpResponse response);
  void begin_stream(std::uint64_t exchange, HttpResponse head);
  void write(std::uint64_t exchange, const std::string& bytes);
  void end_stream(std::uint64_t exchange);
  void on_leave(std::uint64_t exchange, std::function<void()> callback);
  ConnectionHub& hub() { return *hub_; }

 private:
  // kIdle: between requests. kBusy: a handler has the request. kLinger: the answer is out, and what
  // the client still sends is thrown away, so that closing does not destroy the answer.
  enum class State : std::uint8_t { kIdle, kHeader, kBody, kBusy, kLinger, kClosed };

  void enter(State state, double seconds);
  void begin_idle();
  void watch();
  void on_readable();
  void read_header();
  void on_header();
  void on_read_error(boost::system::error_code error);
  void read_body();
  void dispatch();
  void refuse(HttpResponse response);
  void linger();
  void append_head(const HttpResponse& response, const std::string& framing);
  void flush();
  void end_answer();

  Socket socket_;
  std::string address_;
  std::shared_ptr<ConnectionHub> hub_;
  boost::beast::flat_buffer buffer_;
  std::optional<boost::beast::http::request_parser<boost::beast::http::string_body>> parser_;
  HttpRequest request_;
  HttpClock::time_point deadline_, body_deadline_;
  State state_ = State::kIdle;
  bool watching_ = false, readable_ = false;  // a wait is under way; bytes of the next request wait
  bool keep_alive_ = false, http_1_0_ = false;
  bool head_only_ = false;  // HEAD: as GET, and the body is kept back
  bool writing_ = false, complete_ = false;
  std::uint64_t exchange_ = 0;  // number of the request that is being answered
  std::string unsent_, sending_;
  std::size_t sent_ = 0;
  std::size_t lingered_ = 0;
  std::function<void()> on_leave_;
};

}  // namespace conclave::serve
