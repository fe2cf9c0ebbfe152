// The answer to one completion request while it grows: collects the events of its choices, and says
// them in OpenAI's words, as one object or as server-sent events. Knows nothing of HTTP or threads.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "serve/completion_request.h"
#include "serve/engine.h"
#include "serve/tools/output_reader.h"
#include "text/tokenizer.h"

namespace conclave::serve {

// Which layers have a router: what a list of experts is cut by.
struct RoutedLayer {
  int layer = 0, experts = 0, k = 0;
};

struct AnswerIdentity {
  std::string id;     // "chatcmpl-..."
  std::string model;  // the served name
  std::int64_t created = 0;
};

class Answer {
 public:
  // `choices` is the number of prompts times n; prompt_tokens counts each prompt once.
  Answer(const CompletionRequest& request, AnswerIdentity identity,
         const text::Tokenizer& tokenizer, std::vector<RoutedLayer> layers, std::size_t choices,
         std::int64_t prompt_tokens);
  // The model's texts hold reasoning or calls of tools: they are taken apart. Before the first add.
  void read_output(const ReaderOptions& options);

  // The server-sent events for an event of a choice (not streaming: nothing), often empty.
  std::string add(std::size_t choice, Event event);
  bool complete() const { return open_ == 0; }
  // After complete(): the object, or the last events of a stream.
  std::string object() const;
  std::string last_events() const;

  std::int64_t prompt_tokens() const { return prompt_tokens_; }
  std::int64_t generated_tokens() const { return generated_; }

 private:
  struct Choice {
    std::string text, reasoning;
    std::vector<ToolCall> calls;
    std::unique_ptr<OutputReader> reader;  // of chats whose output has parts; else null
    nlohmann::json logprobs, routing;      // of the tokens that have not been sent
    std::size_t offset = 0;                // of the next token in the text
    EndReason end = EndReason::kNone;
    bool begun = false;
  };

  nlohmann::json frame(const char* object) const;
  nlohmann::json usage() const;
  nlohmann::json take_logprobs(Choice& choice) const;
  nlohmann::json finished_choice(std::size_t index) const;
  nlohmann::json call_json(const ToolCall& call) const;
  ToolCall with_id(ToolCall call, std::size_t choice, std::size_t number) const;
  std::vector<nlohmann::json> take_deltas(std::size_t index, const std::string& text, bool last);
  nlohmann::json message(const Choice& choice) const;
  std::string chunk(std::size_t index, const std::vector<nlohmann::json>& deltas, EndReason end);
  std::string finish_reason(const Choice& choice) const;
  void add_chat_logprobs(Choice& choice, const infer::Logprobs& logprobs) const;
  void add_logprobs(Choice& choice, const infer::Logprobs& logprobs, const std::string& text) const;
  nlohmann::json layers_json() const;

  bool short_ids_ = false;  // of calls
  bool chat_, stream_, include_usage_, routing_, with_logprobs_;
  AnswerIdentity identity_;
  const text::Tokenizer& tokenizer_;
  std::vector<RoutedLayer> layers_;
  std::vector<Choice> choices_;
  std::size_t open_;
  std::size_t copies_;                // answers to each prompt, one after the other
  std::vector<std::int64_t> reused_;  // of each prompt's tokens, by all of its answers; -1: unknown
  std::int64_t prompt_tokens_, generated_ = 0;
};

// "data: ...\n\n" of a JSON value.
std::string server_sent(const nlohmann::json& value);

}  // namespace conclave::serve
