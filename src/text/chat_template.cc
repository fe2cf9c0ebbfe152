#include "text/chat_template.h"

#include <algorithm>

#include "base/error.h"
#include "sys/files.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/json_value.h"
#include "text/jinja/operators.h"
#include "text/jinja/parser.h"
#include "text/utf8.h"

namespace conclave::text {

using jinja::Kind;
using jinja::Origin;
using jinja::Value;

namespace {

constexpr std::uint64_t kMaxTemplateBytes = 4u << 20;
constexpr std::uint64_t kMaxConfigBytes = 64u << 20;

struct NamedTemplate {
  std::string name;    // default, tool_use
  std::string source;  // the file, for messages
  jinja::Ast ast;
  std::string text;  // as it was written
};

// The value of `key` in a dict, or null.
const Value* member(const Value& dict, std::string_view key) {
  const Value* const found = dict.is(Kind::kDict) ? dict.dict().find(key) : nullptr;
  return found == nullptr || found->is(Kind::kNone) ? nullptr : found;
}

}  // namespace

struct ChatTemplate::State {
  std::vector<NamedTemplate> templates;
  std::vector<std::pair<std::string, Value>> special_tokens;
  std::string path;

  void add(const std::string& name, std::string_view source, const std::string& file) {
    if (source.size() > kMaxTemplateBytes) {
      fail(ErrorKind::kBadFile, "{}: a chat template of {} bytes, more than the {} allowed", file,
           source.size(), kMaxTemplateBytes);
    }
    for (const NamedTemplate& other : templates) {
      if (other.name == name) return;
    }
    templates.push_back({name, file, jinja::parse(source, file), std::string(source)});
  }
  void add_config(const Value& config, const std::string& file);
  void add_special_tokens(const Value& config);
  const NamedTemplate& choose(const ChatRequest& request) const;
};

void ChatTemplate::State::add_config(const Value& config, const std::string& file) {
  const Value* const found = member(config, "chat_template");
  if (found == nullptr) return;
  if (found->is_string()) {
    add("default", found->bytes(), file);
    return;
  }
  const auto wrong = [&] {
    fail(ErrorKind::kBadFile,
         "{}: key 'chat_template': expected a text, or a list of {{name, template}}", file);
  };
  if (!found->is(Kind::kList)) wrong();
  for (const Value& item : found->items()) {
    const Value* const name = member(item, "name");
    const Value* const source = member(item, "template");
    if (name == nullptr || source == nullptr || !name->is_string() || !source->is_string()) {
      wrong();
    }
    add(std::string(name->bytes()), source->bytes(), fmt::format("{} ('{}')", file, name->bytes()));
  }
}

void ChatTemplate::State::add_special_tokens(const Value& config) {
  static constexpr std::string_view kKeys[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                               "pad_token", "cls_token", "mask_token"};
  const auto text_of = [](const Value* value) -> std::optional<Value> {
    if (value != nullptr && value->is(Kind::kDict)) value = member(*value, "content");
    if (value == nullptr || !value->is_string()) return std::nullopt;
    return Value::string(value->bytes(), Origin::kTemplate);
  };
  const auto known = [this](std::string_view key) {
    return std::any_of(special_tokens.begin(), special_tokens.end(),
                       [&](const auto& token) { return token.first == key; });
  };
  for (const std::string_view key : kKeys) {
    const auto text = text_of(member(config, key));
    if (text && !known(key)) special_tokens.emplace_back(key, *text);
  }
  const Value* const more = member(config, "additional_special_tokens");
  if (more == nullptr || !more->is(Kind::kList) || known("additional_special_tokens")) return;
  std::vector<Value> texts;
  for (const Value& item : more->items()) {
    if (const auto text = text_of(&item)) texts.push_back(*text);
  }
  if (!texts.empty()) {
    special_tokens.emplace_back("additional_special_tokens", Value::list(std::move(texts)));
  }
}

ChatTemplate ChatTemplate::load(const std::filesystem::path& path) {
  namespace fs = std::filesystem;
  auto state = std::make_shared<State>();
  state->path = path.string();
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) {
    state->add("default", sys::read_file(path.string(), kMaxTemplateBytes), path.string());
    return ChatTemplate(std::move(state));
  }
  const auto read = [&](const fs::path& file) {
    return sys::read_file(file.string(), kMaxConfigBytes);
  };
  const auto config_of = [&](const char* name) {
    const fs::path file = path / name;
    if (!fs::exists(file, ignored)) return Value::none();
    return jinja::parse_json_value(read(file), file.string(), Origin::kTemplate);
  };
  if (const fs::path file = path / "chat_template.jinja"; fs::exists(file, ignored)) {
    state->add("default", read(file), file.string());
  }
  std::vector<fs::path> more;
  for (const auto& entry : fs::directory_iterator(path / "additional_chat_templates", ignored)) {
    if (entry.path().extension() == ".jinja") more.push_back(entry.path());
  }
  std::sort(more.begin(), more.end());
  for (const fs::path& file : more) state->add(file.stem().string(), read(file), file.string());
  const Value config = config_of("tokenizer_config.json");
  if (state->templates.empty()) {
    state->add_config(config, (path / "tokenizer_config.json").string());
  }
  if (state->templates.empty()) {
    state->add_config(config_of("chat_template.json"), (path / "chat_template.json").string());
  }
  if (state->templates.empty()) {
    fail(ErrorKind::kNotFound,
         "{}: no chat template; expected chat_template.jinja, or the key 'chat_template' in "
         "tokenizer_config.json",
         path.string());
  }
  state->add_special_tokens(config);
  state->add_special_tokens(config_of("special_tokens_map.json"));
  return ChatTemplate(std::move(state));
}

