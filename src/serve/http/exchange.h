// An HTTP request and the way to answer it, without the library that carries them. Everything here
// happens on the server's one I/O thread; other threads come in through Exchange::post.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace conclave::serve {

struct HttpRequest {
  std::string method, path, query;  // HEAD comes as GET; the target before and after '?'
  std::optional<std::string> host;
  std::vector<std::string> authorization;   // every header of that name
  std::string origin, request_id, timeout;  // Origin, X-Request-Id, X-Request-Timeout; empty: none
  // Of the client: "192.0.2.7"; of IPv6 the /64 network, which one client has whole; "unix".
  std::string address;
  std::string body;
};

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  HttpHeaders headers;
  std::string body;
};

class Exchange {
 public:
  virtual ~Exchange() = default;
  // The body may be taken out of it.
  virtual HttpRequest& request() = 0;
  // Either one respond, or begin_stream, writes and end_stream. After the client has left they do
  // nothing.
  virtual void respond(HttpResponse response) = 0;
  virtual void begin_stream(HttpResponse head) = 0;
  virtual void write(const std::string& bytes) = 0;
  virtual void end_stream() = 0;
  // Called once when the client leaves before the answer is complete.
  virtual void on_leave(std::function<void()> callback) = 0;
  // From any thread: runs `work` on the I/O thread.
  virtual void post(std::function<void()> work) = 0;
};

class HttpHandler {
 public:
  virtual ~HttpHandler() = default;
  // Sees the header before the body is read; an answer refuses the request and ends the connection.
  virtual std::optional<HttpResponse> refuse(const HttpRequest& request) = 0;
  // The answer to bytes that are no request that the server takes (400, 413, 431).
  virtual HttpResponse malformed(int status, const std::string& reason) = 0;
  virtual void handle(std::shared_ptr<Exchange> exchange) = 0;
};

struct HttpLimits {
  std::uint32_t header_bytes = 16 << 10;
  std::uint64_t body_bytes = 8 << 20;
  std::uint64_t unsent_bytes = 16 << 20;  // of an answer that the client does not read
  std::int64_t connections = 16384;
  double header_seconds = 10;  // from a header's first byte to its last
  double read_seconds = 10;    // between two pieces of a body
  double body_seconds = 60;    // for all of it
  double send_seconds = 10;    // in which the client takes nothing
  double idle_seconds = 75;    // between two requests
};

}  // namespace conclave::serve
