#include "serve/options.h"

#include <toml++/toml.h>
#include <algorithm>

#include "base/error.h"
#include "io/nearest_name.h"
#include "serve/http/http_server.h"
#include "sys/files.h"

namespace conclave::serve {
namespace {

constexpr double kMany = 1e9;
constexpr double kSize = 1e15;

[[noreturn]] void wrong(const std::string& path, const std::string& key,
                        const std::string& expected) {
  fail(ErrorKind::kBadFile, "{}: key '{}': expected {}", path, key, expected);
}

double number_of(const std::string& path, const Setting& s, const std::string& key,
                 const toml::node& node, bool whole) {
  const auto value = node.value<double>();
  const bool is_number = whole ? node.is_integer() : node.is_number();
  if (!is_number || !value || !(*value >= s.min && *value <= s.max)) {
    wrong(path, key,
          fmt::format("{} from {} to {}", whole ? "an integer" : "a number", s.min, s.max));
  }
  return *value;
}

void assign(const std::string& path, const Setting& s, const std::string& key,
            const toml::node& node) {
  if (auto* const* text = std::get_if<std::string*>(&s.target)) {
    const auto value = node.is_string() ? node.value<std::string>() : std::nullopt;
    const std::vector<std::string>& allowed = s.choices;
    if (!value) wrong(path, key, "a string");
    if (!allowed.empty() && std::find(allowed.begin(), allowed.end(), *value) == allowed.end()) {
      wrong(path, key, fmt::format("one of {}", fmt::join(allowed, ", ")));
    }
    **text = *value;
  } else if (auto* const* flag = std::get_if<bool*>(&s.target)) {
    if (!node.is_boolean()) wrong(path, key, "true or false");
    **flag = *node.value<bool>();
  } else if (auto* const* real = std::get_if<double*>(&s.target)) {
    **real = number_of(path, s, key, node, false);
  } else if (auto* const* list = std::get_if<std::vector<std::string>*>(&s.target)) {
    const toml::array* const array = node.as_array();
    if (array == nullptr) wrong(path, key, "a list of strings");
    (*list)->clear();
    for (const toml::node& item : *array) {
      if (!item.is_string()) wrong(path, key, "a list of strings");
      (*list)->push_back(*item.value<std::string>());
    }
  } else {
    const double value = number_of(path, s, key, node, true);
    if (auto* const* i = std::get_if<std::int64_t*>(&s.target))
      **i = static_cast<std::int64_t>(value);
    if (auto* const* u = std::get_if<std::uint32_t*>(&s.target))
      **u = static_cast<std::uint32_t>(value);
    if (auto* const* w = std::get_if<std::uint64_t*>(&s.target))
      **w = static_cast<std::uint64_t>(value);
  }
}

}  // namespace

std::vector<Setting> settings_of(ServerOptions& o) {
  return {
      {"host", &o.host, 0, 0,
       "address to listen at; any but loopback needs an API key; none: no port"},
      {"port", &o.port, 0, 65535, "port to listen at; 0: a free one"},
      {"unix-socket", &o.unix_socket, 0, 0, "path of a Unix socket to listen at as well"},
      {"model-name", &o.model_name, 0, 0, "name in the API (default: the model's file name)"},
      {"chat-template", &o.chat_template, 0, 0,
       "file with a chat template in place of the model's"},
      {"api-key", &o.api_keys, 0, 0, "key that requests must bring, repeated"},
      {"allow-host", &o.allowed_hosts, 0, 0, "further Host header to answer, repeated"},
      {"default-max-tokens", &o.default_max_tokens, 1, kMany,
       "longest answer of chats that do not say"},
      {"request-seconds", &o.request_seconds, 0.01, kMany, "for a request, waiting included"},
      {"drain-seconds", &o.drain_seconds, 0, kMany, "for accepted requests after SIGTERM"},
      {"log-requests", &o.log_requests, 0, 0, "a line a request on standard error, without texts"},
      {"max-running", &o.engine.max_running, 1, 4096, "sequences computed together"},
      {"max-queued", &o.engine.max_queued, 1, kMany, "sequences that wait; more are refused"},
      {"max-queued-tokens", &o.engine.max_queued_tokens, 1, kMany, "prompt tokens that wait"},
      {"client-requests", &o.client.requests, 0, kMany,
       "requests under way of one API key, or address where no keys are set; 0: no limit"},
      {"client-requests-per-minute", &o.client.requests_per_minute, 0, kMany,
       "requests a minute of one key or address; 0: no limit"},
      {"client-queued-tokens", &o.engine.client_queued_tokens, 0, kMany,
       "prompt tokens that wait of one key or address; 0: no limit"},
      {"prefill-chunk", &o.engine.prefill_chunk, 1, 65536, "prompt tokens read in a step"},
      {"kv-bytes", &o.engine.kv_bytes, 1, kSize, "memory of all keys and values"},
      {"context", &o.engine.context, 0, kMany, "longest prompt and answer; 0: the model's"},
      {"header-bytes", &o.http.header_bytes, 256, 1 << 16, "largest header"},
      {"body-bytes", &o.http.body_bytes, 256, 1 << 30, "largest body"},
      {"unsent-bytes", &o.http.unsent_bytes, 1 << 16, kSize, "most that waits for a slow client"},
      {"max-connections", &o.http.connections, 1, 1e6, "open connections; more are closed"},
      {"header-seconds", &o.http.header_seconds, 0.1, kMany, "for a header"},
      {"read-seconds", &o.http.read_seconds, 0.1, kMany, "between two pieces of a body"},
      {"body-seconds", &o.http.body_seconds, 0.1, kMany, "for a whole body"},
      {"send-seconds", &o.http.send_seconds, 0.1, kMany, "in which a client takes nothing"},
      {"idle-seconds", &o.http.idle_seconds, 0.1, kMany, "between two requests"},
  };
}

void read_options(const std::string& path, std::span<const Setting> settings,
                  const std::function<bool(const std::string&)>& given) {
  const std::string text = sys::read_file(path, 1 << 20);
  toml::table table;
  try {
    table = toml::parse(text, path);
  } catch (const toml::parse_error& error) {
    fail(ErrorKind::kBadFile, "{}: line {}: {}", path, error.source().begin.line,
         error.description());
  }
  std::vector<std::string> names;
  for (const Setting& s : settings) {
    names.emplace_back(s.name);
    std::replace(names.back().begin(), names.back().end(), '-', '_');
  }
  for (const auto& [key, node] : table) {
    const std::string name(key.str());
    const auto place = std::find(names.begin(), names.end(), name);
    if (place == names.end()) {
      fail(ErrorKind::kBadFile, "{}: no setting '{}'{}", path, name, io::did_you_mean(name, names));
    }
    const Setting& setting = settings[static_cast<std::size_t>(place - names.begin())];
    if (!given(setting.name)) assign(path, setting, name, node);
  }
}

void validate(const ServerOptions& options) {
  if (!options.listens() && options.unix_socket.empty()) {
    fail(ErrorKind::kInvalidArgument, "host none needs a --unix-socket to listen at");
  }
  if (options.unix_socket.size() > 100) {
    fail(ErrorKind::kInvalidArgument, "the path of a Unix socket has {} bytes: expected up to 100",
         options.unix_socket.size());
  }
  if (options.listens() && !is_loopback(options.host) && options.api_keys.empty()) {
    fail(ErrorKind::kInvalidArgument,
         "host {} can be reached from other machines: set an API key (--api-key), or listen at "
         "127.0.0.1",
         options.host);
  }
  for (const std::string& key : options.api_keys) {
    const bool printable =
        std::all_of(key.begin(), key.end(), [](char c) { return c > ' ' && c < 127; });
    if (key.size() < 8 || !printable) {
      fail(ErrorKind::kInvalidArgument,
           "an API key has {} bytes: expected 8 or more, printable and without spaces", key.size());
    }
  }
}

}  // namespace conclave::serve