ChatTemplate ChatTemplate::from_text(std::string_view source, const std::string& name,
                                     const Texts& special_tokens) {
  return from_texts({{"default", std::string(source)}}, name, special_tokens);
}

ChatTemplate ChatTemplate::from_texts(const Texts& templates, const std::string& name,
                                      const Texts& special_tokens) {
  auto state = std::make_shared<State>();
  state->path = name;
  for (const auto& [key, source] : templates) {
    state->add(key, source, templates.size() == 1 ? name : fmt::format("{} ('{}')", name, key));
  }
  for (const auto& [key, text] : special_tokens) {
    if (!is_utf8(text)) fail(ErrorKind::kBadFile, "{}: '{}' is not UTF-8", name, key);
    state->special_tokens.emplace_back(key, Value::string(text, Origin::kTemplate));
  }
  return ChatTemplate(std::move(state));
}

const NamedTemplate& ChatTemplate::State::choose(const ChatRequest& request) const {
  const auto find = [this](std::string_view name) -> const NamedTemplate* {
    for (const NamedTemplate& one : templates) {
      if (one.name == name) return &one;
    }
    return nullptr;
  };
  const NamedTemplate* found = nullptr;
  if (!request.template_name.empty()) {
    found = find(request.template_name);
  } else {
    const bool tools = !request.tools.is(Kind::kNone) && !request.tools.is_undefined();
    if (tools) found = find("tool_use");
    if (found == nullptr) found = find("default");
  }
  if (found != nullptr) return *found;
  std::vector<std::string> known;
  for (const NamedTemplate& one : templates) known.push_back(one.name);
  fail(ErrorKind::kInvalidArgument, "{}: no chat template '{}'; there are: {}", path,
       request.template_name.empty() ? "default" : request.template_name, fmt::join(known, ", "));
}

std::vector<RenderedPart> ChatTemplate::render(const ChatRequest& request) const {
  const NamedTemplate& chosen = state_->choose(request);
  jinja::Variables variables = state_->special_tokens;
  const auto set = [&](std::string_view name, const Value& value) {
    variables.emplace_back(name, value);
  };
  set("messages", request.messages);
  set("tools", request.tools);
  set("documents", request.documents);
  set("add_generation_prompt", Value::boolean(request.add_generation_prompt));
  for (const auto& [name, value] : request.variables) set(name, value);
  std::tm now{};
  if (request.now) {
    now = *request.now;
  } else {
    const std::time_t seconds = std::time(nullptr);
    localtime_r(&seconds, &now);
  }
  jinja::Runtime runtime(chosen.source, request.budget);
  jinja::Interpreter interpreter(chosen.ast, runtime, variables, now);
  const jinja::MarkedText text = interpreter.render();
  std::vector<RenderedPart> parts;
  text.each_piece(0, text.size(), [&](std::string_view piece, Origin origin) {
    parts.push_back({std::string(piece), origin == Origin::kTemplate});
  });
  return parts;
}

std::vector<std::string> ChatTemplate::names() const {
  std::vector<std::string> out;
  for (const NamedTemplate& one : state_->templates) out.push_back(one.name);
  return out;
}

bool ChatTemplate::mentions(std::string_view text) const {
  return std::any_of(state_->templates.begin(), state_->templates.end(),
                     [&](const auto& one) { return one.text.find(text) != std::string::npos; });
}

const std::vector<std::pair<std::string, Value>>& ChatTemplate::special_tokens() const {
  return state_->special_tokens;
}

std::string rendered_text(const std::vector<RenderedPart>& parts) {
  std::string out;
  for (const RenderedPart& part : parts) out += part.text;
  return out;
}

std::vector<TextPart> text_parts(const std::vector<RenderedPart>& parts) {
  std::vector<TextPart> out;
  for (const RenderedPart& part : parts) out.push_back({part.text, part.trusted});
  return out;
}

Value chat_value(std::string_view json, const std::string& name) {
  return jinja::parse_json_value(json, name, Origin::kInput);
}

}  // namespace conclave::text
