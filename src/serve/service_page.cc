// The page at `/`: its files, and the figures that it shows. The page itself needs no key, so that
// it can ask for one; everything that it shows does.

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "serve/call.h"
#include "serve/page_assets.h"

namespace conclave::serve {

using nlohmann::json;

namespace {

// Nothing but the page's own files, nothing inline, and no frame around it. Text of a model or of
// another user that somehow became markup would still not run, load or send anything.
constexpr const char* kContentPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const char* type_of(std::string_view file) {
  if (file.ends_with(".js")) return "text/javascript; charset=utf-8";
  if (file.ends_with(".css")) return "text/css; charset=utf-8";
  if (file.ends_with(".svg")) return "image/svg+xml";
  return "text/html; charset=utf-8";
}

}  // namespace

void Service::page(const std::shared_ptr<Call>& call) {
  const std::string& path = call->path;
  const std::string file =
      path == "/" ? "serve/index.html" : "serve/" + path.substr(std::string_view("/ui/").size());
  const std::string_view bytes = page_asset(file);
  CONCLAVE_CHECK(bytes.data() != nullptr, "{} is not embedded", file);
  HttpResponse response{.content_type = type_of(file), .headers = {}, .body = std::string(bytes)};
  response.headers = {{"Content-Security-Policy", kContentPolicy},
                      {"X-Content-Type-Options", "nosniff"},
                      {"X-Frame-Options", "DENY"},
                      {"Referrer-Policy", "no-referrer"},
                      {"Cross-Origin-Opener-Policy", "same-origin"},
                      {"Cross-Origin-Resource-Policy", "same-origin"},
                      {"Cache-Control", "no-cache"}};
  call->respond(std::move(response));
}

void Service::status(const std::shared_ptr<Call>& call) {
  const nn::TransformerConfig& config = model_.loaded.transformer->config();
  const nn::ParameterCounts counts = nn::count_parameters(config);
  const EngineStatus now = engine_.status();
  json layers = json::array();
  for (const RoutedLayer& layer : layers_) {
    layers.push_back({{"layer", layer.layer}, {"experts", layer.experts}, {"k", layer.k}});
  }
  const double up = std::chrono::duration<double>(Clock::now() - begun_).count();
  const json model = {{"id", model_.name},
                      {"layers", config.n_layers},
                      {"width", config.d_model},
                      {"vocabulary", config.vocab_size},
                      {"parameters", counts.total},
                      {"parameters_active", counts.active},
                      {"context", engine_.context_limit()},
                      {"chat_template", model_.chat.has_value()},
                      {"routing_layers", std::move(layers)}};
  const json load = {{"queued", now.queued},
                     {"queued_tokens", now.queued_tokens},
                     {"running", now.running},
                     {"kv_bytes", now.kv_bytes},
                     {"prompt_tokens", now.prompt_tokens},
                     {"generated_tokens", now.generated_tokens},
                     {"steps", now.steps},
                     {"step_seconds", now.step_seconds},
                     {"finished", now.finished},
                     {"cancelled", now.cancelled}};
  const json limits = {{"max_running", options_.engine.max_running},
                       {"max_queued", options_.engine.max_queued},
                       {"kv_bytes", options_.engine.kv_bytes},
                       {"default_max_tokens", options_.default_max_tokens}};
  const json answer = {{"version", CONCLAVE_VERSION},
                       {"seconds", up},  // since the start
                       {"model", model},
                       {"load", load},
                       {"limits", limits}};
  call->respond_json(answer.dump(-1, ' ', false, json::error_handler_t::replace));
}

}  // namespace conclave::serve
