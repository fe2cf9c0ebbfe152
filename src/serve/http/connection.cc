#include "serve/http/connection.h"

#include <sys/socket.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/read.hpp>
#include <cerrno>

#include "base/error.h"

namespace conclave::serve {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

class ConnectionExchange final : public Exchange {
 public:
  ConnectionExchange(std::shared_ptr<Connection> connection, std::uint64_t number,
                     HttpRequest request)
      : connection_(std::move(connection)), number_(number), request_(std::move(request)) {}
  // The last holder of an exchange may be another thread, and a connection ends on its own.
  ~ConnectionExchange() override {
    boost::asio::io_context& io = connection_->hub().io;
    asio::post(io, [connection = std::move(connection_)] {});
  }

  HttpRequest& request() override { return request_; }
  void respond(HttpResponse response) override {
    connection_->respond(number_, std::move(response));
  }
  void begin_stream(HttpResponse head) override {
    connection_->begin_stream(number_, std::move(head));
  }
  void write(const std::string& bytes) override { connection_->write(number_, bytes); }
  void end_stream() override { connection_->end_stream(number_); }
  void on_leave(std::function<void()> callback) override {
    connection_->on_leave(number_, std::move(callback));
  }
  void post(std::function<void()> work) override {
    asio::post(connection_->hub().io, std::move(work));
  }

 private:
  std::shared_ptr<Connection> connection_;
  std::uint64_t number_;
  HttpRequest request_;
};

HttpClock::time_point after(double seconds) {
  return HttpClock::now() + std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
}

std::string text(boost::beast::string_view view) { return {view.data(), view.size()}; }

}  // namespace

Connection::Connection(Socket socket, std::string address, std::shared_ptr<ConnectionHub> hub)
    : socket_(std::move(socket)),
      address_(std::move(address)),
      hub_(std::move(hub)),
      buffer_(64 << 10) {}

Connection::~Connection() { hub_->connections.erase(this); }

void Connection::start() {
  error_code ignored;
  socket_.non_blocking(true, ignored);
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);  // a Unix socket has none
  begin_idle();
}

void Connection::enter(State state, double seconds) {
  if ((state_ == State::kBusy) != (state == State::kBusy)) {
    hub_->busy += state == State::kBusy ? 1 : -1;
  }
  state_ = state;
  deadline_ = seconds > 0 ? after(seconds) : HttpClock::time_point::max();
}

void Connection::check_deadline(HttpClock::time_point now) {
  if (now >= deadline_) close();
}

void Connection::close() {
  if (state_ == State::kClosed) return;
  enter(State::kClosed, 0);
  error_code ignored;
  socket_.close(ignored);
  ++exchange_;
  unsent_.clear();
  if (on_leave_) std::exchange(on_leave_, nullptr)();
}

void Connection::begin_idle() {
  enter(State::kIdle, hub_->limits.idle_seconds);
  if (buffer_.size() > 0 || readable_) {
    read_header();
  } else {
    buffer_.shrink_to_fit();
    watch();
  }
}

void Connection::watch() {
  if (watching_) return;
  watching_ = true;
  socket_.async_wait(Socket::wait_read, [self = shared_from_this()](error_code error) {
    self->watching_ = false;
    if (error) {
      self->close();
    } else {
      self->on_readable();
    }
  });
}

// Between requests: the next one begins. While one is answered: either the client has left (it has
// closed its side), or it already sends the next request, which has to wait.
void Connection::on_readable() {
  if (state_ == State::kIdle) {
    read_header();
  } else if (state_ == State::kBusy) {
    char byte;
    const ssize_t n = ::recv(socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n > 0) {
      readable_ = true;
    } else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
      watch();
    } else {
      close();
    }
  }
}

void Connection::read_header() {
  enter(State::kHeader, hub_->limits.header_seconds);
  readable_ = head_only_ = false;
  parser_.emplace();
  parser_->header_limit(hub_->limits.header_bytes);
  parser_->body_limit(hub_->limits.body_bytes);
  http::async_read_header(socket_, buffer_, *parser_,
                          [self = shared_from_this()](error_code error, std::size_t) {
                            if (self->state_ == State::kClosed) return;
                            if (!error) {
                              self->on_header();
                            } else {
                              self->on_read_error(error);
                            }
                          });
}

void Connection::on_read_error(error_code error) {
  if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    refuse(hub_->handler->malformed(431, "the header is too large"));
  } else if (error == http::error::body_limit) {
    refuse(hub_->handler->malformed(413, "the body is too large"));
  } else if (error.category() == make_error_code(http::error::bad_method).category() &&
             error != http::error::end_of_stream && error != http::error::partial_message) {
    refuse(hub_->handler->malformed(400, error.message()));
  } else {
    close();
  }
}

void Connection::on_header() {
  const auto& message = parser_->get();
  request_ = {};
  request_.address = address_;
  request_.method = text(message.method_string());
  head_only_ = request_.method == "HEAD";
  if (head_only_) request_.method = "GET";
  const std::string target = text(message.target());
  const std::size_t mark = target.find('?');
  request_.path = target.substr(0, mark);
  if (mark != std::string::npos) request_.query = target.substr(mark + 1);
  request_.origin = text(message[http::field::origin]);
  request_.request_id = text(message["X-Request-Id"]);
  request_.timeout = text(message["X-Request-Timeout"]);
  int hosts = 0;
  for (const auto& field : message) {
    if (field.name() == http::field::host && ++hosts == 1) request_.host = text(field.value());
    if (field.name() == http::field::authorization) {
      request_.authorization.push_back(text(field.value()));
    }
  }
  http_1_0_ = message.version() < 11;
  keep_alive_ = message.keep_alive();
  if (hosts > 1 || message.version() > 11) {
    refuse(hub_->handler->malformed(hosts > 1 ? 400 : 505, "found a request that is not HTTP/1.1"));
  } else if (auto refusal = hub_->handler->refuse(request_)) {
    refuse(std::move(*refusal));
  } else {
    if (boost::beast::iequals(message[http::field::expect], "100-continue")) {
      unsent_ += "HTTP/1.1 100 Continue\r\n\r\n";
      flush();
    }
    body_deadline_ = after(hub_->limits.body_seconds);
    parser_->eager(true);
    read_body();
  }
}

