#include "infer/grammar/pattern.h"

#include <optional>
#include <string>

#include "base/error.h"
#include "text/utf8.h"

namespace conclave::infer::grammar {

namespace {

constexpr std::size_t kLongestPattern = 4096;
constexpr int kMostRepeats = 10'000;

const text::CodePoints kDigits = {{'0', '9'}};
const text::CodePoints kWord = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
const text::CodePoints kSpace = {{'\t', '\r'}, {' ', ' '}};
const text::CodePoints kLineEnds = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

// Whatever one of the languages takes for white space: Unicode's, ECMAScript's and Python's.
text::CodePoints all_spaces() {
  text::CodePoints set(text::white_space().begin(), text::white_space().end());
  set.push_back({0x1c, 0x1f});
  set.push_back({0xfeff, 0xfeff});
  return text::normalized(std::move(set));
}

class Parser {
 public:
  Parser(std::string_view pattern, JsonParts& parts) : parts_(parts), b_(parts.builder()) {
    if (pattern.size() > kLongestPattern) {
      fail(ErrorKind::kInvalidArgument, "pattern: {} bytes, more than {}", pattern.size(),
           kLongestPattern);
    }
    for (std::size_t i = 0; i < pattern.size();) {
      const text::Utf8Char c = text::decode_utf8(pattern, i);
      chars_.push_back(c.value);
      i += c.size;
    }
  }

  ExprId parse() {
    frames_.emplace_back();
    while (at_ < chars_.size()) item();
    if (frames_.size() > 1) refuse("a group is not closed");
    end_alternative();
    return b_.alt(std::move(frames_.back().choices));
  }

 private:
  struct Frame {
    std::vector<ExprId> choices, sequence;
    bool repeatable = false;  // the last part may get a quantifier
    bool anchored_start = false, anchored_end = false;
  };

  [[noreturn]] void refuse(const std::string& what) const {
    fail(ErrorKind::kInvalidArgument, "pattern: {} at character {}", what, at_);
  }
  bool next_is(char32_t c, std::size_t ahead = 0) const {
    return at_ + ahead < chars_.size() && chars_[at_ + ahead] == c;
  }

  void item() {
    const char32_t c = chars_[at_];
    Frame& frame = frames_.back();
    if (frame.anchored_end && c != '|') refuse("something follows $");
    switch (c) {
      case '(':
        return open();
      case ')':
        return close();
      case '|':
        ++at_;
        return end_alternative();
      case '^':
        if (frames_.size() > 1 || !frame.sequence.empty())
          refuse("^ is supported at the beginning only:");
        frame.anchored_start = true;
        ++at_;
        return;
      case '$':
        if (frames_.size() > 1) refuse("$ is supported at the end only:");
        frame.anchored_end = true;
        ++at_;
        return;
      case '*':
        ++at_;
        return quantify(0, -1);
      case '+':
        ++at_;
        return quantify(1, -1);
      case '?':
        ++at_;
        return quantify(0, 1);
      case '{':
        if (braces()) return;
        break;
      case '[':
        ++at_;
        return add(char_class());
      case '.':
        ++at_;
        return add(text::complement(kLineEnds));
      case '\\':
        ++at_;
        return add(escape(false));
      default:
        break;
    }
    ++at_;
    add({{c, c}});
  }

  void add(const text::CodePoints& set) { add_expr(parts_.string_char(set)); }
  void add_expr(ExprId expr) {
    frames_.back().sequence.push_back(expr);
    frames_.back().repeatable = true;
  }

  void open() {
    ++at_;
    if (next_is('?')) {
      if (next_is(':', 1)) {
        at_ += 2;
      } else if (next_is('<', 1) && !next_is('=', 2) && !next_is('!', 2)) {
        while (at_ < chars_.size() && chars_[at_] != '>') ++at_;
        ++at_;
      } else {
        refuse("look-around and flags are not supported:");
      }
    }
    frames_.emplace_back();
  }

  void close() {
    if (frames_.size() == 1) refuse("a ) without its (");
    ++at_;
    end_alternative();
    const ExprId group = b_.alt(std::move(frames_.back().choices));
    frames_.pop_back();
    add_expr(group);
  }

  // Outside of ^ and $ anything may stand.
  void end_alternative() {
    Frame& frame = frames_.back();
    if (frames_.size() == 1) {
      const ExprId anything = b_.repeat(parts_.string_char(), 0, -1);
      if (!frame.anchored_start) frame.sequence.insert(frame.sequence.begin(), anything);
      if (!frame.anchored_end) frame.sequence.push_back(anything);
    }
    frame.choices.push_back(b_.seq(std::move(frame.sequence)));
    frame.sequence.clear();
    frame.repeatable = frame.anchored_start = frame.anchored_end = false;
  }

