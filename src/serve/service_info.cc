// Paths that tell about the server: health, version, models, metrics, routing, tokens.

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "serve/call.h"
#include "serve/fields.h"
#include "serve/page_assets.h"
#include "serve/query.h"
#include "serve/request_fields.h"

namespace conclave::serve {

using nlohmann::json;

namespace {

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

void metric(std::string& out, const char* name, const char* type, const char* help, double value) {
  out += fmt::format("# HELP {0} {2}\n# TYPE {0} {1}\n{0} {3}\n", name, type, help, value);
}

std::string engine_metrics(const EngineStatus& s) {
  std::string out;
  const auto value = [&](const char* name, const char* type, const char* help, auto number) {
    metric(out, name, type, help, static_cast<double>(number));
  };
  value("conclave_sequences_queued", "gauge", "Sequences that wait.", s.queued);
  value("conclave_sequences_running", "gauge", "Sequences that have started.", s.running);
  value("conclave_queued_prompt_tokens", "gauge", "Prompt tokens that wait.", s.queued_tokens);
  value("conclave_kv_cache_bytes", "gauge", "Keys and values of running sequences.", s.kv_bytes);
  value("conclave_kept_kv_cache_bytes", "gauge",
        "Keys and values of sequences that ended, kept for prompts that begin alike.",
        s.kept_bytes);
  value("conclave_reused_prompt_tokens_total", "counter",
        "Prompt tokens whose keys and values were held already.", s.reused_tokens);
  value("conclave_set_aside_sequences", "gauge", "Started, and waiting for cache pages.",
        s.set_aside);
  value("conclave_preemptions_total", "counter",
        "Times that a sequence gave its cache pages back to go on later.", s.preemptions);
  value("conclave_prompt_tokens_total", "counter", "Prompt tokens computed.", s.prompt_tokens);
  value("conclave_generated_tokens_total", "counter", "Tokens generated.", s.generated_tokens);
  value("conclave_steps_total", "counter", "Forward passes.", s.steps);
  value("conclave_step_seconds_total", "counter", "Time in forward passes.", s.step_seconds);
  value("conclave_routing_seconds_total", "counter", "Of that, time for counting routing.",
        s.routing_seconds);
  value("conclave_sequences_finished_total", "counter", "Sequences that ended.", s.finished);
  value("conclave_sequences_cancelled_total", "counter", "Sequences whose client left.",
        s.cancelled);
  const char* const name = "conclave_first_token_seconds";
  out += fmt::format(
      "# HELP {0} From a sequence's arrival to its first token.\n"
      "# TYPE {0} histogram\n",
      name);
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < std::size(kFirstTokenBounds); ++i) {
    sum += s.first_token_counts[i];
    out += fmt::format("{}_bucket{{le=\"{}\"}} {}\n", name, kFirstTokenBounds[i], sum);
  }
  sum += s.first_token_counts.back();
  return out + fmt::format("{0}_bucket{{le=\"+Inf\"}} {1}\n{0}_sum {2}\n{0}_count {1}\n", name, sum,
                           s.first_token_seconds);
}

}  // namespace

void Service::live(const std::shared_ptr<Call>& call) {
  call->respond({.content_type = "text/plain", .headers = {}, .body = "ok\n"});
}

void Service::ready(const std::shared_ptr<Call>& call) {
  if (const auto error = check_load("")) {
    call->respond(*error);
  } else {
    call->respond({.content_type = "text/plain", .headers = {}, .body = "ok\n"});
  }
}

void Service::version(const std::shared_ptr<Call>& call) {
  call->respond_json(dump({{"version", CONCLAVE_VERSION}}));
}

// web/openapi.json; tests/serve_test.py holds it to what the server takes.
void Service::openapi(const std::shared_ptr<Call>& call) {
  call->respond_json(std::string(page_asset("openapi.json")));
}

