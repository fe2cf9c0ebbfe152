// The grammar of a chat's answer that must call a tool, or must have a form: calls in the model's
// own form with arguments held to the tool's parameters, or the text in its form, behind the
// reasoning that the model may write first.
#pragma once

#include "infer/grammar/compile.h"
#include "serve/answer_format.h"
#include "serve/tools/tool_request.h"

namespace conclave::serve {

// Calls where they are required; else a text of `format`, or calls where tools are offered. Throws
// Error(kInvalidArgument): what schemas and grammars throw, naming the tool.
infer::grammar::ConstraintPtr constrain_answer(const ToolRequest& request,
                                               const AnswerFormat& format,
                                               const ReaderOptions& output,
                                               const text::Tokenizer& tokenizer,
                                               infer::grammar::TokensPtr tokens);

}  // namespace conclave::serve
