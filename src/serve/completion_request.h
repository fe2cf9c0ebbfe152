// What /v1/chat/completions and /v1/completions are asked for: OpenAI's fields, and those that the
// open servers added (top_k, min_p, repetition_penalty, ignore_eos) or that only this one has
// (routing).
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <variant>
#include <vector>

#include "infer/sampler.h"
#include "serve/answer_format.h"
#include "serve/tools/tool_request.h"

namespace conclave::serve {

inline constexpr std::int64_t kMostChoices = 16;  // n
inline constexpr std::size_t kMostPrompts = 128;  // prompts of one request
inline constexpr std::size_t kMostStops = 16;
inline constexpr std::size_t kMostStopBytes = 1024;
inline constexpr std::int64_t kMostLogprobs = 20;

using Prompt = std::variant<std::string, std::vector<std::int32_t>>;

struct CompletionRequest {
  bool chat = false;
  std::string model;            // as it was named, may be empty
  std::vector<Prompt> prompts;  // of completions
  nlohmann::json messages;      // of chats: checked, texts in one piece
  nlohmann::json template_variables = nlohmann::json::object();
  bool add_generation_prompt = true;
  int n = 1;                     // answers to each prompt
  std::int64_t max_tokens = -1;  // -1: the server's default
  infer::SamplingOptions sampling;
  bool has_seed = false;
  std::vector<std::string> stop;
  bool ignore_eos = false;
  AnswerFormat format;
  ToolRequest tools;  // of chats
  int logprobs = -1;  // of this many best tokens beside each; -1: none
  bool stream = false, include_usage = false;
  bool routing = false;
};

// `text` is the body as it came. Throws ApiError.
CompletionRequest parse_chat_request(const nlohmann::json& body, const std::string& text);
CompletionRequest parse_completion_request(const nlohmann::json& body, const std::string& text);
// Texts or token ids of a body, one or a list of them. Throws ApiError.
std::vector<Prompt> parse_prompts(const nlohmann::json& body, const char* key);
// "messages" of a body, each with a known role and a content, which is one string here (a call of
// tools may do without). Throws ApiError.
nlohmann::json parse_messages(const nlohmann::json& body);

}  // namespace conclave::serve
