#include "text/regex_syntax.h"

#include <utility>
#include <vector>

#include "base/error.h"
#include "text/char_class.h"
#include "text/utf8.h"

namespace conclave::text {
namespace {

constexpr int kMaxClassDepth = 16;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_class_escape(char c) { return std::string_view("sSwWdDhH").find(c) != std::string::npos; }

int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  std::string run() {
    if (!is_utf8(pattern_)) bad("is not UTF-8");
    while (!at_end()) {
      const char c = peek();
      if (c == '\\') {
        escape();
      } else if (c == '[') {
        char_class();
      } else if (c == '(') {
        group();
      } else if (c == '{') {
        brace();
      } else {
        out_.push_back(c);
        ++at_;
      }
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void bad(std::string_view what) const {
    fail(ErrorKind::kBadFile, "pattern '{}' {} (at byte {})", pattern_, what, at_);
  }
  [[noreturn]] void unsupported(std::string_view what) const {
    fail(ErrorKind::kUnsupported, "pattern '{}': {} is not supported (at byte {})", pattern_, what,
         at_);
  }

  bool at_end() const { return at_ >= pattern_.size(); }
  char peek(std::size_t ahead = 0) const {
    return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0';
  }
  bool eat(std::string_view text) {
    if (!pattern_.substr(at_).starts_with(text)) return false;
    at_ += text.size();
    return true;
  }
  std::string_view until(char stop) {
    const std::size_t end = pattern_.find(stop, at_);
    if (end == std::string_view::npos) bad("ends too early");
    const std::string_view result = pattern_.substr(at_, end - at_);
    at_ = end + 1;
    return result;
  }

  void literal(char32_t value) {
    out_ += fmt::format("\\x{{{:x}}}", static_cast<std::uint32_t>(value));
  }

  // \xHH, \x{H...}, \uHHHH after the letter.
  char32_t hex_escape(char letter) {
    std::string_view digits;
    if (letter == 'x' && eat("{")) {
      digits = until('}');
    } else {
      std::size_t n = 0;
      while (n < (letter == 'u' ? 4u : 2u) && hex_value(peek(n)) >= 0) ++n;
      if (letter == 'u' && n != 4) bad("has \\u without four digits");
      digits = pattern_.substr(at_, n);
      at_ += n;
      if (letter == 'x' && n == 2 && hex_value(digits[0]) >= 8) {
        unsupported("a byte above \\x7f");
      }
    }
    char32_t value = 0;
    for (const char digit : digits) {
      if (hex_value(digit) < 0 || value > kLastCodePoint) bad("has a bad hexadecimal character");
      value = value * 16 + static_cast<char32_t>(hex_value(digit));
    }
    if (value > kLastCodePoint || (value >= 0xd800 && value <= 0xdfff)) {
      bad("names a character that does not exist");
    }
    return value;
  }

  ClassTerm property(bool negated) {
    ++at_;  // '{'
    return property_term(until('}'), negated);
  }

  // One character that an escape stands for, inside or outside a class, after the letter.
  bool control_escape(char letter, char32_t& value) {
    switch (letter) {
      case 'n':
        value = '\n';
        return true;
      case 'r':
        value = '\r';
        return true;
      case 't':
        value = '\t';
        return true;
      case 'f':
        value = '\f';
        return true;
      case 'v':
        value = '\v';
        return true;
      case 'a':
        value = '\a';
        return true;
      case 'e':
        value = 0x1b;
        return true;
      case 'x':
      case 'u':
        value = hex_escape(letter);
        return true;
      default:
        return false;
    }
  }

  void escape() {
    ++at_;
    if (at_end()) bad("ends with a backslash");
    const char letter = peek();
    char32_t value = 0;
    if (is_class_escape(letter)) {
      ++at_;
      out_ += classes_.write(escape_term(letter));
    } else if ((letter == 'p' || letter == 'P') && peek(1) == '{') {
      ++at_;
      write_alone(property(letter == 'P'));
    } else if (letter == 'b' || letter == 'B') {
      ++at_;
      const std::string word = classes_.write(escape_term('w'));
      out_ += letter == 'b' ? fmt::format("(?:(?<={0})(?!{0})|(?<!{0})(?={0}))", word)
                            : fmt::format("(?:(?<={0})(?={0})|(?<!{0})(?!{0}))", word);
    } else if (std::string_view("gyYK").find(letter) != std::string::npos) {
      unsupported(fmt::format("\\{}", letter));
    } else if (letter == 'k' && peek(1) == '<') {
      out_ += "\\k<";
      at_ += 2;
    } else if (letter == 'O') {
      ++at_;
      out_ += "(?s:.)";
    } else if (is_digit(letter) || std::string_view("AzZGRXN").find(letter) != std::string::npos) {
      ++at_;
      out_ += {'\\', letter};
    } else {
      ++at_;
      if (control_escape(letter, value)) {
        literal(value);
      } else if (static_cast<unsigned char>(letter) < 0x80) {
        literal(static_cast<unsigned char>(letter));
      } else {
        out_.push_back(letter);  // the rest of the character follows
      }
    }
  }

  void write_alone(ClassTerm term) {
    CharClass whole;
    whole.operands.push_back({std::move(term)});
    out_ += classes_.write({std::move(whole)}, 0);
  }

  void group() {
    if (!eat("(?")) {
      out_.push_back('(');
      ++at_;
      return;
    }
    for (const std::string_view known : {":", "=", "!", ">", "<=", "<!"}) {
      if (eat(known)) {
        out_ += "(?";
        out_ += known;
        return;
      }
    }
    if (peek() == '#') {
      until(')');
      return;
    }
    if (peek() == '<') {
      const std::string_view name = until('>');
      out_ += "(?";
      out_ += name;
      out_.push_back('>');
      return;
    }
    std::string options;
    while (peek() == 'i' || peek() == 'm' || peek() == '-') {
      options.push_back(peek() == 'm' ? 's' : peek());
      ++at_;
    }
    if (peek() != ':' && peek() != ')') unsupported(fmt::format("a group (?{}", peek()));
    out_ += "(?" + options + peek();
    ++at_;
  }

  // {,n} means {0,n}; a quantifier with a + behind it repeats again rather than being possessive.
  void brace() {
    std::size_t n = 1;
    while (is_digit(peek(n)) || peek(n) == ',') ++n;
    const bool quantifier = n > 1 && peek(n) == '}';
    if (quantifier && peek(n + 1) == '+') unsupported("{n,m}+");
    if (quantifier && peek(1) == ',' && peek(2) != '}') {
      out_ += "{0,";
      at_ += 2;
      return;
    }
    out_ += quantifier ? "{" : "\\{";
    ++at_;
  }

  void char_class() {
    std::vector<CharClass> classes;
    parse_class(classes);
    out_ += classes_.write(classes, 0);
  }

  // From '[' on; the classes inside come behind it in `classes`. Returns its index.
  int parse_class(std::vector<CharClass>& classes) {
    if (++class_depth_ > kMaxClassDepth) unsupported("a class nested this deeply");
    const auto index = static_cast<int>(classes.size());
    classes.emplace_back();
    CharClass result;
    result.operands.emplace_back();
    ++at_;
    result.negated = eat("^");
    bool first = true;
    while (first || peek() != ']') {
      if (at_end()) bad("has a class without end");
      if (eat("&&")) {
        result.operands.emplace_back();
        first = false;
        continue;
      }
      result.operands.back().push_back(class_item(classes));
      first = false;
    }
    ++at_;
    for (const auto& operand : result.operands) {
      if (operand.empty()) bad("has an empty class");
    }
    classes[static_cast<std::size_t>(index)] = std::move(result);
    --class_depth_;
    return index;
  }

  ClassTerm class_item(std::vector<CharClass>& classes) {
    ClassTerm term;
    if (peek() == '[' && peek(1) == ':' && pattern_.find(":]", at_) != std::string_view::npos) {
      at_ += 2;
      const bool negated = eat("^");
      const std::string_view name = until(':');
      if (!eat("]")) bad("has a broken [:name:]");
      return posix_term(name, negated);
    }
    if (peek() == '[') {
      term.kind = ClassTerm::Kind::kClass;
      term.nested = parse_class(classes);
      return term;
    }
    if (peek() == '\\' && is_class_escape(peek(1))) {
      at_ += 2;
      return escape_term(pattern_[at_ - 1]);
    }
    if (peek() == '\\' && (peek(1) == 'p' || peek(1) == 'P') && peek(2) == '{') {
      at_ += 2;
      return property(pattern_[at_ - 1] == 'P');
    }
    const char32_t low = class_char();
    char32_t high = low;
    if (peek() == '-' && peek(1) != ']' && peek(1) != '\0' && peek(1) != '[' &&
        !(peek(1) == '\\' && (is_class_escape(peek(2)) || peek(2) == 'p' || peek(2) == 'P')) &&
        !(peek(1) == '&' && peek(2) == '&')) {
      ++at_;
      high = class_char();
      if (high < low) bad("has a range whose end is before its beginning");
    }
    term.ranges = {{low, high}};
    return term;
  }

  char32_t class_char() {
    if (at_end()) bad("has a class without end");
    if (peek() != '\\') {
      const Utf8Char character = decode_utf8(pattern_, at_);
      at_ += character.size;
      return character.value;
    }
    ++at_;
    if (at_end()) bad("ends with a backslash");
    const char letter = peek();
    char32_t value = 0;
    if (letter == 'b') {
      ++at_;
      return '\b';
    }
    if (is_digit(letter)) {
      int n = 0;
      while (n < 3 && peek() >= '0' && peek() <= '7') {
        value = value * 8 + static_cast<char32_t>(peek() - '0');
        ++at_;
        ++n;
      }
      if (n == 0 || value > 0x7f) unsupported("this octal character");
      return value;
    }
    if (is_letter(letter)) {
      ++at_;
      return control_escape(letter, value) ? value : static_cast<char32_t>(letter);
    }
    const Utf8Char character = decode_utf8(pattern_, at_);
    at_ += character.size;
    return character.value;
  }

  std::string_view pattern_;
  std::size_t at_ = 0;
  int class_depth_ = 0;
  std::string out_;
  ClassWriter classes_;
};

}  // namespace

std::string to_pcre2(std::string_view pattern) { return Translator(pattern).run(); }

}  // namespace conclave::text
