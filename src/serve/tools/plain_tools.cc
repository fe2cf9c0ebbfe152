#include "serve/tools/plain_tools.h"

#include <fmt/format.h>

namespace conclave::serve {

using nlohmann::json;

namespace {

std::string call_text(const json& call) {
  const json function = call.is_object() ? call.value("function", json()) : json();
  if (!function.is_object()) return "";
  const json name = function.value("name", json()), arguments = function.value("arguments", json());
  return fmt::format("{}\n{{\"name\": {}, \"arguments\": {}}}\n{}", kPlainOpen, name.dump(),
                     arguments.is_string() ? arguments.get<std::string>() : arguments.dump(),
                     kPlainClose);
}

bool is_result(const json& message) {
  return message["role"] == "tool" || message["role"] == "function";
}

}  // namespace

std::string describe_tools(const std::string& tools) {
  return fmt::format(
      "You can call the functions in this list:\n{}\n"
      "To call one, write its name and its arguments in this form, and wait for the result:\n"
      "{}\n{{\"name\": \"NAME\", \"arguments\": {{\"KEY\": VALUE}}}}\n{}",
      tools, kPlainOpen, kPlainClose);
}

json tell_calls(const json& messages) {
  json told = json::array();
  bool result_before = false;
  for (const json& message : messages) {
    const bool result = is_result(message);
    const std::string content = message["content"].get<std::string>();
    const std::string reply = "<tool_response>\n" + content + "\n</tool_response>";
    if (result && result_before) {  // results of one turn are one message: roles take turns
      told.back()["content"] = told.back()["content"].get<std::string>() + "\n" + reply;
    } else if (result) {
      told.push_back({{"role", "user"}, {"content", reply}});
    } else {
      told.push_back(message);
      const auto calls = message.find("tool_calls");
      if (calls != message.end() && calls->is_array()) {
        std::string text = content;
        for (const json& call : *calls) text += (text.empty() ? "" : "\n") + call_text(call);
        told.back()["content"] = text;
        told.back().erase("tool_calls");
      }
    }
    result_before = result;
  }
  return told;
}

json with_words(json messages, const std::string& text, bool system) {
  const auto add = [&](json& message, bool behind) {
    const std::string content = message["content"].get<std::string>();
    message["content"] = behind ? content + "\n\n" + text : text + "\n\n" + content;
  };
  if (system && messages[0]["role"] == "system") {
    add(messages[0], true);
    return messages;
  }
  if (!system) {
    for (json& message : messages) {
      if (message["role"] != "user") continue;
      add(message, false);
      return messages;
    }
  }
  messages.insert(messages.begin(), json{{"role", system ? "system" : "user"}, {"content", text}});
  return messages;
}

}  // namespace conclave::serve
