// How models write tool calls and reasoning into their text. Which form a model uses is told by its
// chat template, since the template spells the calls of earlier turns.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace conclave::serve {

enum class ToolForm : std::uint8_t {
  kNone,
  kTagged,     // <tool_call>{"name": .., "arguments": ..}</tool_call> (Hermes, Qwen, Granite 4)
  kKeyed,      // <tool_call>name <arg_key>k</arg_key> <arg_value>v</arg_value> (GLM-4.5)
  kFunction,   // <tool_call><function=name><parameter=k>v</parameter></function> (Qwen3-Coder)
  kList,       // [TOOL_CALLS], <|tool_call|> or (Hunyuan) <tool_calls>, then
               // [{"name": .., "arguments": ..}, ..]
  kNamed,      // [TOOL_CALLS]name[ARGS]{..} (newer Mistral)
  kBare,       // {"name": .., "parameters": ..} (Llama 3, 4), or [name(key=value)]
  kFenced,     // name and ```json in marks (DeepSeek V3, R1)
  kSeparated,  // name and arguments in marks (DeepSeek V3.1)
  kSection,    // functions.name:0 and arguments in marks (Kimi K2)
  kChannels,   // harmony: ` to=functions.name<|channel|>commentary json<|message|>{..}` (gpt-oss)
};

struct OutputForm {
  ToolForm tools = ToolForm::kNone;
  std::string open, close;              // around a call, or around all of them; close may be empty
  std::string think_open, think_close;  // around reasoning; empty: none
  bool told = false;       // the template knows no form that is read here: plain_tools.h
  bool short_ids = false;  // calls have ids of nine letters and digits
  bool channels() const { return tools == ToolForm::kChannels; }
  bool plain() const { return tools == ToolForm::kNone && think_close.empty(); }
};

OutputForm output_form(const text::ChatTemplate& chat);
// Special tokens that a reader of the form must see: ids.
std::vector<std::int32_t> shown_tokens(const OutputForm& form, const text::Tokenizer& tokenizer);

// The marks of the forms that have several.
namespace marks {
inline constexpr const char* kArgs = "[ARGS]";
inline constexpr const char* kCallId = "[CALL_ID]";
inline constexpr const char* kPython = "<|python_tag|>";
inline constexpr const char* kDeepCall = "<\uff5ctool\u2581call\u2581begin\uff5c>";
inline constexpr const char* kDeepSeparator = "<\uff5ctool\u2581sep\uff5c>";
inline constexpr const char* kDeepEnd = "<\uff5ctool\u2581call\u2581end\uff5c>";
inline constexpr const char* kSectionCall = "<|tool_call_begin|>";
inline constexpr const char* kSectionArguments = "<|tool_call_argument_begin|>";
inline constexpr const char* kSectionEnd = "<|tool_call_end|>";
inline constexpr const char* kChannel = "<|channel|>";
inline constexpr const char* kMessage = "<|message|>";
inline constexpr const char* kConstrain = "<|constrain|>";
inline constexpr const char* kStart = "<|start|>";
inline constexpr const char* kEnd = "<|end|>";
inline constexpr const char* kCall = "<|call|>";
inline constexpr const char* kReturn = "<|return|>";
}  // namespace marks

}  // namespace conclave::serve
