#include "serve/http/http_server.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/error.h"
#include "serve/http/connection.h"

namespace conclave::serve {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using unix_stream = asio::local::stream_protocol;
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

std::string client_name(const tcp::socket& socket) {
  error_code error;
  const auto address = socket.remote_endpoint(error).address();
  if (error) return "unknown";
  if (!address.is_v6()) return address.to_string();
  if (address.to_v6().is_v4_mapped()) {
    return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6()).to_string();
  }
  auto bytes = address.to_v6().to_bytes();
  std::fill(bytes.begin() + 8, bytes.end(), static_cast<unsigned char>(0));
  return asio::ip::make_address_v6(bytes).to_string() + "/64";
}

std::string client_name(const unix_stream::socket&) { return "unix"; }

// Removes a socket that a server left which is gone; anything else stays.
void remove_stale_socket(const std::string& path) {
  struct stat status = {};
  if (lstat(path.c_str(), &status) != 0) return;
  if (!S_ISSOCK(status.st_mode)) {
    fail(ErrorKind::kIo, "{}: exists and is no socket: name another path", path);
  }
  asio::io_context io;
  unix_stream::socket probe(io);
  error_code error;
  probe.connect(unix_stream::endpoint(path), error);
  if (!error) fail(ErrorKind::kIo, "{}: another server listens there", path);
  ::unlink(path.c_str());
}

// Accepts at one address, over Protocol tcp or Unix sockets.
template <class Protocol>
class Listener {
 public:
  explicit Listener(std::shared_ptr<ConnectionHub> hub)
      : acceptor_(hub->io), retry_(hub->io), hub_(std::move(hub)) {}

  void open(const typename Protocol::endpoint& endpoint) {
    acceptor_.open(endpoint.protocol());
    if constexpr (std::is_same_v<Protocol, tcp>) {
      acceptor_.set_option(tcp::acceptor::reuse_address(true));
    }
    acceptor_.bind(endpoint);
    acceptor_.listen(4096);
  }
  void accept() {
    if (!acceptor_.is_open()) return;
    acceptor_.async_accept([this](error_code error, typename Protocol::socket socket) {
      if (!acceptor_.is_open()) return;
      if (error) {  // no files left, or the client is gone already: the queue of the kernel waits
        retry_.expires_after(std::chrono::milliseconds(100));
        retry_.async_wait([this](error_code stopped) {
          if (!stopped) accept();
        });
        return;
      }
      if (static_cast<std::int64_t>(hub_->connections.size()) < hub_->limits.connections) {
        std::string name = client_name(socket);
        const auto connection =
            std::make_shared<Connection>(std::move(socket), std::move(name), hub_);
        hub_->connections.emplace(connection.get(), connection);
        connection->start();
      }
      accept();
    });
  }
  void close() {
    error_code ignored;
    acceptor_.close(ignored);
  }
  int port() const { return acceptor_.is_open() ? acceptor_.local_endpoint().port() : 0; }

 private:
  typename Protocol::acceptor acceptor_;
  asio::steady_timer retry_;
  std::shared_ptr<ConnectionHub> hub_;
};

}  // namespace

bool is_loopback(const std::string& address) { return parse_address(address).is_loopback(); }

struct HttpServer::State {
  explicit State(std::shared_ptr<ConnectionHub> h)
      : hub(std::move(h)),
        ports(hub),
        sockets(hub),
        signals(hub->io, SIGINT, SIGTERM),
        sweep(hub->io),
        tick(hub->io) {}

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

  void wait_for_signal(const std::function<void(int)>& on_signal) {
    signals.async_wait([this, &on_signal](error_code error, int) {
      if (error) return;
      on_signal(++signal_count);
      wait_for_signal(on_signal);
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
  Listener<tcp> ports;
  Listener<unix_stream> sockets;
  std::string socket_path;
  // From the start: a signal that comes before run() is not lost, and ends nothing by itself.
  asio::signal_set signals;
  asio::steady_timer sweep, tick;
  const std::function<void()>* on_tick = nullptr;
  bool ticking = false;
  int signal_count = 0;
};

HttpServer::HttpServer(const HttpAddress& address, const HttpLimits& limits, HttpHandler& handler) {
  raise_file_limit();
  auto hub = std::make_shared<ConnectionHub>();
  hub->limits = limits;
  hub->handler = &handler;
  state_ = std::make_shared<State>(hub);
  if (!address.host.empty()) {
    const auto port = static_cast<unsigned short>(address.port);
    try {
      state_->ports.open({parse_address(address.host), port});
    } catch (const boost::system::system_error& error) {
      fail(ErrorKind::kIo, "{}:{}: {}", address.host, address.port, error.code().message());
    }
  }
  if (address.unix_socket.empty()) return;
  remove_stale_socket(address.unix_socket);
  try {
    // Its owner and group may connect, whatever the umask says; nobody may before it is so.
    const mode_t mask = umask(0117);
    const std::unique_ptr<const mode_t, void (*)(const mode_t*)> restore(
        &mask, [](const mode_t* old) { umask(*old); });
    state_->sockets.open(unix_stream::endpoint(address.unix_socket));
  } catch (const boost::system::system_error& error) {
    fail(ErrorKind::kIo, "{}: {}", address.unix_socket, error.code().message());
  }
  state_->socket_path = address.unix_socket;
}

// Connections hold the hub, and the hub's queue holds the connections: take them apart.
HttpServer::~HttpServer() {
  std::vector<std::shared_ptr<Connection>> all;
  for (const auto& [key, weak] : state_->hub->connections) {
    if (auto connection = weak.lock()) all.push_back(std::move(connection));
  }
  for (const auto& connection : all) connection->close();
  all.clear();
  state_->ports.close();
  state_->sockets.close();
  if (!state_->socket_path.empty()) ::unlink(state_->socket_path.c_str());
  state_->hub->io.restart();
  state_->hub->io.poll();
}

int HttpServer::port() const { return state_->ports.port(); }

void HttpServer::run(const std::function<void(int)>& on_signal,
                     const std::function<void()>& on_tick) {
  state_->on_tick = &on_tick;
  state_->wait_for_signal(on_signal);
  state_->ports.accept();
  state_->sockets.accept();
  state_->sweep_deadlines();
  state_->hub->io.run();
  state_->on_tick = nullptr;
  error_code ignored;
  state_->signals.cancel(ignored);
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
