// Chat templates: a conversation to the text that a model was trained on, byte for byte as
// transformers' apply_chat_template gives it (jinja2 in its immutable sandbox), but in parts that
// say what the template wrote and what came from the conversation. A tokenizer must look for
// special tokens in the parts of the template only: then no message can forge one.
//
// A ChatTemplate never changes after loading and may be used by any number of threads at once.
#pragma once

#include <ctime>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/runtime.h"
#include "text/jinja/value.h"
#include "text/tokenizer.h"

namespace conclave::text {

// A piece of the rendered text, never empty. Neighbours differ in `trusted`.
struct RenderedPart {
  std::string text;
  bool trusted = false;  // written by the template, or a special token of the model's files
};

// The parts joined.
std::string rendered_text(const std::vector<RenderedPart>& parts);
// What Tokenizer::encode_parts takes: special tokens are looked for in trusted parts only. Borrows
// the parts. The template writes the token that begins the text, so that encode_parts must not.
std::vector<TextPart> text_parts(const std::vector<RenderedPart>& parts);

// A value for a template from JSON that a user wrote; everything in it is input. Throws
// Error(kBadFile) "NAME: ...".
jinja::Value chat_value(std::string_view json, const std::string& name);

struct ChatRequest {
  jinja::Value messages;                      // a list of dicts: role, content, ...
  jinja::Value tools = jinja::Value::none();  // a list of JSON schemas, or none
  jinja::Value documents = jinja::Value::none();
  bool add_generation_prompt = true;
  // Further variables of the template: enable_thinking, reasoning_effort, ... They come after the
  // special tokens and may replace them.
  std::vector<std::pair<std::string, jinja::Value>> variables;
  std::optional<std::tm> now;  // what strftime_now sees; the local time where it is absent
  jinja::Budget budget;
  std::string template_name;  // of a model with several templates; empty: tool_use where there are
                              // tools and such a template, else default
};

class ChatTemplate {
 public:
  // A model directory: chat_template.jinja, else "chat_template" of tokenizer_config.json (a text
  // or a list of {name, template}), else chat_template.json; further templates in
  // additional_chat_templates/. Special tokens from tokenizer_config.json and
  // special_tokens_map.json. A file that ends in .jinja is a template without special tokens.
  // Throws Error: kNotFound where there is none, kIo, kBadFile, kUnsupported.
  static ChatTemplate load(const std::filesystem::path& path);
  // One template, as GGUF files have it in tokenizer.chat_template. `name` stands for it in
  // messages; `special_tokens` are variables such as bos_token.
  using Texts = std::vector<std::pair<std::string, std::string>>;
  static ChatTemplate from_text(std::string_view source, const std::string& name,
                                const Texts& special_tokens = {});
  // Several templates by their names: {"default", "{{ ...", {"tool_use", "{{ ..."}.
  static ChatTemplate from_texts(const Texts& templates, const std::string& name,
                                 const Texts& special_tokens = {});

  // Throws Error: kInvalidArgument where the template raises or cannot take the conversation,
  // kUnsupported and kOutOfMemory where a budget ends. Messages begin with the template's name,
  // line and column.
  std::vector<RenderedPart> render(const ChatRequest& request) const;

  // "default", "tool_use", ...
  std::vector<std::string> names() const;
  // Whether the source of any of them has this text in it.
  bool mentions(std::string_view text) const;
  const std::vector<std::pair<std::string, jinja::Value>>& special_tokens() const;

 private:
  struct State;
  explicit ChatTemplate(std::shared_ptr<const State> state) : state_(std::move(state)) {}

  std::shared_ptr<const State> state_;
};

}  // namespace conclave::text
