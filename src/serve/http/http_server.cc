#include "serve/http/http_server.h"

#include <sys/resource.h>

#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/error.h"
#include "serve/http/connection.h"

namespace conclave::serve {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

// Thousands of connections need more than the usual soft limit of 1024 files.
void raise_file_limit() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
}

asio::ip::address parse_address(const std::string& text) {
  error_code error;
  const auto address = asio::ip::make_address(text == "localhost" ? "127.0.0.1" : text, error);
  if (error) {
    fail(ErrorKind::kInvalidArgument, "host '{}': expected an IP address or localhost", text);
  }
  return address;
}

}  // namespace

bool is_loopback(const std::string& address) { return parse_address(address).is_loopback(); }

struct HttpServer::State {
  explicit State(std::shared_ptr<ConnectionHub> h)
      : hub(std::move(h)), acceptor(hub->io), sweep(hub->io), tick(hub->io), retry(hub->io) {}

  void accept() {
    acceptor.async_accept([this](error_code error, tcp::socket socket) {
      if (!acceptor.is_open()) return;
      if (error) {  // no files left, or the client is gone already: the queue of the kernel waits
        retry.expires_after(std::chrono::milliseconds(100));
        retry.async_wait([this](error_code stopped) {
          if (!stopped) accept();
        });
        return;
      }
      if (static_cast<std::int64_t>(hub->connections.size()) < hub->limits.connections) {
        const auto connection = std::make_shared<Connection>(std::move(socket), hub);
        hub->connections.emplace(connection.get(), connection);
        connection->start();
      }
      accept();
    });
  }

  void sweep_deadlines() {
    sweep.expires_after(std::chrono::milliseconds(500));
    sweep.async_wait([this](error_code error) {
      if (error) return;
      const auto now = HttpClock::now();
      std::vector<std::shared_ptr<Connection>> all;
      all.reserve(hub->connections.size());
      for (const auto& [key, weak] : hub->connections) {
        if (auto connection = weak.lock()) all.push_back(std::move(connection));
      }
      for (const auto& connection : all) connection->check_deadline(now);
      sweep_deadlines();
    });
  }

  void wait_for_signal(asio::signal_set& signals, const std::function<void(int)>& on_signal) {
    signals.async_wait([this, &signals, &on_signal](error_code error, int) {
      if (error) return;
      on_signal(++signal_count);
      wait_for_signal(signals, on_signal);
    });
  }

  void next_tick() {
    if (!ticking) return;
    tick.expires_after(std::chrono::milliseconds(50));
    tick.async_wait([this](error_code error) {
      if (error) return;
      if (on_tick != nullptr) (*on_tick)();
      next_tick();
    });
  }

  std::shared_ptr<ConnectionHub> hub;
  tcp::acceptor acceptor;
  asio::steady_timer sweep, tick, retry;
  const std::function<void()>* on_tick = nullptr;
  bool ticking = false;
  int signal_count = 0;
};

HttpServer::HttpServer(const std::string& address, int port, const HttpLimits& limits,
                       HttpHandler& handler) {
  raise_file_limit();
  auto hub = std::make_shared<ConnectionHub>();
  hub->limits = limits;
  hub->handler = &handler;
  state_ = std::make_shared<State>(hub);
  const tcp::endpoint endpoint(parse_address(address), static_cast<unsigned short>(port));
  try {
    state_->acceptor.open(endpoint.protocol());
    state_->acceptor.set_option(tcp::acceptor::reuse_address(true));
    state_->acceptor.bind(endpoint);
    state_->acceptor.listen(4096);
  } catch (const boost::system::system_error& error) {
    fail(ErrorKind::kIo, "{}:{}: {}", address, port, error.code().message());
  }
}

// Connections hold the hub, and the hub's queue holds the connections: take them apart.
HttpServer::~HttpServer() {
  std::vector<std::shared_ptr<Connection>> all;
  for (const auto& [key, weak] : state_->hub->connections) {
    if (auto connection = weak.lock()) all.push_back(std::move(connection));
  }
  for (const auto& connection : all) connection->close();
  all.clear();
  error_code ignored;
  state_->acceptor.close(ignored);
  state_->hub->io.restart();
  state_->hub->io.poll();
}

int HttpServer::port() const { return state_->acceptor.local_endpoint().port(); }

void HttpServer::run(const std::function<void(int)>& on_signal,
                     const std::function<void()>& on_tick) {
  asio::signal_set signals(state_->hub->io, SIGINT, SIGTERM);
  state_->on_tick = &on_tick;
  state_->wait_for_signal(signals, on_signal);
  state_->accept();
  state_->sweep_deadlines();
  state_->hub->io.run();
  state_->on_tick = nullptr;
}

void HttpServer::ticks(bool wanted) {
  const bool begins = wanted && !state_->ticking;
  state_->ticking = wanted;
  if (begins) state_->next_tick();
}

void HttpServer::stop() { state_->hub->io.stop(); }

void HttpServer::post(std::function<void()> work) { asio::post(state_->hub->io, std::move(work)); }

std::int64_t HttpServer::connections() const {
  return static_cast<std::int64_t>(state_->hub->connections.size());
}

std::int64_t HttpServer::busy() const { return state_->hub->busy; }

}  // namespace conclave::serve