void Connection::read_body() {
  if (parser_->is_done()) {
    dispatch();
    return;
  }
  enter(State::kBody, hub_->limits.read_seconds);
  deadline_ = std::min(deadline_, body_deadline_);
  http::async_read_some(socket_, buffer_, *parser_,
                        [self = shared_from_this()](error_code error, std::size_t) {
                          if (self->state_ == State::kClosed) return;
                          if (!error) {
                            self->read_body();
                          } else {
                            self->on_read_error(error);
                          }
                        });
}

void Connection::dispatch() {
  request_.body = std::move(parser_->get().body());
  parser_.reset();
  enter(State::kBusy, 0);
  complete_ = false;
  const auto self = shared_from_this();
  watch();
  hub_->handler->handle(
      std::make_shared<ConnectionExchange>(self, ++exchange_, std::move(request_)));
}

void Connection::refuse(HttpResponse response) {
  enter(State::kBusy, 0);
  complete_ = false;
  keep_alive_ = false;
  respond(++exchange_, std::move(response));
}

void Connection::append_head(const HttpResponse& response, const std::string& framing) {
  const auto reason = http::obsolete_reason(static_cast<http::status>(response.status));
  unsent_ += fmt::format("HTTP/1.1 {} {}\r\nContent-Type: {}\r\n{}", response.status, text(reason),
                         response.content_type, framing);
  for (const auto& [name, value] : response.headers) {
    unsent_ += fmt::format("{}: {}\r\n", name, value);
  }
  unsent_ += keep_alive_ ? (http_1_0_ ? "Connection: keep-alive\r\n\r\n" : "\r\n")
                         : "Connection: close\r\n\r\n";
}

void Connection::respond(std::uint64_t exchange, HttpResponse response) {
  if (exchange != exchange_ || state_ != State::kBusy) return;
  append_head(response, fmt::format("Content-Length: {}\r\n", response.body.size()));
  if (!head_only_) unsent_ += response.body;
  complete_ = true;
  flush();
}

// HTTP/1.0 has no chunks: there the end of the connection is the end of the answer.
void Connection::begin_stream(std::uint64_t exchange, HttpResponse head) {
  if (exchange != exchange_ || state_ != State::kBusy) return;
  if (http_1_0_) keep_alive_ = false;
  append_head(head, http_1_0_ ? "" : "Transfer-Encoding: chunked\r\n");
  flush();
}

void Connection::write(std::uint64_t exchange, const std::string& bytes) {
  if (exchange != exchange_ || state_ != State::kBusy || bytes.empty()) return;
  if (unsent_.size() + bytes.size() > hub_->limits.unsent_bytes) {
    close();
    return;
  }
  unsent_ += http_1_0_ ? bytes : fmt::format("{:x}\r\n{}\r\n", bytes.size(), bytes);
  flush();
}

void Connection::end_stream(std::uint64_t exchange) {
  if (exchange != exchange_ || state_ != State::kBusy) return;
  if (!http_1_0_) unsent_ += "0\r\n\r\n";
  complete_ = true;
  flush();
}

void Connection::on_leave(std::uint64_t exchange, std::function<void()> callback) {
  if (exchange != exchange_ || state_ != State::kBusy) {
    callback();
  } else {
    on_leave_ = std::move(callback);
  }
}

void Connection::flush() {
  if (writing_ || state_ == State::kClosed) return;
  if (sent_ == sending_.size()) {
    sending_ = std::exchange(unsent_, {});
    sent_ = 0;
    if (sending_.empty()) {
      if (state_ == State::kBusy) {
        deadline_ = HttpClock::time_point::max();
        if (complete_) end_answer();
      }
      return;
    }
  }
  writing_ = true;
  if (state_ == State::kBusy) deadline_ = after(hub_->limits.send_seconds);
  socket_.async_write_some(asio::buffer(sending_.data() + sent_, sending_.size() - sent_),
                           [self = shared_from_this()](error_code error, std::size_t n) {
                             self->writing_ = false;
                             self->sent_ += n;
                             if (error) {
                               self->close();
                             } else {
                               self->flush();
                             }
                           });
}

void Connection::end_answer() {
  ++exchange_;
  on_leave_ = nullptr;
  complete_ = false;
  if (keep_alive_) {
    begin_idle();
  } else {
    parser_.reset();
    error_code ignored;
    socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
    enter(State::kLinger, 2);
    linger();
  }
}

void Connection::linger() {
  buffer_.clear();
  socket_.async_read_some(buffer_.prepare(16 << 10),
                          [self = shared_from_this()](error_code error, std::size_t n) {
                            self->lingered_ += n;
                            if (error || self->lingered_ > (32u << 20)) {
                              self->close();
                            } else {
                              self->linger();
                            }
                          });
}

}  // namespace conclave::serve
