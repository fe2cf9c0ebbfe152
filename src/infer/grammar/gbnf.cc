#include "infer/grammar/gbnf.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>

#include "base/error.h"
#include "text/utf8.h"

namespace conclave::infer::grammar {

namespace {

constexpr int kMostRepeats = 100'000;

bool name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_';
}

class Parser {
 public:
  Parser(std::string_view text, Builder& builder) : text_(text), b_(builder) {}

  RuleId parse() {
    if (text_.size() > kMostGrammarBytes) {
      fail(ErrorKind::kInvalidArgument, "grammar: {} bytes, more than {}", text_.size(),
           kMostGrammarBytes);
    }
    if (!text::is_utf8(text_)) refuse("the text is not UTF-8");
    skip_space();
    if (at_ == text_.size()) refuse("there is no rule");
    while (at_ < text_.size()) rule();
    for (const auto& [name, rule] : rules_) {
      if (b_.rules()[static_cast<std::size_t>(rule)].body < 0) {
        fail(ErrorKind::kInvalidArgument, "grammar: the rule '{}' is not there",
             name.substr(0, 100));
      }
    }
    const auto root = rules_.find("root");
    if (root == rules_.end())
      fail(ErrorKind::kInvalidArgument, "grammar: the rule 'root' is not there");
    return root->second;
  }

 private:
  struct Frame {
    std::vector<ExprId> choices, sequence;
    bool repeatable = false;
  };

  [[noreturn]] void refuse(const std::string& what) const {
    const auto line =
        std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(at_), '\n');
    fail(ErrorKind::kInvalidArgument, "grammar, line {}: {}", line + 1, what);
  }
  char peek(std::size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }

