// Everything that can be set about the server itself, with its default; the one list that flags,
// the TOML file and --help are made from. What verbs share is beside it in cli/serve.cc.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "serve/client_limits.h"
#include "serve/engine.h"
#include "serve/http/exchange.h"

namespace conclave::serve {

struct ServerOptions {
  std::string host = "127.0.0.1";  // "none": no port
  std::int64_t port = 8080;        // 0: a free one
  std::string unix_socket;         // path of a Unix socket to listen at as well; empty: none
  std::string chat_template;       // a file in place of the model's; empty: the model's
  std::string model_name;          // in the API; empty: the last part of the model's path
  std::vector<std::string> api_keys;
  std::vector<std::string> allowed_hosts;  // of the Host header, beside those of loopback
  std::int64_t default_max_tokens = 1024;  // of chats that do not say
  double request_seconds = 600;            // from accepting a request to the end of its answer
  double drain_seconds = 25;               // for accepted requests, after SIGTERM
  bool log_requests = true;
  ClientLimitOptions client;
  EngineLimits engine;
  HttpLimits http;

  bool listens() const { return host != "none"; }
};

// One setting: its TOML key is its name with '_', its flag the name with '-'.
struct Setting {
  using Target = std::variant<std::string*, std::int64_t*, double*, bool*,
                              std::vector<std::string>*, std::uint32_t*, std::uint64_t*>;
  const char* name;
  Target target;
  double min, max;  // of numbers
  const char* help;
  std::vector<std::string> choices = {};  // that a string may be; none: any
};
std::vector<Setting> settings_of(ServerOptions& options);

// Reads a TOML file into the settings' targets; `given` says which the command line has set already
// and the file therefore leaves. Throws Error: kIo, kBadFile, kInvalidArgument naming the key.
void read_options(const std::string& path, std::span<const Setting> settings,
                  const std::function<bool(const std::string& name)>& given);

// Throws Error(kInvalidArgument): an address that is not loopback without a key, empty keys, ...
void validate(const ServerOptions& options);

}  // namespace conclave::serve
