#include "serve/service.h"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <random>

#include "base/error.h"
#include "serve/call.h"

namespace conclave::serve {
namespace {

// Takes the same time wherever the texts differ.
bool same(const std::string& given, const std::string& key) {
  std::size_t difference = given.size() ^ key.size();
  for (std::size_t i = 0; i < given.size(); ++i) {
    difference |= static_cast<std::size_t>(static_cast<unsigned char>(given[i]) ^
                                           static_cast<unsigned char>(key[i % key.size()]));
  }
  return difference == 0;
}

bool usable_id(const std::string& id) {
  const auto plain = [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  };
  return !id.empty() && id.size() <= 64 && std::all_of(id.begin(), id.end(), plain);
}

// The name in a Host header, without its port.
std::string host_name(const std::string& host) {
  const std::size_t end = host.starts_with('[') ? host.find(']') + 1 : host.find(':');
  std::string name = host.substr(0, end);
  for (char& c : name) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return name;
}

std::string origin_host(const std::string& origin) {
  const std::size_t scheme = origin.find("://");
  return scheme == std::string::npos ? "null" : origin.substr(scheme + 3);
}

}  // namespace

const Service::Route Service::kRoutes[] = {
    {"GET", "/livez", true, false, &Service::live},
    {"GET", "/readyz", true, false, &Service::ready},
    {"GET", "/version", false, false, &Service::version},
    {"GET", "/metrics", false, false, &Service::metrics},
    {"GET", "/v1/models", false, false, &Service::models},
    {"GET", "/v1/routing", false, false, &Service::routing},
    {"POST", "/tokenize", false, false, &Service::tokenize},
    {"POST", "/detokenize", false, false, &Service::detokenize},
    {"POST", "/v1/chat/completions", false, true, &Service::chat},
    {"POST", "/v1/completions", false, true, &Service::completion},
    {"POST", "/v1/embeddings", false, true, &Service::embedding},
};

Service::Service(const ServerOptions& options, const ServedModel& model, Engine& engine)
    : options_(options),
      model_(model),
      engine_(engine),
      created_(std::time(nullptr)),
      id_seed_((std::uint64_t{std::random_device()()} << 32) | std::random_device()()),
      grammars_(model.loaded) {
  if (model.chat) form_ = output_form(*model.chat);
  const nn::TransformerConfig& config = model.loaded.transformer->config();
  for (std::size_t i = 0; i < config.ffn_L.size(); ++i) {
    const auto& router = config.ffn_L[i].router;
    if (router.n_experts > 1) {
      layers_.push_back({static_cast<int>(i), router.n_experts, router.k});
    }
  }
}

void Service::drain() {
  draining_ = true;
  engine_.stop_accepting();
}

const Service::Route* Service::find_route(const HttpRequest& request, bool& path_exists) const {
  for (const Route& route : kRoutes) {
    if (request.path != route.path) continue;
    path_exists = true;
    if (request.method == route.method) return &route;
  }
  return nullptr;
}

// A page of another site may let a browser resolve its own name to this address (DNS rebinding):
// such requests name a host that is not ours.
bool Service::host_allowed(const std::string& host) const {
  const std::string name = host_name(host);
  const std::vector<std::string>& more = options_.allowed_hosts;
  if (std::find(more.begin(), more.end(), name) != more.end()) return true;
  return name == "localhost" || name == "127.0.0.1" || name == "[::1]" || name == options_.host ||
         (!options_.api_keys.empty() && more.empty());
}

bool Service::authorized(const HttpRequest& request) const {
  if (options_.api_keys.empty()) return true;
  if (request.authorization.size() != 1) return false;
  const std::string& value = request.authorization[0];
  if (value.size() < 7 || host_name(value.substr(0, 7)) != "bearer ") return false;
  bool found = false;
  for (const std::string& key : options_.api_keys) found |= same(value.substr(7), key);
  return found;
}

ApiError Service::refusal(Admission admission) const {
  if (admission == Admission::kStopping) {
    return overloaded("the server is shutting down", 5);
  }
  const char* const what = admission == Admission::kQueueFull ? "requests" : "prompt tokens";
  return overloaded(fmt::format("too many {} are waiting already", what), engine_.retry_after());
}

std::optional<ApiError> Service::check_load() const {
  const Admission admission = draining_ ? Admission::kStopping : engine_.admission();
  if (admission == Admission::kAccepted) return std::nullopt;
  return refusal(admission);
}

std::optional<ApiError> Service::check(const HttpRequest& request) const {
  if (!request.host || !host_allowed(*request.host)) {
    return ApiError{
        .status = request.host ? 403 : 400,
        .code = "host_not_allowed",
        .message = "the Host header names no host of this server; --allow-host adds one",
        .param = {}};
  }
  // A page of another site can send requests without reading the answers: it names its origin.
  if (!request.origin.empty() && !host_allowed(origin_host(request.origin))) {
    return ApiError{.status = 403,
                    .code = "origin_not_allowed",
                    .message = "the Origin header names a page of another site",
                    .param = {}};
  }
  bool path_exists = false;
  const Route* const route = find_route(request, path_exists);
  if ((route == nullptr || !route->open) && !authorized(request)) {
    return ApiError{.status = 401,
                    .code = "invalid_api_key",
                    .message = "the API key is missing or wrong (Authorization: Bearer KEY)",
                    .param = {}};
  }
  if (route == nullptr) {
    return ApiError{.status = path_exists ? 405 : 404,
                    .code = path_exists ? "method_not_allowed" : "unknown_url",
                    .message = fmt::format("no such URL: {} {}", request.method.substr(0, 16),
                                           request.path.substr(0, 100)),
                    .param = {}};
  }
  return route->compute ? check_load() : std::nullopt;
}

std::optional<HttpResponse> Service::refuse(const HttpRequest& request) {
  const std::optional<ApiError> error = check(request);
  if (!error) return std::nullopt;
  ++answers_[{"refused", error->status}];
  return error_response(*error);
}

HttpResponse Service::malformed(int status, const std::string& reason) {
  ++answers_[{"malformed", status}];
  ApiError error = bad_request(reason);
  error.status = status;
  return error_response(error);
}

void Service::handle(std::shared_ptr<Exchange> exchange) {
  const auto call = std::make_shared<Call>(*this, std::move(exchange));
  const HttpRequest& request = call->exchange->request();
  call->path = request.path;
  call->method = request.method;
  call->id = usable_id(request.request_id)
                 ? request.request_id
                 : fmt::format("req-{:016x}{:08x}", id_seed_, ++id_count_);
  bool path_exists = false;
  const Route* const route = find_route(request, path_exists);
  try {
    (this->*route->handle)(call);
  } catch (const ApiError& error) {
    call->respond(error);
  } catch (const std::exception& error) {
    call->respond(server_error(error.what()));
  }
}

void Service::on_worker(const std::shared_ptr<Call>& call, std::function<void()> work) {
  const auto task = [call, work = std::move(work)] {
    const auto answer = [&](ApiError error) {
      call->exchange->post([call, error = std::move(error)] { call->respond(error); });
    };
    try {
      work();
    } catch (const ApiError& error) {
      answer(error);
    } catch (const Error& error) {
      const bool ours = error.kind() == ErrorKind::kIo || error.kind() == ErrorKind::kOutOfMemory;
      answer(ours ? server_error(error.what()) : bad_request(error.what()));
    } catch (const std::exception& error) {
      answer(server_error(error.what()));
    }
  };
  if (!worker_.add(task, static_cast<std::size_t>(options_.engine.max_queued))) {
    call->respond(refusal(Admission::kQueueFull));
  }
}

void Service::finished(const Call& call, int status, const std::string& notes) {
  ++answers_[{call.path, status}];
  if (!options_.log_requests) return;
  const double ms = std::chrono::duration<double, std::milli>(Clock::now() - call.begun).count();
  const std::time_t now = std::time(nullptr);
  std::tm utc = {};
  gmtime_r(&now, &utc);
  char time[32];
  std::strftime(time, sizeof(time), "%Y-%m-%dT%H:%M:%SZ", &utc);
  const std::string line =
      fmt::format("time={} level=info request={} method={} path={} status={} ms={:.1f}{}{}\n", time,
                  call.id, call.method, call.path, status, ms, notes.empty() ? "" : " ", notes);
  std::fputs(line.c_str(), stderr);
}

}  // namespace conclave::serve
