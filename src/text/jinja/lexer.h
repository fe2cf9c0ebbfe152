// Template text to tokens, as jinja2 3.1 does it with trim_blocks and lstrip_blocks (the settings
// of transformers): line ends become \n, one newline at the end of the text is dropped, - and + at
// delimiters control white space, raw blocks and comments are resolved here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/runtime.h"

namespace conclave::text::jinja {

enum class TokenType : std::uint8_t {
  kData,  // text outside of delimiters
  kVariableBegin,
  kVariableEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,  // text is one of + - / // * % ** ~ [ ] ( ) { } == != > >= < <= = . : | , ;
  kEnd,
};

struct Token {
  TokenType type = TokenType::kEnd;
  Position position;
  std::string text;  // data; the name; the value of a string; digits without underscores
  bool is_name(std::string_view name) const { return type == TokenType::kName && text == name; }
  bool is_operator(std::string_view op) const { return type == TokenType::kOperator && text == op; }
};

// As errors call it: "end of template", "'foo'".
std::string describe(const Token& token);

// `name` stands for the template in messages. Throws Error(kBadFile) for text that is not UTF-8 and
// for what jinja2 refuses. The last token is kEnd.
std::vector<Token> tokenize(std::string_view source, const std::string& name);

// Throws Error(kBadFile) "NAME, line L, column C: MESSAGE".
[[noreturn]] void syntax_error(const std::string& name, Position position,
                               const std::string& message);

}  // namespace conclave::text::jinja
