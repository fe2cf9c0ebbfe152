#include "serve/tools/python_call.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/json.h"
#include "text/utf8.h"

namespace conclave::serve {

namespace {

constexpr std::size_t kDeepest = 64;

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  std::vector<ToolCall> parse() {
    std::vector<ToolCall> calls;
    expect('[');
    while (ok_) {
      calls.push_back(call());
      if (!take(',')) break;
    }
    expect(']');
    skip();
    if (!ok_ || at_ != text_.size()) calls.clear();
    return calls;
  }

 private:
  void skip() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t'))
      ++at_;
  }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char c) {
    skip();
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) { ok_ = take(c) && ok_; }

  std::string name() {
    skip();
    const std::size_t begin = at_;
    const auto part = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             c == '_' || c == '.' || c == '-';
    };
    while (part(peek())) ++at_;
    ok_ = ok_ && at_ > begin;
    return std::string(text_.substr(begin, at_ - begin));
  }

  ToolCall call() {
    ToolCall made{name(), "{", ""};
    expect('(');
    for (bool first = true; ok_ && !take(')'); first = false) {
      if (!first) expect(',');
      const std::string key = name();
      expect('=');
      made.arguments += (first ? "" : ",") + io::json_quote(key) + ":" + value();
    }
    made.arguments += '}';
    return made;
  }

  // A literal as JSON; lists and dicts that are open are on a stack.
  std::string value() {
    std::string out;
    std::vector<char> open;
    while (ok_) {
      skip();
      const char c = peek();
      if (c == '[' || c == '{') {
        ok_ = open.size() < kDeepest;
        ++at_;
        out += c;
        open.push_back(c == '[' ? ']' : '}');
        if (!take(open.back())) {
          if (c == '{') key(out);
          continue;
        }
        out += open.back();
        open.pop_back();
      } else {
        out += c == '"' || c == '\'' ? string() : word();
      }
      while (ok_ && !open.empty() && take(open.back())) {
        out += open.back();
        open.pop_back();
      }
      if (open.empty()) return out;
      expect(',');
      out += ',';
      if (open.back() == '}') key(out);
    }
    return out;
  }

  void key(std::string& out) {
    skip();
    ok_ = ok_ && (peek() == '"' || peek() == '\'');
    if (ok_) out += string() + ":";
    expect(':');
  }

  std::string string() {
    const char quote = text_[at_++];
    std::string value;
    while (at_ < text_.size() && text_[at_] != quote) {
      char c = text_[at_++];
      if (c == '\\' && at_ < text_.size()) {
        c = text_[at_++];
        if (c == 'n')
          c = '\n';
        else if (c == 't')
          c = '\t';
        else if (c == 'r')
          c = '\r';
      }
      value += c;
    }
    if (at_ < text_.size()) {
      ++at_;
    } else {
      ok_ = false;
    }
    return io::json_quote(text::to_valid_utf8(value));
  }

  std::string word() {
    std::string text;
    if (peek() == '-' || peek() == '+') text += text_[at_++];
    text += name();
    if (text == "True" || text == "true") return "true";
    if (text == "False" || text == "false") return "false";
    if (text == "None" || text == "null") return "null";
    if (text.starts_with('+')) text.erase(0, 1);
    try {
      io::parse_json(text, "number");
    } catch (const Error&) {
      ok_ = false;
    }
    return text;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  bool ok_ = true;
};

}  // namespace

std::vector<ToolCall> python_calls(std::string_view text) { return Parser(text).parse(); }

}  // namespace conclave::serve
