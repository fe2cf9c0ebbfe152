#include "serve/service.h"

#include <unistd.h>

#include <algorithm>
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
    {"GET", "/", true, false, &Service::page},
    {"GET", "/ui/page.css", true, false, &Service::page},
    {"GET", "/ui/icon.svg", true, false, &Service::page},
    {"GET", "/ui/base.js", true, false, &Service::page},
    {"GET", "/ui/api.js", true, false, &Service::page},
    {"GET", "/ui/markdown.js", true, false, &Service::page},
    {"GET", "/ui/chat.js", true, false, &Service::page},
    {"GET", "/ui/answer.js", true, false, &Service::page},
    {"GET", "/ui/heat.js", true, false, &Service::page},
    {"GET", "/ui/experts.js", true, false, &Service::page},
    {"GET", "/ui/load.js", true, false, &Service::page},
    {"GET", "/ui/main.js", true, false, &Service::page},
    {"GET", "/v1/status", false, false, &Service::status},
    {"GET", "/version", false, false, &Service::version},
    {"GET", "/openapi.json", false, false, &Service::openapi},
    {"GET", "/metrics", false, false, &Service::metrics},
    {"GET", "/v1/models", false, false, &Service::models},
    {"GET", "/v1/models/", false, false, &Service::one_model},
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
      grammars_(model.loaded),
      clients_(options.client),
      log_(options.log_requests ? STDERR_FILENO : -1) {
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

bool Service::Route::leads(const std::string& target) const {
  const std::string_view name = path;
  if (name.size() == 1 || !name.ends_with('/')) return target == name;
  return target.size() > name.size() && target.starts_with(name);
}

const Service::Route* Service::find_route(const HttpRequest& request) {
  for (const Route& route : kRoutes) {
    if (route.leads(request.path) && request.method == route.method) return &route;
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

std::optional<std::string> Service::client_of(const HttpRequest& request) const {
  if (options_.api_keys.empty()) return request.address;
  if (request.authorization.size() != 1) return std::nullopt;
  const std::string& value = request.authorization[0];
  if (value.size() < 7 || host_name(value.substr(0, 7)) != "bearer ") return std::nullopt;
  std::size_t found = 0;
  for (std::size_t i = 0; i < options_.api_keys.size(); ++i) {
    if (same(value.substr(7), options_.api_keys[i])) found = i + 1;
  }
  if (found == 0) return std::nullopt;
  return fmt::format("key{}", found);
}

ApiError Service::refusal(Admission admission) const {
  const int seconds = engine_.retry_after();
  switch (admission) {
    case Admission::kStopping:
      return shutting_down();
    case Admission::kTokensFull:
      return overloaded("too many prompt tokens are waiting already", seconds);
    case Admission::kClientShare:
      return overloaded("too many requests of this client are waiting already", seconds);
    case Admission::kClientTokens:
      return {
          .status = 429,
          .type = "tokens",
          .code = "rate_limit_exceeded",
          .message = fmt::format("Rate limit reached: prompts of this client with {} tokens may "
                                 "wait, not more.",
                                 options_.engine.client_queued_tokens),
          .param = {},
          .retry_after = seconds};
    default:
      return overloaded("too many requests are waiting already", seconds);
  }
}

std::optional<ApiError> Service::check_client(const std::string& client) {
  return clients_.check(client, Clock::now(), engine_.retry_after());
}

std::optional<ApiError> Service::check_load(const std::string& client) const {
  const Admission admission = draining_ ? Admission::kStopping : engine_.admission(client);
  if (admission == Admission::kAccepted) return std::nullopt;
  return refusal(admission);
}

// Every path has one method.
ApiError Service::no_route(const HttpRequest& request) {
  const std::string path = request.path.substr(0, 100), method = request.method.substr(0, 16);
  for (const Route& route : kRoutes) {
    if (!route.leads(request.path)) continue;
    return {.status = 405,
            .code = "method_not_allowed",
            .message = fmt::format("{} takes {}, not {}", path, route.method, method),
            .param = {},
            .allow = route.method};
  }
  return {.status = 404,
          .code = "unknown_url",
          .message = fmt::format("no such URL: {} {}", method, path),
          .param = {}};
}

std::optional<ApiError> Service::check(const HttpRequest& request) {
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
  const Route* const route = find_route(request);
  const std::optional<std::string> client = client_of(request);
  if ((route == nullptr || !route->open) && !client) {
    return ApiError{.status = 401,
                    .code = "invalid_api_key",
                    .message = "the API key is missing or wrong (Authorization: Bearer KEY)",
                    .param = {}};
  }
  if (route == nullptr) return no_route(request);
  if (!route->compute) return std::nullopt;
  if (auto error = check_client(*client)) return error;
  if (auto error = check_load(*client)) return error;
  clients_.count(*client, Clock::now());
  return std::nullopt;
}

std::optional<HttpResponse> Service::refuse(const HttpRequest& request) {
  const std::optional<ApiError> error = check(request);
  if (!error) return std::nullopt;
  ++answers_[{"refused", error->status}];
  HttpResponse response = error_response(*error);
  const std::string id = id_of(request);
  response.headers.emplace_back("X-Request-Id", id);
  log(fmt::format("request={} client={} refused=true status={} error={}", id, request.address,
                  error->status, error->code));
  return response;
}

HttpResponse Service::malformed(int status, const std::string& reason) {
  ++answers_[{"malformed", status}];
  ApiError error = bad_request(reason);
  error.status = status;
  HttpResponse response = error_response(error);
  const std::string id = id_of({});
  response.headers.emplace_back("X-Request-Id", id);
  log(fmt::format("request={} malformed=true status={}", id, status));
  return response;
}

std::string Service::id_of(const HttpRequest& request) {
  if (usable_id(request.request_id)) return request.request_id;
  return fmt::format("req-{:016x}{:08x}", id_seed_, ++id_count_);
}

void Service::handle(std::shared_ptr<Exchange> exchange) {
  const auto call = std::make_shared<Call>(*this, std::move(exchange));
  const HttpRequest& request = call->exchange->request();
  call->method = request.method;
  call->id = id_of(request);
  const Route* const route = find_route(request);
  call->path = route->path;
  call->client = client_of(request).value_or(request.address);
  if (route->compute) {
    // Again: others of its client may have begun while its body was read.
    if (const auto error = clients_.check_under_way(call->client, engine_.retry_after())) {
      call->respond(*error);
      return;
    }
    call->counted = true;
    clients_.begin(call->client);
  }
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
  if (call.counted) clients_.end(call.client);
  const double ms = std::chrono::duration<double, std::milli>(Clock::now() - call.begun).count();
  log(fmt::format("request={} client={} method={} path={} status={} ms={:.1f}{}{}", call.id,
                  call.client, call.method, call.path, status, ms, notes.empty() ? "" : " ",
                  notes));
}

void Service::log(const std::string& fields) {
  if (!options_.log_requests) return;
  log_.write(fmt::format("time={} level=info {}\n", log_time(), fields));
}

}  // namespace conclave::serve
