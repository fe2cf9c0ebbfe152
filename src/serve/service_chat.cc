// Chats: a conversation to a prompt through the model's template, and what its answer is held to.

#include <algorithm>

#include "base/error.h"
#include "serve/call.h"
#include "serve/tools/plain_tools.h"
#include "serve/tools/tool_grammar.h"

namespace conclave::serve {

using nlohmann::json;

namespace {

std::vector<text::RenderedPart> render_as(const text::ChatTemplate& chat,
                                          const CompletionRequest& request, const json& messages,
                                          bool objects, bool tools) {
  text::ChatRequest to_render;
  to_render.messages = text::chat_value(messages_text(messages, objects), "messages");
  to_render.add_generation_prompt = request.add_generation_prompt;
  if (tools) to_render.tools = text::chat_value(request.tools.text, "tools");
  for (const auto& [name, value] : request.template_variables.items()) {
    to_render.variables.emplace_back(name, text::chat_value(value.dump(), name));
  }
  return chat.render(to_render);
}

// A template that knows no tools, or none that are read here, is told of them in words.
std::vector<text::RenderedPart> render_plain(const text::ChatTemplate& chat,
                                             const CompletionRequest& request, json messages) {
  messages = tell_calls(messages);
  if (!request.tools.offered()) return render_as(chat, request, messages, false, false);
  const std::string words = describe_tools(request.tools.text);
  try {
    return render_as(chat, request, with_words(messages, words, true), false, false);
  } catch (const Error&) {
    if (messages[0]["role"] == "system") throw;
  }
  return render_as(chat, request, with_words(messages, words, false), false, false);
}

std::vector<text::RenderedPart> render(const text::ChatTemplate& chat,
                                       const CompletionRequest& request, bool told) {
  json messages = request.messages;
  for (json& message : messages) {  // OpenAI's newer word for `system`, which few templates know
    if (message["role"] == "developer" && !chat.mentions("developer")) message["role"] = "system";
  }
  if (told) return render_plain(chat, request, std::move(messages));
  const bool tools = request.tools.offered();
  // Most templates print the object of a call's arguments, some join it as text.
  try {
    return render_as(chat, request, messages, true, tools);
  } catch (const Error&) {
    if (!has_tool_calls(messages)) throw;
  }
  return render_as(chat, request, messages, false, tools);
}

bool ends_with_mark(const std::string& text, const std::string& mark) {
  const std::size_t end = text.find_last_not_of(" \n");
  return !mark.empty() && end != std::string::npos &&
         std::string_view(text).substr(0, end + 1).ends_with(mark);
}

}  // namespace

Service::ChatPrompt Service::encode_chat(const CompletionRequest& request) const {
  ChatPrompt prompt;
  const bool tools = request.tools.offered();
  if (tools && form_.tools == ToolForm::kNone) {
    throw bad_request(
        "this model's chat template shows no form of tool calls that this server knows", "tools",
        "unsupported_parameter");
  }
  if (!model_.chat) {  // such a model continues text: it gets the contents, one after the other
    std::string text;
    for (const json& message : request.messages) {
      if (!text.empty()) text += "\n\n";
      text += message["content"].get<std::string>();
    }
    prompt.ids = encode_prompt(text, "messages");
    return prompt;
  }
  const auto parts = render(*model_.chat, request, form_.told);
  prompt.ids = model_.loaded.tokenizer->encode_parts(text::text_parts(parts), false);
  ReaderOptions& output = prompt.output;
  output.form = form_;
  output.tools = tools;
  output.thinking = ends_with_mark(text::rendered_text(parts), form_.think_open);
  if (tools) {
    output.string_arguments = string_arguments(request.tools.tools);
  } else if (!form_.channels()) {
    output.form.tools = ToolForm::kNone;
    output.form.open = output.form.close = "";
  }
  prompt.shown = shown_tokens(output.form, *model_.loaded.tokenizer);
  return prompt;
}

infer::grammar::ConstraintPtr Service::chat_constraint(const CompletionRequest& request,
                                                       const ChatPrompt& prompt) {
  const bool required = request.tools.choice == ToolRequest::Choice::kRequired;
  const bool formatted = request.format.kind != AnswerFormat::Kind::kText;
  if (!required && !formatted) return nullptr;
  if (!required && !request.tools.offered() && prompt.output.form.plain()) {
    return grammars_.get(request.format);
  }
  std::string key = fmt::format("chat:{}:{}:{}:{}", prompt.output.thinking, required,
                                request.tools.parallel, static_cast<int>(request.format.kind));
  for (const Tool& tool : request.tools.tools) key += "\n" + tool.name + " " + tool.parameters;
  key += "\n" + request.format.text;
  return grammars_.get(key, required ? "tools" : request.format.param(),
                       [&](infer::grammar::TokensPtr tokens) {
                         return constrain_answer(request.tools, request.format, prompt.output,
                                                 *model_.loaded.tokenizer, std::move(tokens));
                       });
}

}  // namespace conclave::serve
