#include "serve/tools/tool_format.h"

#include "serve/tools/plain_tools.h"

namespace conclave::serve {

OutputForm output_form(const text::ChatTemplate& chat) {
  OutputForm form;
  const auto set = [&](ToolForm tools, const char* open, const char* close) {
    form.tools = tools;
    form.open = open;
    form.close = close;
  };
  if (chat.mentions(marks::kChannel) && chat.mentions(marks::kMessage)) {
    set(ToolForm::kChannels, "", "");
    return form;
  }
  if (chat.mentions("<think>") || chat.mentions("</think>")) {
    form.think_open = "<think>";
    form.think_close = "</think>";
  } else if (chat.mentions("[THINK]")) {
    form.think_open = "[THINK]";
    form.think_close = "[/THINK]";
  }
  if (chat.mentions("<|tool_calls_section_begin|>")) {
    set(ToolForm::kSection, "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>");
  } else if (chat.mentions("<\uff5ctool\u2581calls\u2581begin\uff5c>")) {
    set(chat.mentions("```json") ? ToolForm::kFenced : ToolForm::kSeparated,
        "<\uff5ctool\u2581calls\u2581begin\uff5c>", "<\uff5ctool\u2581calls\u2581end\uff5c>");
  } else if (chat.mentions("[TOOL_CALLS]")) {
    set(chat.mentions(marks::kArgs) ? ToolForm::kNamed : ToolForm::kList, "[TOOL_CALLS]", "");
    form.short_ids = true;
  } else if (chat.mentions("<|tool_call|>")) {
    set(ToolForm::kList, "<|tool_call|>", "");
  } else if (chat.mentions("<tool_calls>")) {
    set(ToolForm::kList, "<tool_calls>", "</tool_calls>");
  } else if (chat.mentions("<arg_key>")) {
    set(ToolForm::kKeyed, "<tool_call>", "</tool_call>");
  } else if (chat.mentions("<tool_call>") && chat.mentions("<function=")) {
    set(ToolForm::kFunction, "<tool_call>", "</tool_call>");
  } else if (chat.mentions("<tool_call>")) {
    set(ToolForm::kTagged, "<tool_call>", "</tool_call>");
  } else if (chat.mentions("ipython") && chat.mentions("tools")) {
    set(ToolForm::kBare, "", "");
  } else {
    set(ToolForm::kTagged, kPlainOpen, kPlainClose);
    form.told = true;
  }
  return form;
}

std::vector<std::int32_t> shown_tokens(const OutputForm& form, const text::Tokenizer& tokenizer) {
  using namespace marks;
  std::vector<std::string> texts = {form.open, form.close, form.think_open, form.think_close};
  const auto add = [&](std::initializer_list<const char*> more) {
    texts.insert(texts.end(), more.begin(), more.end());
  };
  if (form.tools == ToolForm::kNamed) add({kArgs, kCallId});
  if (form.tools == ToolForm::kBare) add({kPython});
  if (form.tools == ToolForm::kFenced || form.tools == ToolForm::kSeparated) {
    add({kDeepCall, kDeepSeparator, kDeepEnd});
  }
  if (form.tools == ToolForm::kSection) add({kSectionCall, kSectionArguments, kSectionEnd});
  if (form.channels()) add({kChannel, kMessage, kConstrain, kStart, kEnd, kCall, kReturn});
  std::vector<std::int32_t> ids;
  for (const std::string& text : texts) {
    const auto id = text.empty() ? std::nullopt : tokenizer.token_to_id(text);
    if (id && tokenizer.is_special(*id)) ids.push_back(*id);
  }
  return ids;
}

}  // namespace conclave::serve