  void quantify(int min, int max) {
    Frame& frame = frames_.back();
    if (!frame.repeatable) refuse("nothing to repeat");
    if (next_is('?')) ++at_;  // lazy: the same texts
    frame.sequence.back() = b_.repeat(frame.sequence.back(), min, max);
    frame.repeatable = false;
  }

  std::optional<int> number() {
    int value = 0;
    const std::size_t begin = at_;
    for (; at_ < chars_.size() && chars_[at_] >= '0' && chars_[at_] <= '9'; ++at_) {
      value = value * 10 + static_cast<int>(chars_[at_] - '0');
      if (value > kMostRepeats) refuse("more than 10000 repetitions");
    }
    return at_ == begin ? std::nullopt : std::optional<int>(value);
  }

  // {m}, {m,} or {m,n}; anything else is text.
  bool braces() {
    const std::size_t begin = at_++;
    const std::optional<int> min = number();
    std::optional<int> max = min;
    if (min && next_is(',')) {
      ++at_;
      max = number();
      if (!max) max = -1;
    }
    if (!min || !next_is('}')) {
      at_ = begin;
      return false;
    }
    ++at_;
    if (*max >= 0 && *max < *min) refuse("a repetition with the larger number first");
    quantify(*min, *max);
    return true;
  }

  char32_t hex(int digits) {
    char32_t value = 0;
    for (int i = 0; i < digits; ++i, ++at_) {
      const char32_t c = at_ < chars_.size() ? chars_[at_] : 0;
      if (c >= '0' && c <= '9')
        value = value * 16 + (c - '0');
      else if ((c | 32) >= 'a' && (c | 32) <= 'f')
        value = value * 16 + ((c | 32) - 'a' + 10);
      else
        refuse("a hexadecimal digit is missing");
    }
    return value;
  }

  // Behind a backslash.
  text::CodePoints escape(bool in_class) {
    if (at_ >= chars_.size()) refuse("nothing follows \\");
    const char32_t c = chars_[at_++];
    const auto one = [](char32_t v) { return text::CodePoints{{v, v}}; };
    switch (c) {
      case 'd':
        return kDigits;
      case 'D':
        return text::complement(kDigits);
      case 'w':
        return kWord;
      case 'W':
        return text::complement(kWord);
      case 's':
        return kSpace;
      case 'S':
        return text::complement(all_spaces());
      case 't':
        return one('\t');
      case 'n':
        return one('\n');
      case 'r':
        return one('\r');
      case 'f':
        return one('\f');
      case 'v':
        return one('\v');
      case 'x':
        return one(hex(2));
      case 'u':
        return one(hex(4));
      default:
        break;
    }
    if (in_class && c == 'b') return one('\b');
    const bool plain = c < 0x80 && !((c | 32) >= 'a' && (c | 32) <= 'z') && !(c >= '0' && c <= '9');
    if (!plain) {
      std::string shown;
      text::append_utf8(shown, c == text::kInvalidChar ? '?' : c);
      refuse("\\" + shown + " is not supported:");
    }
    return one(c);
  }

  text::CodePoints char_class() {
    const bool negated = next_is('^');
    if (negated) ++at_;
    text::CodePoints set;
    if (next_is(']')) refuse("an empty class");
    while (!next_is(']')) {
      if (at_ >= chars_.size()) refuse("a [ without its ]");
      const text::CodePoints first = class_item();
      const bool range = next_is('-') && at_ + 1 < chars_.size() && chars_[at_ + 1] != ']';
      if (range) {
        ++at_;
        const text::CodePoints last = class_item();
        const bool singles = first.size() == 1 && first[0].first == first[0].last &&
                             last.size() == 1 && last[0].first == last[0].last;
        if (!singles || last[0].first < first[0].first) refuse("a range that is none");
        set.push_back({first[0].first, last[0].first});
      } else {
        set.insert(set.end(), first.begin(), first.end());
      }
    }
    ++at_;
    set = text::normalized(std::move(set));
    return negated ? text::complement(set) : set;
  }

  text::CodePoints class_item() {
    const char32_t c = chars_[at_++];
    if (c == '\\') return escape(true);
    return {{c, c}};
  }

  JsonParts& parts_;
  Builder& b_;
  std::vector<char32_t> chars_;
  std::size_t at_ = 0;
  std::vector<Frame> frames_;
};

}  // namespace

ExprId compile_pattern(std::string_view pattern, JsonParts& parts) {
  return Parser(pattern, parts).parse();
}

}  // namespace conclave::infer::grammar
