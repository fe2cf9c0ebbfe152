#include "serve/tools/tool_request.h"

#include <algorithm>

#include "base/error.h"
#include "io/json_tree.h"
#include "serve/answer_format.h"
#include "serve/api_error.h"
#include "serve/fields.h"

namespace conclave::serve {

using io::JsonTree;
using nlohmann::json;

namespace {

constexpr io::JsonLimits kLimits = {.max_bytes = 1u << 30, .max_depth = 64};
constexpr std::size_t kMostNameBytes = 64;

bool usable_name(const std::string& name) {
  const auto plain = [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  };
  return !name.empty() && name.size() <= kMostNameBytes &&
         std::all_of(name.begin(), name.end(), plain);
}

void check_tools(const json& list) {
  if (!list.is_array() || list.size() > kMostTools) {
    throw bad_request(fmt::format("'tools': expected a list of up to {} tools", kMostTools),
                      "tools");
  }
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string name = fmt::format("tools[{}]", i);
    const json& tool = list[i];
    if (!tool.is_object() || Fields(tool, name + ".").string("type", "") != "function" ||
        !tool.contains("function") || !tool["function"].is_object()) {
      throw bad_request("'" + name + "': expected {\"type\": \"function\", \"function\": {...}}",
                        name);
    }
    if (!usable_name(Fields(tool["function"], name + ".function.").string("name", ""))) {
      throw bad_request(
          "'" + name + ".function.name': expected 1 to 64 letters, digits, '_', '-' or '.'",
          name + ".function.name");
    }
  }
}

// The name that tool_choice is bound to, or empty.
std::string read_choice(const Fields& fields, ToolRequest& request) {
  const json* const choice = fields.find("tool_choice");
  request.choice = ToolRequest::Choice::kAuto;
  if (choice == nullptr) return "";
  const char* const expected =
      "none, auto, required or {\"type\": \"function\", \"function\": {\"name\": ...}}";
  if (choice->is_string()) {
    const auto text = choice->get<std::string>();
    if (text == "none")
      request.choice = ToolRequest::Choice::kNone;
    else if (text == "required")
      request.choice = ToolRequest::Choice::kRequired;
    else if (text != "auto")
      fields.wrong("tool_choice", *choice, expected);
    return "";
  }
  const bool named = choice->is_object() && choice->value("type", json()) == "function" &&
                     choice->contains("function") && (*choice)["function"].is_object();
  if (!named) fields.wrong("tool_choice", *choice, expected);
  request.choice = ToolRequest::Choice::kRequired;
  request.parallel = false;
  return Fields((*choice)["function"], "tool_choice.function.").string("name", "");
}

}  // namespace

ToolRequest parse_tools(const json& request, const std::string& body) {
  const Fields fields(request);
  ToolRequest result;
  const json* const list = fields.find("tools");
  const json* const choice = fields.find("tool_choice");
  if (list == nullptr || list->empty()) {
    const bool needs = choice != nullptr && *choice != "none" && *choice != "auto";
    if (needs) throw bad_request("'tool_choice' needs 'tools'", "tool_choice");
    return result;
  }
  check_tools(*list);
  result.parallel = fields.boolean("parallel_tool_calls", true);
  const std::string named = read_choice(fields, result);
  if (!result.offered()) return result;
  const JsonTree tree = JsonTree::parse(body, "request body", kLimits);
  const int tools = tree.find(JsonTree::kRoot, "tools");
  result.text = tree.dump(tools);
  if (result.text.size() > kMostSchemaBytes) {
    throw bad_request(
        fmt::format("'tools': {} bytes, more than {}", result.text.size(), kMostSchemaBytes),
        "tools");
  }
  for (const int tool : tree.children(tools)) {
    const int function = tree.find(tool, "function");
    const int parameters = tree.find(function, "parameters");
    const std::string& name = tree.text(tree.find(function, "name"));
    if (!named.empty() && name != named) continue;
    result.tools.push_back({name, parameters == JsonTree::kNone ? "" : tree.dump(parameters)});
  }
  if (result.tools.empty()) {
    throw bad_request("'tool_choice': there is no tool '" + named.substr(0, 64) + "'",
                      "tool_choice");
  }
  return result;
}

StringArguments string_arguments(const std::vector<Tool>& tools) {
  StringArguments strings;
  for (const Tool& tool : tools) {
    if (tool.parameters.empty()) continue;
    const JsonTree tree = JsonTree::parse(tool.parameters, "parameters", kLimits);
    const int properties = tree.find(JsonTree::kRoot, "properties");
    if (properties == JsonTree::kNone) continue;
    for (const int property : tree.children(properties)) {
      const int type = tree.find(property, "type");
      if (type != JsonTree::kNone && tree.text(type) == "string") {
        strings[tool.name].push_back(tree.key(property));
      }
    }
  }
  return strings;
}

bool has_tool_calls(const json& messages) {
  return std::any_of(messages.begin(), messages.end(), [](const json& message) {
    const auto calls = message.find("tool_calls");
    return calls != message.end() && calls->is_array() && !calls->empty();
  });
}

namespace {

// `object` with a member whose value is JSON text already.
std::string with_member(const json& object, const char* key, const std::string& value) {
  std::string text = object.dump();
  text.pop_back();
  if (!object.empty()) text += ',';
  return text + '"' + key + "\":" + value + "}";
}

std::string call_text(const json& call) {
  if (!call.is_object() || !call.contains("function") || !call["function"].is_object())
    return call.dump();
  json rest = call, function = call["function"];
  const json text = function.value("arguments", json());
  if (!text.is_string()) return call.dump();
  std::string arguments;
  try {
    arguments =
        JsonTree::parse(text.get<std::string>(), "arguments", kLimits).dump(JsonTree::kRoot);
  } catch (const Error&) {  // no JSON: it stays text
    return call.dump();
  }
  function.erase("arguments");
  rest.erase("function");
  return with_member(rest, "function", with_member(function, "arguments", arguments));
}

}  // namespace

std::string messages_text(const json& messages, bool arguments_as_objects) {
  if (!arguments_as_objects || !has_tool_calls(messages)) return messages.dump();
  std::string out;
  for (const json& message : messages) {
    out += out.empty() ? '[' : ',';
    const auto calls = message.find("tool_calls");
    if (calls == message.end() || !calls->is_array()) {
      out += message.dump();
      continue;
    }
    std::string list;
    for (const json& call : *calls) list += (list.empty() ? "[" : ",") + call_text(call);
    json rest = message;
    rest.erase("tool_calls");
    out += with_member(rest, "tool_calls", list.empty() ? "[]" : list + "]");
  }
  return out + "]";
}

}  // namespace conclave::serve
