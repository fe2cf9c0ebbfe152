#include "text/jinja/lexer.h"

#include <algorithm>
#include <array>

#include "text/jinja/string_literal.h"
#include "text/jinja/unicode.h"
#include "text/utf8.h"

namespace conclave::text::jinja {

void syntax_error(const std::string& name, Position position, const std::string& message) {
  fail(ErrorKind::kBadFile, "{}, line {}, column {}: {}", name, position.line, position.column,
       message);
}

std::string describe(const Token& token) {
  switch (token.type) {
    case TokenType::kEnd:
      return "end of template";
    case TokenType::kData:
      return "template text";
    case TokenType::kVariableBegin:
      return "'{{'";
    case TokenType::kVariableEnd:
      return "'}}'";
    case TokenType::kBlockBegin:
      return "'{%'";
    case TokenType::kBlockEnd:
      return "'%}'";
    case TokenType::kString:
      return "a string";
    default:
      return "'" + token.text + "'";
  }
}

namespace {

// The delimiters that have an opening sign: what follows "{".
enum class Tag { kVariable, kBlock, kComment };

class Lexer {
 public:
  Lexer(std::string source, const std::string& name) : source_(std::move(source)), name_(name) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) root();
    emit(TokenType::kEnd, "");
    return std::move(tokens_);
  }

 private:
  // Text up to the next tag, and the tag.
  void root() {
    const std::size_t begin = at_;
    const std::size_t open = find_tag(begin);
    if (open == std::string::npos) {
      emit(TokenType::kData, source_.substr(begin));
      at_ = source_.size();
      return;
    }
    const Tag tag = source_[open + 1] == '{'   ? Tag::kVariable
                    : source_[open + 1] == '%' ? Tag::kBlock
                                               : Tag::kComment;
    at_ = open + 2;
    const char sign = take_sign();
    data(begin, open, sign, tag != Tag::kVariable);
    if (tag == Tag::kComment) {
      comment(open);
    } else if (tag == Tag::kBlock && raw_begins()) {
      raw(open);
    } else {
      move_position(open);
      emit_here(tag == Tag::kBlock ? TokenType::kBlockBegin : TokenType::kVariableBegin);
      inside(tag == Tag::kBlock, open);
    }
    line_starting_ = at_ > 0 && source_[at_ - 1] == '\n';
  }

  std::size_t find_tag(std::size_t from) const {
    for (std::size_t at = source_.find('{', from); at != std::string::npos;
         at = source_.find('{', at + 1)) {
      const char next = at + 1 < source_.size() ? source_[at + 1] : '\0';
      if (next == '{' || next == '%' || next == '#') return at;
    }
    return std::string::npos;
  }

  char take_sign() {
    const char c = at_ < source_.size() ? source_[at_] : '\0';
    if (c != '-' && c != '+') return '\0';
    ++at_;
    return c;
  }

  // The text [begin, end) before a tag with this sign.
  void data(std::size_t begin, std::size_t end, char sign, bool lstrip) {
    std::size_t stop = end;
    if (sign == '-') {
      stop = rstrip_end(source_, begin, end);
    } else if (sign != '+' && lstrip) {
      const std::size_t newline = std::string_view(source_).substr(begin, end - begin).rfind('\n');
      const std::size_t line = newline == std::string::npos ? begin : begin + newline + 1;
      const bool at_line_start = newline != std::string::npos || line_starting_;
      if (at_line_start && rstrip_end(source_, line, end) == line) stop = line;
    }
    if (stop == begin) return;
    move_position(begin);
    emit_here(TokenType::kData, source_.substr(begin, stop - begin));
  }

  void comment(std::size_t open) {
    const std::size_t end = source_.find("#}", at_);
    if (end == std::string::npos) error(open, "this comment has no end '#}'");
    const char sign = end > at_ ? source_[end - 1] : '\0';
    at_ = end + 2;
    if (sign == '-') {
      skip_space();
    } else if (sign != '+') {
      skip_newline();
    }
  }

