// The tools of a chat request, what may be called, and the conversation in the words of a template.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "serve/tools/output_reader.h"

namespace conclave::serve {

inline constexpr std::size_t kMostTools = 128;

struct Tool {
  std::string name;
  std::string parameters;  // a JSON schema, members in their order; empty: any object
};

struct ToolRequest {
  enum class Choice : std::uint8_t { kNone, kAuto, kRequired };
  std::vector<Tool> tools;  // that may be called; of a named choice only that one
  std::string text;         // "tools" as it was sent, for the template
  Choice choice = Choice::kNone;
  bool parallel = true;  // several calls in one answer
  bool offered() const { return choice != Choice::kNone; }
};

// `body` is the text of the request. Throws ApiError.
ToolRequest parse_tools(const nlohmann::json& request, const std::string& body);
// Names of the parameters that are strings and nothing else.
StringArguments string_arguments(const std::vector<Tool>& tools);

// Messages as JSON text. OpenAI sends a call's arguments as text; most templates expect the object
// in it, which keeps its order here.
std::string messages_text(const nlohmann::json& messages, bool arguments_as_objects);
// Whether any message has calls.
bool has_tool_calls(const nlohmann::json& messages);

}  // namespace conclave::serve
