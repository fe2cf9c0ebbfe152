#include "serve/completion_request.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "serve/api_error.h"
#include "serve/fields.h"
#include "serve/request_fields.h"

namespace conclave::serve {

using nlohmann::json;

namespace {

void read_logit_bias(const Fields& fields, infer::SamplingOptions& sampling) {
  const json* const bias = fields.find("logit_bias");
  if (bias == nullptr) return;
  const char* const expected = "an object of token ids and numbers from -100 to 100";
  if (!bias->is_object() || bias->size() > 4096) fields.wrong("logit_bias", *bias, expected);
  for (const auto& [key, value] : bias->items()) {
    std::int32_t id = -1;
    const auto read = std::from_chars(key.data(), key.data() + key.size(), id);
    const bool is_id = read.ec == std::errc() && read.ptr == key.data() + key.size() && id >= 0;
    if (!is_id) fields.wrong("logit_bias", json(key), expected);
    if (!value.is_number()) fields.wrong("logit_bias", value, expected);
    const auto number = value.get<double>();
    if (!(number >= -100 && number <= 100)) fields.wrong("logit_bias", value, expected);
    sampling.logit_bias[id] = number;
  }
}

void read_sampling(const Fields& fields, CompletionRequest& request) {
  infer::SamplingOptions& s = request.sampling;
  s.temperature = fields.number("temperature", 0, 2, 1);
  s.top_p = fields.number("top_p", 0, 1, 1);
  // Minus one is how other servers spell "all".
  s.top_k = static_cast<int>(std::max<std::int64_t>(0, fields.integer("top_k", -1, 1 << 30, 0)));
  s.min_p = fields.number("min_p", 0, 1, 0);
  s.typical_p = fields.number("typical_p", 0, 1, 1);
  s.presence_penalty = fields.number("presence_penalty", -2, 2, 0);
  s.frequency_penalty = fields.number("frequency_penalty", -2, 2, 0);
  s.repeat_penalty = fields.number("repetition_penalty", 0.01, 100, 1);
  read_logit_bias(fields, s);
  request.has_seed = fields.find("seed") != nullptr;
  s.seed =
      static_cast<std::uint64_t>(fields.integer("seed", std::numeric_limits<std::int64_t>::min(),
                                                std::numeric_limits<std::int64_t>::max(), 0));
}

void read_common(const json& body, CompletionRequest& request) {
  const Fields fields(body);
  request.model = fields.string("model", "");
  request.n = static_cast<int>(fields.integer("n", 1, kMostChoices, 1));
  if (fields.integer("best_of", 1, kMostChoices, request.n) != request.n) {
    throw bad_request("'best_of' is supported only where it is n", "best_of",
                      "unsupported_parameter");
  }
  read_sampling(fields, request);
  request.stop = fields.strings("stop", kMostStops);
  for (const std::string& stop : request.stop) {
    if (stop.empty() || stop.size() > kMostStopBytes) {
      throw bad_request(fmt::format("'stop': found a text of {} bytes, expected 1 to {}",
                                    stop.size(), kMostStopBytes),
                        "stop");
    }
  }
  request.ignore_eos = fields.boolean("ignore_eos", false);
  request.routing = fields.boolean("routing", false);
  request.stream = fields.boolean("stream", false);
  const json* const options = fields.find("stream_options");
  if (options == nullptr) return;
  if (!options->is_object()) fields.wrong("stream_options", *options, "an object");
  const Fields inner(*options, "stream_options.");
  inner.only({"include_usage", "include_obfuscation"});  // the second pads events: none is needed
  request.include_usage = inner.boolean("include_usage", false);
}

// Templates of models that reason read it under its own name, or know only whether to reason.
void read_reasoning_effort(const Fields& fields, json& variables) {
  const std::string effort = fields.string("reasoning_effort", "");
  if (fields.find("reasoning_effort") == nullptr) return;
  const auto known = {"none", "minimal", "low", "medium", "high", "xhigh", "max"};
  if (std::find(known.begin(), known.end(), effort) == known.end()) {
    fields.wrong("reasoning_effort", json(effort),
                 "none, minimal, low, medium, high, xhigh or max");
  }
  if (!variables.contains("reasoning_effort")) variables["reasoning_effort"] = effort;
  if (effort == "none" && !variables.contains("enable_thinking")) {
    variables["enable_thinking"] = false;
  }
}

}  // namespace

std::vector<Prompt> parse_prompts(const json& body, const char* key) {
  const Fields fields(body);
  const json* const value = fields.find(key);
  if (value == nullptr) throw bad_request(fmt::format("'{}' is missing", key), key);
  if (value->is_string()) return {Prompt(value->get<std::string>())};
  const char* const expected = "a string, a list of strings, of token ids, or of such lists";
  if (!value->is_array() || value->empty()) fields.wrong(key, *value, expected);
  if (value->front().is_number()) return {Prompt(id_list(*value, key))};
  if (value->size() > kMostPrompts) {
    throw bad_request(
        fmt::format("'{}': found {} texts, expected up to {}", key, value->size(), kMostPrompts),
        key);
  }
  std::vector<Prompt> prompts;
  for (const json& item : *value) {
    if (item.is_string()) {
      prompts.emplace_back(item.get<std::string>());
    } else {
      prompts.emplace_back(id_list(item, key));
    }
  }
  return prompts;
}

CompletionRequest parse_chat_request(const json& body, const std::string& text) {
  check_field_names(body, RequestKind::kChat);
  CompletionRequest request;
  request.format = parse_answer_format(body, text);
  request.tools = parse_tools(body, text);
  request.chat = true;
  read_common(body, request);
  const Fields fields(body);
  request.messages = parse_messages(body);
  request.max_tokens = fields.integer("max_tokens", 0, kNoMost, -1);
  request.max_tokens = fields.integer("max_completion_tokens", 0, kNoMost, request.max_tokens);
  const bool wanted = fields.boolean("logprobs", false);
  const auto top = static_cast<int>(fields.integer("top_logprobs", 0, kMostLogprobs, 0));
  if (top > 0 && !wanted) {
    throw bad_request("'top_logprobs' needs 'logprobs': true", "top_logprobs");
  }
  request.logprobs = wanted ? top : -1;
  request.add_generation_prompt = fields.boolean("add_generation_prompt", true);
  if (const json* const variables = fields.find("chat_template_kwargs")) {
    if (!variables->is_object()) fields.wrong("chat_template_kwargs", *variables, "an object");
    request.template_variables = *variables;
  }
  read_reasoning_effort(fields, request.template_variables);
  return request;
}

CompletionRequest parse_completion_request(const json& body, const std::string& text) {
  check_field_names(body, RequestKind::kCompletion);
  CompletionRequest request;
  request.format = parse_answer_format(body, text);
  read_common(body, request);
  const Fields fields(body);
  if (const json* const tools = fields.find("tools"); tools != nullptr && *tools != json::array()) {
    throw bad_request("'tools' are for chats", "tools", "unsupported_parameter");
  }
  request.prompts = parse_prompts(body, "prompt");
  request.max_tokens = fields.integer("max_tokens", 0, kNoMost, 16);
  request.logprobs = static_cast<int>(fields.integer("logprobs", 0, kMostLogprobs, -1));
  return request;
}

}  // namespace conclave::serve