  // At "raw %}" or "raw -%}": moves behind it.
  bool raw_begins() {
    std::size_t at = lstrip_begin(source_, at_, source_.size());
    if (source_.compare(at, 3, "raw") != 0) return false;
    at = lstrip_begin(source_, at + 3, source_.size());
    if (source_.compare(at, 3, "-%}") == 0) {
      at_ = at + 3;
      skip_space();
      return true;
    }
    if (source_.compare(at, 2, "%}") != 0) return false;
    at_ = at + 2;
    return true;
  }

  void raw(std::size_t open) {
    const std::size_t begin = at_;
    line_starting_ = source_[at_ - 1] == '\n';
    for (std::size_t end = source_.find("{%", begin); end != std::string::npos;
         end = source_.find("{%", end + 1)) {
      at_ = end + 2;
      const char sign = take_sign();
      std::size_t at = lstrip_begin(source_, at_, source_.size());
      if (source_.compare(at, 6, "endraw") != 0) continue;
      at = lstrip_begin(source_, at + 6, source_.size());
      const bool has_sign = at < source_.size() && (source_[at] == '-' || source_[at] == '+');
      if (source_.compare(at + has_sign, 2, "%}") != 0) continue;
      data(begin, end, sign, true);
      at_ = at + has_sign + 2;
      if (has_sign && source_[at] == '-') {
        skip_space();
      } else if (!has_sign) {
        skip_newline();
      }
      return;
    }
    error(open, "this raw block has no endraw");
  }

  // Tokens between {{ and }} or {% and %}.
  void inside(bool block, std::size_t open) {
    const char end = block ? '%' : '}';
    for (;;) {
      at_ = lstrip_begin(source_, at_, source_.size());
      if (at_ >= source_.size()) {
        error(open, block ? "this block has no end '%}'" : "this expression has no end '}}'");
      }
      if (brackets_.empty() && tag_ends(block, end)) return;
      move_position(at_);
      token();
    }
  }

  bool tag_ends(bool block, char end) {
    const bool minus = source_[at_] == '-';
    const bool plus = block && source_[at_] == '+';
    const std::size_t at = at_ + (minus || plus);
    if (at + 1 >= source_.size() || source_[at] != end || source_[at + 1] != '}') return false;
    move_position(at_);
    emit_here(block ? TokenType::kBlockEnd : TokenType::kVariableEnd);
    at_ = at + 2;
    if (minus) {
      skip_space();
    } else if (block && !plus) {
      skip_newline();
    }
    return true;
  }

  void token() {
    const char c = source_[at_];
    if (is_digit(c)) {
      number();
    } else if (c == '\'' || c == '"') {
      string(c);
    } else if (const std::size_t end = name_end(source_, at_); end > at_) {
      std::string text = source_.substr(at_, end - at_);
      if (!is_identifier(text)) error(at_, "'" + text + "' is not a name");
      emit_here(TokenType::kName, std::move(text));
      at_ = end;
    } else {
      operator_token();
    }
  }

  static bool is_digit(char c) { return c >= '0' && c <= '9'; }

  // Digits of `base` that may have single underscores between them; moves `at` behind them.
  std::string digits(std::size_t& at, int base, bool underscore_first = false) const {
    const auto value = [](char c) {
      if (is_digit(c)) return c - '0';
      const int letter = (c | 0x20) - 'a';
      return letter >= 0 && letter < 6 ? letter + 10 : 99;
    };
    std::string out;
    while (at < source_.size()) {
      const bool underscore =
          source_[at] == '_' && (!out.empty() || underscore_first) && at + 1 < source_.size();
      const char c = underscore ? source_[at + 1] : source_[at];
      if (value(c) >= base) break;
      out.push_back(c);
      at += underscore ? 2 : 1;
    }
    return out;
  }

  void number() {
    if (float_number()) return;
    std::size_t at = at_;
    std::string text;
    const char kind = source_[at_] == '0' && at_ + 1 < source_.size()
                          ? static_cast<char>(source_[at_ + 1] | 0x20)
                          : '\0';
    if (kind == 'b' || kind == 'o' || kind == 'x') {
      at += 2;
      const std::string found = digits(at, kind == 'b' ? 2 : kind == 'o' ? 8 : 16, true);
      if (!found.empty()) text = std::string("0") + kind + found;
    }
    if (text.empty()) {
      at = at_;
      // A number that begins with 0 is all zeros; what follows is the next token.
      text = digits(at, source_[at_] == '0' ? 1 : 10);
    }
    emit_here(TokenType::kInteger, std::move(text));
    at_ = at;
  }

