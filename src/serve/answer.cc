#include "serve/answer.h"

#include <algorithm>
#include <cmath>

namespace conclave::serve {

using nlohmann::json;

namespace {

constexpr double kLeastLogprob = -9999.0;  // JSON has no infinity

double finite(double logprob) { return std::max(logprob, kLeastLogprob); }

json bytes_json(std::string_view bytes) {
  json list = json::array();
  for (const char c : bytes) list.push_back(static_cast<unsigned char>(c));
  return list;
}

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

std::string server_sent(const json& value) { return "data: " + dump(value) + "\n\n"; }

Answer::Answer(const CompletionRequest& request, AnswerIdentity identity,
               const text::Tokenizer& tokenizer, std::vector<RoutedLayer> layers,
               std::size_t choices, std::int64_t prompt_tokens)
    : chat_(request.chat),
      stream_(request.stream),
      include_usage_(request.include_usage),
      routing_(request.routing),
      with_logprobs_(request.logprobs >= 0),
      identity_(std::move(identity)),
      tokenizer_(tokenizer),
      layers_(std::move(layers)),
      choices_(choices),
      open_(choices),
      copies_(static_cast<std::size_t>(request.n)),
      reused_(choices / copies_, -1),
      prompt_tokens_(prompt_tokens) {}

json Answer::frame(const char* object) const {
  return {{"id", identity_.id},
          {"object", object},
          {"created", identity_.created},
          {"model", identity_.model}};
}

json Answer::usage() const {
  std::int64_t cached = 0;
  for (const std::int64_t tokens : reused_) cached += std::max<std::int64_t>(0, tokens);
  return {{"prompt_tokens", prompt_tokens_},
          {"completion_tokens", generated_},
          {"total_tokens", prompt_tokens_ + generated_},
          {"prompt_tokens_details", {{"cached_tokens", cached}}}};
}

json Answer::layers_json() const {
  json layers = json::array();
  for (const RoutedLayer& layer : layers_) {
    layers.push_back({{"layer", layer.layer}, {"experts", layer.experts}, {"k", layer.k}});
  }
  return layers;
}

void Answer::add_chat_logprobs(Choice& choice, const infer::Logprobs& logprobs) const {
  const auto entry = [&](const infer::TokenLogprob& token) {
    const std::string bytes(tokenizer_.token_bytes(token.id));
    return json{{"token", bytes}, {"logprob", finite(token.logprob)}, {"bytes", bytes_json(bytes)}};
  };
  json item = entry(logprobs.chosen);
  item["top_logprobs"] = json::array();
  for (const infer::TokenLogprob& token : logprobs.top)
    item["top_logprobs"].push_back(entry(token));
  choice.logprobs["content"].push_back(std::move(item));
  choice.logprobs["refusal"] = nullptr;
}

void Answer::add_logprobs(Choice& choice, const infer::Logprobs& logprobs,
                          const std::string& text) const {
  const auto spelled = [&](std::int32_t id) { return std::string(tokenizer_.token_bytes(id)); };
  json best = json::object();
  for (const infer::TokenLogprob& token : logprobs.top) {
    best[spelled(token.id)] = finite(token.logprob);
  }
  choice.logprobs["tokens"].push_back(spelled(logprobs.chosen.id));
  choice.logprobs["token_logprobs"].push_back(finite(logprobs.chosen.logprob));
  choice.logprobs["top_logprobs"].push_back(std::move(best));
  choice.logprobs["text_offset"].push_back(choice.offset);
  choice.offset += text.size();
}

std::string Answer::add(std::size_t index, Event event) {
  Choice& choice = choices_[index];
  if (event.id >= 0) {
    ++generated_;
    if (event.logprobs && chat_) add_chat_logprobs(choice, *event.logprobs);
    if (event.logprobs && !chat_) add_logprobs(choice, *event.logprobs, event.text);
    if (routing_) {
      json weights = json::array();  // four digits: what a picture can show
      for (const float w : event.routing.weights) {
        weights.push_back(std::isfinite(w) ? json(std::round(double{w} * 1e4) / 1e4) : json());
      }
      choice.routing.push_back({{"id", event.id},
                                {"experts", std::move(event.routing.experts)},
                                {"weights", std::move(weights)}});
    }
  }
  const bool last = event.end != EndReason::kNone;
  if (last) {
    choice.end = event.end;
    // Answers to one prompt share its reading: what all of them had was there before.
    std::int64_t& reused = reused_[index / copies_];
    reused = reused < 0 ? event.reused_tokens : std::min(reused, event.reused_tokens);
    --open_;
  }
  const std::vector<json> deltas = take_deltas(index, event.text, last);
  if (!stream_) return "";
  const bool says =
      !deltas.empty() || !choice.logprobs.is_null() || !choice.routing.is_null() || last;
  return says ? chunk(index, deltas, event.end) : "";
}

json Answer::take_logprobs(Choice& choice) const { return std::exchange(choice.logprobs, json()); }

std::string Answer::chunk(std::size_t index, const std::vector<json>& deltas, EndReason end) {
  Choice& choice = choices_[index];
  std::string out;
  const auto emit = [&](json piece, json finish) {
    json item = {{"index", index}, {"finish_reason", std::move(finish)}};
    item.update(piece);
    json value = frame(chat_ ? "chat.completion.chunk" : "text_completion");
    if (routing_ && !choice.begun && !choice.routing.is_null())
      value["routing_layers"] = layers_json();
    item["logprobs"] = take_logprobs(choice);
    if (!choice.routing.is_null()) item["routing"] = std::exchange(choice.routing, json());
    value["choices"] = json::array({std::move(item)});
    if (include_usage_) value["usage"] = nullptr;
    out += server_sent(value);
    choice.begun = true;
  };
  const json finish = end == EndReason::kNone ? json() : json(finish_reason(choice));
  if (!chat_) {
    emit({{"text", deltas.empty() ? json("") : deltas[0]["content"]}}, finish);
    return out;
  }
  bool said = false;
  const auto say = [&](json delta) {
    if (!choice.begun) {
      // The first piece has a content in any case: clients wait for it.
      if (!delta.contains("content")) delta["content"] = delta.empty() ? json("") : json();
      delta["role"] = "assistant";
    }
    emit({{"delta", std::move(delta)}}, json());
    said = true;
  };
  for (const json& delta : deltas) say(delta);
  if (!said && !choice.begun) say(json::object());
  if (!said || !finish.is_null()) emit({{"delta", json::object()}}, finish);
  return out;
}

json Answer::finished_choice(std::size_t index) const {
  const Choice& choice = choices_[index];
  json item = {
      {"index", index}, {"finish_reason", finish_reason(choice)}, {"logprobs", choice.logprobs}};
  if (with_logprobs_ && choice.logprobs.is_null()) {
    item["logprobs"] = chat_ ? json{{"content", json::array()}, {"refusal", nullptr}} : json();
  }
  if (chat_) {
    item["message"] = message(choice);
  } else {
    item["text"] = choice.text;
  }
  if (routing_) item["routing"] = choice.routing.is_null() ? json::array() : choice.routing;
  return item;
}

std::string Answer::object() const {
  json value = frame(chat_ ? "chat.completion" : "text_completion");
  value["choices"] = json::array();
  for (std::size_t i = 0; i < choices_.size(); ++i) value["choices"].push_back(finished_choice(i));
  value["usage"] = usage();
  if (routing_) value["routing_layers"] = layers_json();
  return dump(value);
}

std::string Answer::last_events() const {
  std::string out;
  if (include_usage_) {
    json value = frame(chat_ ? "chat.completion.chunk" : "text_completion");
    value["choices"] = json::array();
    value["usage"] = usage();
    out = server_sent(value);
  }
  return out + "data: [DONE]\n\n";
}

}  // namespace conclave::serve
