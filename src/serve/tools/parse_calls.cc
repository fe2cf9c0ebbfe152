// From the text of tool calls to names and arguments, for each form.

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "io/json_tree.h"
#include "serve/tools/output_reader.h"
#include "serve/tools/python_call.h"
#include "text/utf8.h"

namespace conclave::serve {

using io::JsonTree;

namespace {

constexpr io::JsonLimits kLimits = {
    .max_bytes = 16u << 20, .max_depth = 64, .allow_duplicate_keys = true};

std::string_view trimmed(std::string_view text) {
  const auto space = [](char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; };
  while (!text.empty() && space(text.front())) text.remove_prefix(1);
  while (!text.empty() && space(text.back())) text.remove_suffix(1);
  return text;
}

std::optional<JsonTree> tree_of(std::string_view text) {
  try {
    return JsonTree::parse(trimmed(text), "tool call", kLimits);
  } catch (const Error&) {
    return std::nullopt;
  }
}

// {"name": .., "arguments" or "parameters": ..}; arguments may be JSON within a string.
std::optional<ToolCall> call_of(const JsonTree& tree, int node) {
  const int name = tree.find(node, "name");
  int arguments = tree.find(node, "arguments");
  if (arguments == JsonTree::kNone) arguments = tree.find(node, "parameters");
  if (name == JsonTree::kNone || !tree.is_string(name) || tree.text(name).empty())
    return std::nullopt;
  ToolCall call{tree.text(name), "{}", ""};
  if (arguments != JsonTree::kNone) {
    if (tree.is_string(arguments)) {
      if (!tree_of(tree.text(arguments))) return std::nullopt;
      call.arguments = tree.text(arguments);
    } else if (tree.is_object(arguments)) {
      call.arguments = tree.dump(arguments);
    } else {
      return std::nullopt;
    }
  }
  const int id = tree.find(node, "id");
  if (id != JsonTree::kNone && tree.is_string(id)) call.id = tree.text(id).substr(0, 64);
  return call;
}

std::vector<ToolCall> json_calls(std::string_view text) {
  const auto tree = tree_of(text);
  std::vector<ToolCall> calls;
  if (!tree) return calls;
  const bool list = tree->is_array(JsonTree::kRoot);
  for (const int node : list ? tree->children(JsonTree::kRoot) : std::vector{JsonTree::kRoot}) {
    auto call = call_of(*tree, node);
    if (!call) return {};
    calls.push_back(std::move(*call));
  }
  return calls;
}

// An object of arguments, or nothing.
std::optional<std::string> object_text(std::string_view text) {
  const auto tree = tree_of(text);
  if (!tree || !tree->is_object(JsonTree::kRoot)) return std::nullopt;
  return tree->dump(JsonTree::kRoot);
}

// The text between two marks, from `at` on; `at` moves behind the second.
std::optional<std::string_view> between(std::string_view text, std::size_t& at,
                                        std::string_view open, std::string_view close) {
  const std::size_t begin = text.find(open, at);
  if (begin == text.npos) return std::nullopt;
  const std::size_t inner = begin + open.size();
  const std::size_t end = text.find(close, inner);
  if (end == text.npos) return std::nullopt;
  at = end + close.size();
  return text.substr(inner, end - inner);
}

// Adds an argument whose value stands there as text: a string without quotes where the tool says
// that it is one, else JSON, and what is no JSON is a string all the same.
void add_member(ToolCall& call, std::string_view key, std::string_view value,
                const StringArguments& strings) {
  const auto known = strings.find(call.name);
  const std::string name = text::to_valid_utf8(key);
  const bool string =
      known != strings.end() &&
      std::find(known->second.begin(), known->second.end(), name) != known->second.end();
  const auto tree = string ? std::nullopt : tree_of(value);
  call.arguments +=
      (call.arguments.empty() ? "" : ",") + io::json_quote(name) + ":" +
      (tree ? tree->dump(JsonTree::kRoot) : io::json_quote(text::to_valid_utf8(value)));
}

std::vector<ToolCall> keyed_call(std::string_view body, const StringArguments& strings) {
  const std::size_t first = std::min(body.find("<arg_key>"), body.size());
  ToolCall call{std::string(trimmed(body.substr(0, first))), "", ""};
  if (call.name.empty()) return {};
  for (std::size_t at = first; at < body.size();) {
    const auto key = between(body, at, "<arg_key>", "</arg_key>");
    const auto value = key ? between(body, at, "<arg_value>", "</arg_value>") : std::nullopt;
    if (!value) break;
    add_member(call, trimmed(*key), *value, strings);
  }
  call.arguments = "{" + call.arguments + "}";
  return {call};
}

// A value stands on lines of its own; the template prints Python's names of true, false and null.
std::vector<ToolCall> function_call(std::string_view body, const StringArguments& strings) {
  std::size_t at = 0;
  const auto function = between(body, at, "<function=", ">");
  if (!function || trimmed(*function).empty()) return {};
  ToolCall call{std::string(trimmed(*function)), "", ""};
  while (const auto key = between(body, at, "<parameter=", ">")) {
    const std::size_t end = body.find("</parameter>", at);
    if (end == body.npos) return {};
    std::string_view value = body.substr(at, end - at);
    at = end;
    if (value.starts_with('\n')) value.remove_prefix(1);
    if (value.ends_with('\n')) value.remove_suffix(1);
    const bool python = value == "True" || value == "False" || value == "None";
    const char* const json = value == "True" ? "true" : value == "False" ? "false" : "null";
    add_member(call, *key, python ? json : value, strings);
  }
  call.arguments = "{" + call.arguments + "}";
  return {call};
}

// name[CALL_ID]id[ARGS]{..}, several with [TOOL_CALLS] between them.
std::vector<ToolCall> named_calls(std::string_view body, const std::string& open) {
  if (trimmed(body).starts_with('[')) return json_calls(body);
  std::vector<ToolCall> calls;
  while (!body.empty()) {
    const std::size_t end = std::min(body.find(open), body.size());
    const std::string_view one = body.substr(0, end);
    body.remove_prefix(std::min(body.size(), end + open.size()));
    const std::size_t args = one.find(marks::kArgs);
    if (args == one.npos) return {};
    std::string_view name = one.substr(0, args);
    const std::size_t id = name.find(marks::kCallId);
    ToolCall call;
    if (id != name.npos) {
      call.id = trimmed(name.substr(id + std::string_view(marks::kCallId).size()));
      name = name.substr(0, id);
    }
    call.name = trimmed(name);
    const auto arguments = object_text(one.substr(args + std::string_view(marks::kArgs).size()));
    if (!arguments || call.name.empty()) return {};
    call.arguments = *arguments;
    calls.push_back(std::move(call));
  }
  return calls;
}

std::vector<ToolCall> deep_calls(std::string_view body, bool fenced) {
  std::vector<ToolCall> calls;
  std::size_t at = 0;
  while (const auto one = between(body, at, marks::kDeepCall, marks::kDeepEnd)) {
    const std::string_view separator = marks::kDeepSeparator;
    const std::size_t cut = one->find(separator);
    if (cut == one->npos) return {};
    std::string_view name = one->substr(0, cut), rest = one->substr(cut + separator.size());
    if (fenced) {  // type, separator, name, ```json, arguments, ```
      std::size_t from = 0;
      const auto json = between(rest, from, "```json", "```");
      if (!json) return {};
      name = rest.substr(0, rest.find("```json"));
      rest = *json;
    }
    const auto arguments = object_text(rest);
    if (!arguments || trimmed(name).empty()) return {};
    calls.push_back({std::string(trimmed(name)), *arguments, ""});
  }
  return calls;
}

// functions.name:0, which is also the call's id.
std::vector<ToolCall> section_calls(std::string_view body) {
  std::vector<ToolCall> calls;
  std::size_t at = 0;
  while (const auto one = between(body, at, marks::kSectionCall, marks::kSectionEnd)) {
    const std::string_view separator = marks::kSectionArguments;
    const std::size_t cut = one->find(separator);
    if (cut == one->npos) return {};
    const std::string_view id = trimmed(one->substr(0, cut));
    std::string_view name = id.substr(0, id.rfind(':'));
    if (name.starts_with("functions.")) name.remove_prefix(10);
    const auto arguments = object_text(one->substr(cut + separator.size()));
    if (!arguments || name.empty()) return {};
    calls.push_back({std::string(name), *arguments, std::string(id.substr(0, 64))});
  }
  return calls;
}

// One object, several with ; between them, or Python's calls.
std::vector<ToolCall> bare_calls(std::string_view body) {
  if (body.starts_with(marks::kPython)) body.remove_prefix(std::string_view(marks::kPython).size());
  body = trimmed(body);
  if (body.starts_with('[') && !body.starts_with("[{")) return python_calls(body);
  auto calls = json_calls(body);
  if (!calls.empty()) return calls;
  for (std::size_t begin = 0; begin < body.size();) {
    const std::size_t end = std::min(body.find("};", begin), body.size() - 1);
    const auto one = json_calls(body.substr(begin, end + 1 - begin));
    if (one.empty()) return {};
    calls.insert(calls.end(), one.begin(), one.end());
    begin = end + 2;
  }
  return calls;
}

}  // namespace

std::vector<ToolCall> parse_calls(const ReaderOptions& options, std::string_view body) {
  switch (options.form.tools) {
    case ToolForm::kNone:
      return {};
    case ToolForm::kTagged:
    case ToolForm::kList:
      return json_calls(body);
    case ToolForm::kKeyed:
      return keyed_call(body, options.string_arguments);
    case ToolForm::kFunction:
      return function_call(body, options.string_arguments);
    case ToolForm::kNamed:
      return named_calls(body, options.form.open);
    case ToolForm::kBare:
      return bare_calls(body);
    case ToolForm::kFenced:
    case ToolForm::kSeparated:
      return deep_calls(body, options.form.tools == ToolForm::kFenced);
    case ToolForm::kSection:
      return section_calls(body);
    case ToolForm::kChannels: {
      const auto arguments = object_text(body);
      if (!arguments) return {};
      return {{"", *arguments, ""}};
    }
  }
  return {};
}

}  // namespace conclave::serve
