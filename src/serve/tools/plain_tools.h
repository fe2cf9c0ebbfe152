// Tools for models whose chat template knows none, or calls in a form that is not read here: what
// may be called is described in words, and
// calls of earlier turns and their results are told in the texts of messages, in the form that most
// open models use (ToolForm::kTagged).
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace conclave::serve {

inline constexpr const char* kPlainOpen = "<tool_call>";
inline constexpr const char* kPlainClose = "</tool_call>";

// `tools` is JSON text as it was sent.
std::string describe_tools(const std::string& tools);
// Calls and results as text: roles are then system, user and assistant alone.
nlohmann::json tell_calls(const nlohmann::json& messages);
// Puts `text` into the system message, which is made where there is none; without `system` in front
// of the first user message instead, for templates that refuse system messages.
nlohmann::json with_words(nlohmann::json messages, const std::string& text, bool system);

}  // namespace conclave::serve