  bool float_number() {
    if (at_ > 0 && source_[at_ - 1] == '.') return false;
    std::size_t at = at_;
    std::string text = digits(at, 10);
    bool is_float = false;
    if (at + 1 < source_.size() && source_[at] == '.' && is_digit(source_[at + 1])) {
      ++at;
      text += '.' + digits(at, 10);
      is_float = true;
    }
    if (at < source_.size() && (source_[at] | 0x20) == 'e') {
      std::size_t next = at + 1;
      std::string exponent = "e";
      if (next < source_.size() && (source_[next] == '+' || source_[next] == '-')) {
        exponent += source_[next++];
      }
      if (next < source_.size() && is_digit(source_[next])) {
        text += exponent + digits(next, 10);
        at = next;
        is_float = true;
      }
    }
    if (!is_float) return false;
    emit_here(TokenType::kFloat, std::move(text));
    at_ = at;
    return true;
  }

  void string(char quote) {
    std::size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) error(at_, "this string has no end");
    std::string value;
    const std::string_view inner = std::string_view(source_).substr(at_ + 1, end - at_ - 1);
    if (const char* problem = unescape_literal(inner, value)) error(at_, problem);
    emit_here(TokenType::kString, std::move(value));
    at_ = end + 1;
  }

  void operator_token() {
    static constexpr std::array<std::string_view, 25> kOperators = {
        "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ","};
    for (const std::string_view op : kOperators) {
      if (source_.compare(at_, op.size(), op) != 0) continue;
      balance(op[0]);
      emit_here(TokenType::kOperator, std::string(op));
      at_ += op.size();
      return;
    }
    const Utf8Char c = decode_utf8(source_, at_);
    error(at_, "unexpected character '" + source_.substr(at_, c.size) + "'");
  }

  void balance(char c) {
    if (c == '(' || c == '[' || c == '{') {
      brackets_.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
    } else if (c == ')' || c == ']' || c == '}') {
      if (brackets_.empty()) error(at_, fmt::format("unexpected '{}'", c));
      if (brackets_.back() != c) {
        error(at_, fmt::format("unexpected '{}', expected '{}'", c, brackets_.back()));
      }
      brackets_.pop_back();
    }
  }

  void skip_space() { at_ = lstrip_begin(source_, at_, source_.size()); }
  void skip_newline() {
    if (at_ < source_.size() && source_[at_] == '\n') ++at_;
  }

  // Positions only move forwards, so that counting lines is linear.
  void move_position(std::size_t to) {
    for (; counted_ < to; ++counted_) {
      if (source_[counted_] == '\n') {
        ++position_.line;
        position_.column = 1;
      } else {
        ++position_.column;
      }
    }
  }

  void emit_here(TokenType type, std::string text = "") {
    tokens_.push_back({type, position_, std::move(text)});
  }
  void emit(TokenType type, std::string text) {
    move_position(at_);
    emit_here(type, std::move(text));
  }

  [[noreturn]] void error(std::size_t at, const std::string& message) {
    if (at < counted_) {
      position_ = {};
      counted_ = 0;
    }
    move_position(at);
    syntax_error(name_, position_, message);
  }

  std::string source_;
  const std::string& name_;
  std::size_t at_ = 0;
  bool line_starting_ = true;
  std::vector<char> brackets_;  // the closing ones that are awaited
  std::size_t counted_ = 0;
  Position position_;
  std::vector<Token> tokens_;
};

// \r\n and \r become \n, and one newline at the end goes away.
std::string with_plain_newlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out.push_back('\n');
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out.push_back(source[i]);
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

}  // namespace

std::vector<Token> tokenize(std::string_view source, const std::string& name) {
  if (!is_utf8(source)) {
    fail(ErrorKind::kBadFile, "{}: not UTF-8 at byte {}", name, utf8_prefix(source));
  }
  return Lexer(with_plain_newlines(source), name).run();
}

}  // namespace conclave::text::jinja
