// Reads what a model writes, piece by piece: the answer's text, its reasoning, and the calls of
// tools. Text comes out as soon as it cannot be part of a mark any more; a call comes out when it
// is complete, or for a stream as it is written (call_stream.h). What looks like a call and is none
// comes out as text.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "serve/tools/tool_format.h"

namespace conclave::serve {

struct ToolCall {
  std::string name;
  std::string arguments;  // JSON text
  std::string id;         // as the model wrote it, mostly empty
};

struct OutputPiece {
  // kCallStart: a call whose arguments follow, in kArguments.
  enum class Kind : std::uint8_t { kText, kReasoning, kCall, kCallStart, kArguments };
  Kind kind = Kind::kText;
  std::string text;
  ToolCall call;
};
using OutputPieces = std::vector<OutputPiece>;

// By tool: names of the arguments that are strings, for forms that write those without quotes.
using StringArguments = std::map<std::string, std::vector<std::string>>;

class OutputReader {
 public:
  virtual ~OutputReader() = default;
  // `last`: nothing follows.
  virtual OutputPieces push(std::string_view text, bool last) = 0;
};

struct ReaderOptions {
  OutputForm form;
  bool tools = false;     // whether calls are read
  bool stream = false;    // calls come out while they are written
  bool thinking = false;  // the prompt has opened the reasoning already
  StringArguments string_arguments;
};
std::unique_ptr<OutputReader> make_output_reader(const ReaderOptions& options);

// The calls in a body, without the marks around it; empty where it is none. For tests, too.
std::vector<ToolCall> parse_calls(const ReaderOptions& options, std::string_view body);

}  // namespace conclave::serve