  void skip_space() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '#') {
        while (at_ < text_.size() && text_[at_] != '\n') ++at_;
      } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
        ++at_;
      } else {
        break;
      }
    }
  }

  std::string name() {
    const std::size_t begin = at_;
    while (name_char(peek())) ++at_;
    return std::string(text_.substr(begin, at_ - begin));
  }

  // Whether a rule begins here.
  bool rule_begins() {
    const std::size_t begin = at_;
    const bool named = !name().empty();
    skip_space();
    const bool defines = named && text_.substr(at_, 3) == "::=";
    at_ = begin;
    return defines;
  }

  RuleId rule_named(const std::string& name) {
    const auto [place, is_new] = rules_.try_emplace(name, -1);
    if (is_new) place->second = b_.add_rule(name);
    return place->second;
  }

  void rule() {
    if (!rule_begins()) refuse("expected a rule: name ::= body");
    const RuleId id = rule_named(name());
    if (b_.rules()[static_cast<std::size_t>(id)].body >= 0) refuse("this rule is there already");
    skip_space();
    at_ += 3;
    frames_.assign(1, {});
    for (skip_space(); at_ < text_.size(); skip_space()) {
      if (name_char(peek()) && rule_begins()) break;
      item();
    }
    if (frames_.size() > 1) refuse("a group is not closed");
    end_alternative();
    b_.define(id, b_.alt(std::move(frames_.back().choices)));
  }

  void end_alternative() {
    Frame& frame = frames_.back();
    frame.choices.push_back(b_.seq(std::move(frame.sequence)));
    frame.sequence.clear();
    frame.repeatable = false;
  }

  void add(ExprId expr) {
    frames_.back().sequence.push_back(expr);
    frames_.back().repeatable = true;
  }

  void quantify(int min, int max) {
    Frame& frame = frames_.back();
    if (!frame.repeatable) refuse("nothing to repeat");
    frame.sequence.back() = b_.repeat(frame.sequence.back(), min, max);
  }

  void item() {
    const char c = peek();
    if (name_char(c)) return add(b_.call(rule_named(name())));
    ++at_;
    switch (c) {
      case '"':
        return add(b_.bytes(literal()));
      case '[':
        return add(char_class());
      case '.':
        return add(b_.chars({{0, text::kLastCodePoint}}));
      case '<':
        return add(b_.special_token(token()));
      case '(':
        frames_.emplace_back();
        return;
      case ')': {
        if (frames_.size() == 1) refuse("a ) without its (");
        end_alternative();
        const ExprId group = b_.alt(std::move(frames_.back().choices));
        frames_.pop_back();
        return add(group);
      }
      case '|':
        return end_alternative();
      case '*':
        return quantify(0, -1);
      case '+':
        return quantify(1, -1);
      case '?':
        return quantify(0, 1);
      case '{':
        return braces();
      default:
        --at_;
        refuse(fmt::format("'{}' is not expected here", c));
    }
  }

  std::optional<int> number() {
    int value = 0;
    const std::size_t begin = at_;
    for (; peek() >= '0' && peek() <= '9'; ++at_) {
      value = value * 10 + (peek() - '0');
      if (value > (1 << 24)) refuse("this number is too large");
    }
    return at_ == begin ? std::nullopt : std::optional<int>(value);
  }

  void braces() {
    skip_space();
    const std::optional<int> min = number();
    std::optional<int> max = min;
    skip_space();
    if (peek() == ',') {
      ++at_;
      skip_space();
      max = number();
      if (!max) max = -1;
      skip_space();
    }
    if (!max || peek() != '}') refuse("expected {m}, {m,}, {,n} or {m,n}");
    ++at_;
    if (*max > kMostRepeats || min.value_or(0) > kMostRepeats) {
      refuse(fmt::format("more than {} repetitions", kMostRepeats));
    }
    if (*max >= 0 && *max < min.value_or(0)) refuse("a repetition with the larger number first");
    quantify(min.value_or(0), *max);
  }

  std::int32_t token() {
    if (peek() != '[') refuse("expected <[ID]>");
    ++at_;
    const std::optional<int> id = number();
    if (!id || peek() != ']' || peek(1) != '>') refuse("expected <[ID]>");
    at_ += 2;
    return *id;
  }

  char32_t hex(int digits) {
    char32_t value = 0;
    for (int i = 0; i < digits; ++i, ++at_) {
      const char c = peek();
      const int lower = c | 32;
      if (c >= '0' && c <= '9')
        value = value * 16 + static_cast<char32_t>(c - '0');
      else if (lower >= 'a' && lower <= 'f')
        value = value * 16 + static_cast<char32_t>(lower - 'a' + 10);
      else
        refuse("a hexadecimal digit is missing");
    }
    if (value > text::kLastCodePoint || (value >= 0xd800 && value < 0xe000)) refuse("no character");
    return value;
  }

  char32_t character() {
    if (at_ >= text_.size()) refuse("a text or class is not closed");
    if (peek() != '\\') {
      const text::Utf8Char c = text::decode_utf8(text_, at_);
      at_ += c.size;
      return c.value;
    }
    ++at_;
    const char c = peek();
    ++at_;
    switch (c) {
      case 'n':
        return '\n';
      case 't':
        return '\t';
      case 'r':
        return '\r';
      case 'x':
        return hex(2);
      case 'u':
        return hex(4);
      case 'U':
        return hex(8);
      case '\\':
      case '"':
      case '[':
      case ']':
      case '-':
      case '^':
      case '/':
        return static_cast<char32_t>(c);
      default:
        refuse("an escape that is not known");
    }
  }

  std::string literal() {
    std::string value;
    while (peek() != '"' || at_ >= text_.size()) text::append_utf8(value, character());
    ++at_;
    return value;
  }

  ExprId char_class() {
    const bool negated = peek() == '^';
    if (negated) ++at_;
    text::CodePoints set;
    while (peek() != ']' || at_ >= text_.size()) {
      const char32_t first = character();
      char32_t last = first;
      if (peek() == '-' && peek(1) != ']') {
        ++at_;
        last = character();
        if (last < first) refuse("a range with the larger character first");
      }
      set.push_back({first, last});
    }
    ++at_;
    set = text::normalized(std::move(set));
    return b_.chars(negated ? text::complement(set) : set);
  }

  std::string_view text_;
  Builder& b_;
  std::size_t at_ = 0;
  std::map<std::string, RuleId> rules_;
  std::vector<Frame> frames_;
};

}  // namespace

RuleId parse_gbnf(std::string_view text, Builder& builder) { return Parser(text, builder).parse(); }

}  // namespace conclave::infer::grammar
