// conclave template: what a model's chat template makes of a conversation.

#include <cstdio>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/verbs.h"
#include "models/chat_template_file.h"
#include "sys/files.h"
#include "text/tokenizer.h"

namespace conclave::cli {
namespace {

constexpr std::uint64_t kMaxJson = std::uint64_t{256} << 20;

struct Options {
  std::string model, messages, tools, name;
  std::vector<std::string> variables;
  bool no_generation_prompt = false, json = false, ids = false;
};

text::jinja::Value read_json(const std::string& file) {
  if (file != "-") return text::chat_value(sys::read_file(file, kMaxJson), file);
  const std::string input(std::istreambuf_iterator<char>(std::cin), {});
  return text::chat_value(input, "standard input");
}

// A list of messages; or an object with "messages", and perhaps "tools", "documents",
// "add_generation_prompt" and further variables of the template.
void read_conversation(const std::string& file, text::ChatRequest& request) {
  using text::jinja::Kind;
  const text::jinja::Value value = read_json(file);
  if (value.is(Kind::kList)) {
    request.messages = value;
    return;
  }
  if (!value.is(Kind::kDict) || value.dict().find("messages") == nullptr) {
    fail(ErrorKind::kBadFile,
         "{}: expected a list of messages, or an object with the key 'messages'", file);
  }
  for (const auto& [key, member] : value.dict().entries) {
    const std::string_view name = key.bytes();
    if (name == "messages") {
      request.messages = member;
    } else if (name == "tools") {
      request.tools = member;
    } else if (name == "documents") {
      request.documents = member;
    } else if (name == "add_generation_prompt" && member.is(Kind::kBool)) {
      request.add_generation_prompt = member.boolean();
    } else {
      request.variables.emplace_back(name, member);
    }
  }
}

void print_json(const std::vector<text::RenderedPart>& parts,
                const std::vector<std::int32_t>* ids) {
  nlohmann::ordered_json out;
  out["parts"] = nlohmann::ordered_json::array();
  for (const text::RenderedPart& part : parts) {
    out["parts"].push_back({{"text", part.text}, {"trusted", part.trusted}});
  }
  if (ids != nullptr) out["ids"] = *ids;
  std::printf("%s\n", out.dump().c_str());
}

void render(const Options& o) {
  const text::ChatTemplate chat_template = models::load_chat_template(o.model);
  text::ChatRequest request;
  request.template_name = o.name;
  read_conversation(o.messages, request);
  if (!o.tools.empty()) request.tools = read_json(o.tools);
  for (const std::string& text : o.variables) {
    const auto equals = text.find('=');
    if (equals == std::string::npos || equals == 0) {
      fail(ErrorKind::kInvalidArgument, "--kwarg '{}': expected KEY=JSON", text);
    }
    request.variables.emplace_back(
        text.substr(0, equals),
        text::chat_value(std::string_view(text).substr(equals + 1), "--kwarg " + text));
  }
  if (o.no_generation_prompt) request.add_generation_prompt = false;
  const std::vector<text::RenderedPart> parts = chat_template.render(request);
  std::vector<std::int32_t> ids;
  if (o.ids) {
    ids = text::Tokenizer::load(o.model).encode_parts(text::text_parts(parts));
  }
  if (o.json) {
    print_json(parts, o.ids ? &ids : nullptr);
  } else if (o.ids) {
    for (const std::int32_t id : ids) std::printf("%d\n", id);
  } else {
    const std::string text = text::rendered_text(parts);
    std::fwrite(text.data(), 1, text.size(), stdout);
  }
}

}  // namespace

void add_template(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("template", "show what a model's chat template makes of a conversation");
  command->add_option("MODEL", o->model, "model directory, .gguf file, or a template (.jinja)")
      ->required();
  command
      ->add_option(
          "--messages", o->messages,
          "JSON file: a list of messages, or an object with messages, tools, documents and "
          "further variables; - reads standard input")
      ->required();
  command->add_option("--tools", o->tools, "JSON file with a list of tools");
  command->add_option("--kwarg", o->variables,
                      "KEY=JSON, a further variable of the template, such as "
                      "enable_thinking=false; may be repeated");
  command->add_option("--name", o->name, "which template, of a model that has several");
  command->add_flag("--no-generation-prompt", o->no_generation_prompt,
                    "do not begin the assistant's answer");
  command->add_flag("--json", o->json,
                    "print the parts: what the template wrote and what came from the conversation");
  command->add_flag("--ids", o->ids, "print token ids");
  command->footer(
      "Example:\n  echo '[{\"role\": \"user\", \"content\": \"Bonjour\"}]' > messages.json\n"
      "  conclave template my-model --messages messages.json");
  command->callback([o] { render(*o); });
}

}  // namespace conclave::cli
