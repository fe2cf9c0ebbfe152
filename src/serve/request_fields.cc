#include "serve/request_fields.h"

#include <string>
#include <vector>

#include "base/error.h"
#include "serve/fields.h"

namespace conclave::serve {

using nlohmann::json;

namespace {

using Names = std::vector<std::string>;

void append(Names& names, std::initializer_list<const char*> more) {
  names.insert(names.end(), more.begin(), more.end());
}

Names names_of(RequestKind kind) {
  Names names = {"model"};
  if (kind == RequestKind::kDetokenize) append(names, {"tokens"});
  if (kind == RequestKind::kTokenize) {
    append(names, {"prompt", "content", "messages", "add_special_tokens", "add_generation_prompt"});
  }
  if (kind == RequestKind::kEmbedding) {
    append(names, {"input", "encoding_format", "dimensions", "user"});
  }
  if (kind != RequestKind::kChat && kind != RequestKind::kCompletion) return names;
  append(names, {"max_tokens",
                 "temperature",
                 "top_p",
                 "top_k",
                 "min_p",
                 "typical_p",
                 "seed",
                 "stop",
                 "presence_penalty",
                 "frequency_penalty",
                 "repetition_penalty",
                 "logit_bias",
                 "logprobs",
                 "n",
                 "ignore_eos",
                 "stream",
                 "stream_options",
                 "response_format",
                 "grammar",
                 "routing",
                 "user"});
  if (kind == RequestKind::kCompletion) {
    append(names, {"prompt", "best_of", "echo", "suffix", "tools"});
    return names;
  }
  append(names, {"messages", "max_completion_tokens", "top_logprobs", "tools", "tool_choice",
                 "parallel_tool_calls", "add_generation_prompt", "chat_template_kwargs",
                 "reasoning_effort", "verbosity", "modalities", "audio", "functions",
                 "function_call", "web_search_options", "moderation"});
  // They say who asks, how the request is billed, kept and found again, or what the answer is
  // likely to be: nothing that an answer depends on.
  append(names, {"metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
                 "prompt_cache_retention", "prompt_cache_options", "prediction"});
  return names;
}

// What would change the answer, and is not there: saying so beats ignoring it.
void refuse_unsupported(const json& body) {
  const Fields fields(body);
  const auto refuse = [](const char* name, const std::string& why) {
    throw bad_request(fmt::format("'{}' {}", name, why), name, "unsupported_parameter");
  };
  for (const char* name : {"suffix", "audio", "web_search_options", "moderation"}) {
    if (fields.find(name) != nullptr) refuse(name, "is not supported by this server");
  }
  if (fields.boolean("echo", false)) refuse("echo", "is not supported by this server");
  const json* const functions = fields.find("functions");
  if (functions != nullptr && *functions != json::array()) {
    refuse("functions", "is what 'tools' has replaced");
  }
  const json* const call = fields.find("function_call");
  if (call != nullptr && *call != "none" && *call != "auto") {
    refuse("function_call", "is what 'tool_choice' has replaced");
  }
  const json* const modalities = fields.find("modalities");
  if (modalities != nullptr && *modalities != json::array({"text"})) {
    refuse("modalities", "other than [\"text\"] are not supported by this server");
  }
  if (fields.string("verbosity", "medium") != "medium") {
    refuse("verbosity", "other than medium is not supported by this server");
  }
}

}  // namespace

void check_field_names(const json& body, RequestKind kind) {
  Fields(body).only(names_of(kind));
  if (kind == RequestKind::kChat || kind == RequestKind::kCompletion) refuse_unsupported(body);
}

}  // namespace conclave::serve
