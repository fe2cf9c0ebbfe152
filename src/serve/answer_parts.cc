// The parts of a chat's answer: text, reasoning, and calls of tools, whole and as deltas.

#include <fmt/format.h>

#include <functional>

#include "serve/answer.h"

namespace conclave::serve {

using nlohmann::json;

void Answer::read_output(const ReaderOptions& options) {
  if (!chat_ || options.form.plain()) return;
  short_ids_ = options.form.short_ids;
  ReaderOptions all = options;
  all.stream = stream_;
  for (Choice& choice : choices_) choice.reader = make_output_reader(all);
}

std::string Answer::finish_reason(const Choice& choice) const {
  if (choice.end != EndReason::kStop) return "length";
  return choice.calls.empty() ? "stop" : "tool_calls";
}

json Answer::call_json(const ToolCall& call) const {
  return {{"id", call.id},
          {"type", "function"},
          {"function", {{"name", call.name}, {"arguments", call.arguments}}}};
}

// Ids of calls name one call of one answer; some templates take nothing but nine letters and
// digits.
ToolCall Answer::with_id(ToolCall call, std::size_t choice, std::size_t number) const {
  if (!call.id.empty()) return call;
  std::uint64_t h = std::hash<std::string>()(fmt::format("{}/{}/{}", identity_.id, choice, number));
  const char* const digits = "0123456789abcdefghijklmnopqrstuvwxyz";
  if (!short_ids_) call.id = "call_";
  for (int i = 0; i < (short_ids_ ? 9 : 12); ++i, h /= 36) call.id += digits[h % 36];
  return call;
}

// What a piece of output adds: to the answer, and, of a stream, as the deltas to send.
std::vector<json> Answer::take_deltas(std::size_t index, const std::string& text, bool last) {
  Choice& choice = choices_[index];
  std::vector<json> deltas;
  const auto say = [&](const char* key, const std::string& piece, std::string& whole) {
    if (piece.empty()) return;
    if (!stream_) whole += piece;
    deltas.push_back({{key, piece}});
  };
  if (!choice.reader) {
    say("content", text, choice.text);
    return deltas;
  }
  for (OutputPiece& piece : choice.reader->push(text, last)) {
    if (piece.kind == OutputPiece::Kind::kText) {
      say("content", piece.text, choice.text);
    } else if (piece.kind == OutputPiece::Kind::kReasoning) {
      say("reasoning_content", piece.text, choice.reasoning);
    } else if (piece.kind == OutputPiece::Kind::kArguments) {
      const json call = {{"index", choice.calls.size() - 1},
                         {"function", {{"arguments", std::move(piece.text)}}}};
      deltas.push_back({{"tool_calls", json::array({call})}});
    } else {
      const std::size_t number = choice.calls.size();
      choice.calls.push_back(with_id(std::move(piece.call), index, number));
      json call = call_json(choice.calls.back());
      call["index"] = number;
      deltas.push_back({{"tool_calls", json::array({std::move(call)})}});
    }
  }
  return deltas;
}

json Answer::message(const Choice& choice) const {
  json message = {{"role", "assistant"},
                  {"content", choice.text},
                  {"refusal", nullptr},
                  {"annotations", json::array()}};
  if (!choice.reasoning.empty()) message["reasoning_content"] = choice.reasoning;
  if (choice.calls.empty()) return message;
  if (choice.text.empty()) message["content"] = nullptr;
  message["tool_calls"] = json::array();
  for (const ToolCall& call : choice.calls) message["tool_calls"].push_back(call_json(call));
  return message;
}

}  // namespace conclave::serve