void Service::metrics(const std::shared_ptr<Call>& call) {
  std::string out = engine_metrics(engine_.status());
  out +=
      "# HELP conclave_http_requests_total Requests by path and status.\n"
      "# TYPE conclave_http_requests_total counter\n";
  for (const auto& [key, count] : answers_) {
    out += fmt::format("conclave_http_requests_total{{path=\"{}\",status=\"{}\"}} {}\n", key.first,
                       key.second, count);
  }
  out += moe::statistics_prometheus(engine_.routing());
  call->respond(
      {.content_type = "text/plain; version=0.0.4", .headers = {}, .body = std::move(out)});
}

json Service::model_json() const {
  return {{"id", model_.name},
          {"object", "model"},
          {"created", created_},
          {"owned_by", "conclave"},
          {"max_model_len", engine_.context_limit()},
          {"chat_template", model_.chat.has_value()}};
}

void Service::models(const std::shared_ptr<Call>& call) {
  call->respond_json(dump({{"object", "list"}, {"data", json::array({model_json()})}}));
}

void Service::one_model(const std::shared_ptr<Call>& call) {
  const std::string& path = call->exchange->request().path;
  check_model(percent_decoded(path.substr(std::string_view("/v1/models/").size())));
  call->respond_json(dump(model_json()));
}

void Service::routing(const std::shared_ptr<Call>& call) {
  const std::string& query = call->exchange->request().query;
  const std::string wanted = query_value(query, "coactivation").value_or("false");
  if (wanted != "true" && wanted != "false") {
    throw bad_request("'coactivation': expected true or false", "coactivation");
  }
  const bool pairs = wanted == "true";
  const auto seconds = query_number(query, "window", 1, kMostWindowSeconds);
  if (!seconds) {
    call->respond_json(moe::statistics_json(engine_.routing(), pairs));
    return;
  }
  if (pairs) {
    throw bad_request("'coactivation' is counted since the start, not for a window",
                      "coactivation");
  }
  const RoutingHistory::Window window = engine_.routing_window(*seconds);
  std::string text = moe::statistics_json(window.layers, false);
  text.insert(1, fmt::format("\"window_seconds\":{:.3f},", window.seconds));
  call->respond_json(std::move(text));
}

void Service::tokenize(const std::shared_ptr<Call>& call) {
  on_worker(call, [this, call] {
    const json body = parse_request(call->exchange->request().body);
    check_field_names(body, RequestKind::kTokenize);
    const Fields fields(body);
    check_model(fields.string("model", model_.name));
    const std::string text = fields.string("content", fields.string("prompt", ""));
    const bool special = fields.boolean("add_special_tokens", true);
    const bool generation = fields.boolean("add_generation_prompt", true);
    std::vector<std::int32_t> ids;
    if (fields.find("messages") != nullptr) {
      CompletionRequest chat;
      chat.messages = parse_messages(body);
      chat.add_generation_prompt = generation;
      ids = encode_chat(chat).ids;
    } else {
      const bool given = fields.find("content") != nullptr || fields.find("prompt") != nullptr;
      if (!given) throw bad_request("'prompt' is missing", "prompt");
      ids = model_.loaded.tokenizer->encode(text, {.add_special = special});
    }
    const json answer = {
        {"tokens", ids}, {"count", ids.size()}, {"max_model_len", engine_.context_limit()}};
    call->exchange->post([call, text = dump(answer)] { call->respond_json(text); });
  });
}

void Service::detokenize(const std::shared_ptr<Call>& call) {
  on_worker(call, [this, call] {
    const json body = parse_request(call->exchange->request().body);
    check_field_names(body, RequestKind::kDetokenize);
    const Fields fields(body);
    check_model(fields.string("model", model_.name));
    const std::vector<std::int32_t> ids = fields.ids("tokens");
    check_ids(ids, "tokens");
    const std::string text = model_.loaded.tokenizer->decode(ids);
    const json answer = {{"prompt", text}, {"content", text}};
    call->exchange->post([call, out = dump(answer)] { call->respond_json(out); });
  });
}

}  // namespace conclave::serve
