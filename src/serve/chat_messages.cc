// The messages of a chat: what may stand in them, and their contents as one string each.

#include <algorithm>

#include "base/error.h"
#include "serve/completion_request.h"
#include "serve/fields.h"

namespace conclave::serve {

using nlohmann::json;

namespace {

// `function` is what `tool` has replaced; templates that know it still read it.
const std::vector<std::string> kRoles = {"system",    "developer", "user",
                                         "assistant", "tool",      "function"};

// A content of parts is their texts, one after the other: templates of text models want a string.
json plain_content(const json& content, const std::string& name) {
  if (content.is_string()) return content;
  const char* const expected = "a string or a list of parts";
  if (!content.is_array() || content.empty()) {
    Fields(json::object()).wrong(name.c_str(), content, expected);
  }
  std::string text;
  for (std::size_t i = 0; i < content.size(); ++i) {
    const json& part = content[i];
    const std::string place = fmt::format("{}[{}]", name, i);
    const Fields fields(part, place + ".");
    if (!part.is_object()) throw bad_request("'" + place + "': expected an object", name);
    const std::string type = fields.string("type", "");
    const char* const key = type == "refusal" ? "refusal" : "text";
    if (type != key || fields.find(key) == nullptr) {
      throw bad_request(
          fmt::format("'{}': this server takes parts of type 'text' only, with a 'text'", place),
          name);
    }
    text += fields.string(key, "");
  }
  return text;
}

// What an assistant's message may have in place of a content.
bool says_otherwise(const json& message) {
  for (const char* key : {"tool_calls", "function_call", "refusal", "reasoning_content"}) {
    const auto place = message.find(key);
    if (place != message.end() && !place->empty()) return true;
  }
  return false;
}

// The form of a call; templates that need an id say so.
void check_call(const json& call, const std::string& name) {
  const auto function = call.is_object() ? call.find("function") : call.end();
  if (!call.is_object() || function == call.end() || !function->is_object()) {
    throw bad_request("'" + name + "': expected {\"id\": ..., \"type\": \"function\", " +
                          "\"function\": {\"name\": ..., \"arguments\": ...}}",
                      name);
  }
  const Fields whole(call, name + ".");
  whole.string("id", "");
  if (whole.string("type", "function") != "function") {
    throw bad_request("'" + name + ".type': expected function", name + ".type");
  }
  const Fields fields(*function, name + ".function.");
  if (fields.string("name", "").empty()) {
    throw bad_request("'" + fields.name("name") + "' is missing", fields.name("name"));
  }
  const json* const arguments = fields.find("arguments");  // some clients send the object itself
  if (arguments != nullptr && !arguments->is_object()) fields.string("arguments", "");
}

void check_calls(const Fields& fields, const json& message) {
  const auto calls = message.find("tool_calls");
  if (calls == message.end() || calls->is_null()) return;
  if (!calls->is_array()) fields.wrong("tool_calls", *calls, "a list of calls");
  for (std::size_t i = 0; i < calls->size(); ++i) {
    check_call((*calls)[i], fmt::format("{}[{}]", fields.name("tool_calls"), i));
  }
}

json checked(const json& message, const std::string& name) {
  if (!message.is_object()) throw bad_request("'" + name + "': expected an object", name);
  const Fields fields(message, name + ".");
  const std::string role = fields.string("role", "");
  if (role.empty()) throw bad_request("'" + name + ".role' is missing", name + ".role");
  if (std::find(kRoles.begin(), kRoles.end(), role) == kRoles.end()) {
    fields.wrong("role", json(role), fmt::format("one of {}", fmt::join(kRoles, ", ")));
  }
  json copy = message;
  check_calls(fields, message);
  if (const json* const call = fields.find("function_call")) {  // what tool_calls has replaced
    check_call(json::object({{"function", *call}}), name + ".function_call");
    copy["tool_calls"] =
        json::array({json::object({{"id", "call_0"}, {"type", "function"}, {"function", *call}})});
    copy.erase("function_call");
  }
  const json* const content = fields.find("content");
  if (content != nullptr) {
    copy["content"] = plain_content(*content, name + ".content");
  } else if (role == "assistant" && says_otherwise(message)) {
    copy["content"] = "";
  } else {
    throw bad_request("'" + name + ".content' is missing", name + ".content");
  }
  return copy;
}

}  // namespace

json parse_messages(const json& body) {
  const Fields fields(body);
  const json* const list = fields.find("messages");
  if (list == nullptr) throw bad_request("'messages' is missing", "messages");
  if (!list->is_array() || list->empty()) fields.wrong("messages", *list, "a list of messages");
  json messages = json::array();
  for (std::size_t i = 0; i < list->size(); ++i) {
    messages.push_back(checked((*list)[i], fmt::format("messages[{}]", i)));
  }
  return messages;
}

}  // namespace conclave::serve
