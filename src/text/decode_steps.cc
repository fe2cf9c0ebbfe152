#include "text/decode_steps.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/error.h"
#include "text/byte_alphabet.h"
#include "text/utf8.h"

namespace conclave::text {
namespace {

// Bytes of the byte alphabet. A token that is not spelled in it stands for itself, and so do added
// tokens, which are looked for in plain text.
class ByteLevelStep : public DecodeStep {
 public:
  void apply(TokenText& token) const override {
    if (token.added) return;
    if (auto bytes = from_alphabet(token.text)) token.text = std::move(*bytes);
  }
};

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

// <0xXX> is the byte XX.
class ByteFallbackStep : public DecodeStep {
 public:
  void apply(TokenText& token) const override {
    const std::string& text = token.text;
    if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return;
    const int high = hex_digit(text[3]);
    const int low = hex_digit(text[4]);
    if (high < 0 || low < 0) return;
    token.text.assign(1, static_cast<char>(high * 16 + low));
  }
};

// The space symbol becomes a space, or nothing in the first token.
class MetaspaceStep : public DecodeStep {
 public:
  MetaspaceStep(std::string symbol, bool prepended)
      : symbol_(std::move(symbol)), prepended_(prepended) {}
  void apply(TokenText& token) const override {
    const std::string_view space = token.first && prepended_ ? "" : " ";
    std::string out;
    std::size_t from = 0;
    for (std::size_t at; (at = token.text.find(symbol_, from)) != std::string::npos;) {
      out.append(token.text, from, at - from);
      out.append(space);
      from = at + symbol_.size();
    }
    out.append(token.text, from);
    token.text = std::move(out);
  }

 private:
  std::string symbol_;
  bool prepended_;
};

std::string replace_all(std::string_view text, std::string_view what, std::string_view with) {
  std::string out;
  std::size_t from = 0;
  for (std::size_t at; (at = text.find(what, from)) != std::string_view::npos;) {
    out.append(text.substr(from, at - from));
    out.append(with);
    from = at + what.size();
  }
  out.append(text.substr(from));
  return out;
}

class WordPieceStep : public DecodeStep {
 public:
  WordPieceStep(std::string prefix, bool cleanup) : prefix_(std::move(prefix)), cleanup_(cleanup) {}
  void apply(TokenText& token) const override {
    if (!token.first) {
      if (token.text.starts_with(prefix_)) {
        token.text.erase(0, prefix_.size());
      } else {
        token.text = std::string(1, ' ').append(token.text);
      }
    }
    if (!cleanup_) return;
    static constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kTidy{{
        {" .", "."},
        {" ?", "?"},
        {" !", "!"},
        {" ,", ","},
        {" ' ", "'"},
        {" n't", "n't"},
        {" 'm", "'m"},
        {" do not", " don't"},
        {" 's", "'s"},
        {" 've", "'ve"},
        {" 're", "'re"},
    }};
    for (const auto& [what, with] : kTidy) token.text = replace_all(token.text, what, with);
  }

 private:
  std::string prefix_;
  bool cleanup_;
};

// The end-of-word mark becomes a space, except at the end of the text.
class SuffixStep : public DecodeStep {
 public:
  explicit SuffixStep(std::string suffix) : suffix_(std::move(suffix)) {}
  void apply(TokenText& token) const override {
    token.text = replace_all(token.text, suffix_, token.last ? "" : " ");
  }
  bool looks_ahead() const override { return true; }

 private:
  std::string suffix_;
};

class StripStep : public DecodeStep {
 public:
  StripStep(char32_t content, std::int64_t start, std::int64_t stop)
      : content_(content), start_(start), stop_(stop) {}
  void apply(TokenText& token) const override {
    std::string_view text = token.text;
    for (std::int64_t i = 0; i < start_ && !text.empty(); ++i) {
      const Utf8Char c = decode_utf8(text, 0);
      if (c.value != content_) break;
      text.remove_prefix(c.size);
    }
    for (std::int64_t i = 0; i < stop_ && !text.empty(); ++i) {
      const Utf8Char c = decode_utf8_before(text, text.size());
      if (c.value != content_) break;
      text.remove_suffix(c.size);
    }
    token.text = std::string(text);
  }
  int only_strips_left() const override {
    return stop_ == 0 && start_ < (1 << 30) ? static_cast<int>(start_) : -1;
  }
  char32_t stripped() const override { return content_; }

 private:
  char32_t content_;
  std::int64_t start_;
  std::int64_t stop_;
};

class ReplaceStep : public DecodeStep {
 public:
  ReplaceStep(std::optional<Regex> regex, std::string what, std::string content)
      : regex_(std::move(regex)), what_(std::move(what)), content_(std::move(content)) {}
  void apply(TokenText& token) const override {
    if (!regex_) {
      token.text = replace_all(token.text, what_, content_);
      return;
    }
    RegexScratch scratch;
    std::vector<RegexPart> parts;
    regex_->split(token.text, 0, scratch, parts);
    std::string out;
    for (const RegexPart& part : parts) {
      if (part.match) {
        out += content_;
      } else {
        out.append(token.text, part.begin, part.end - part.begin);
      }
    }
    token.text = std::move(out);
  }

 private:
  std::optional<Regex> regex_;
  std::string what_;
  std::string content_;
};

std::unique_ptr<DecodeStep> make_replace(const JsonView& config) {
  const JsonView pattern = config.at("pattern");
  if (pattern.has("Regex")) {
    return std::make_unique<ReplaceStep>(Regex(pattern.text("Regex")), "", config.text("content"));
  }
  const std::string& what = pattern.text("String");
  // The empty string is found before every character; leave that to the pattern matcher.
  std::optional<Regex> regex;
  if (what.empty()) regex = Regex::literal(what);
  return std::make_unique<ReplaceStep>(std::move(regex), what, config.text("content"));
}

char32_t single_char(const JsonView& value) {
  const std::string& text = value.text();
  if (text.empty() || decode_utf8(text, 0).size != text.size()) value.wrong("one character");
  return decode_utf8(text, 0).value;
}

}  // namespace

std::unique_ptr<DecodeStep> make_decode_step(const std::string& type, const JsonView& config) {
  if (type == "ByteLevel") return std::make_unique<ByteLevelStep>();
  if (type == "ByteFallback") return std::make_unique<ByteFallbackStep>();
  if (type == "Metaspace") {
    const std::string symbol = config.text_or("replacement", "\xe2\x96\x81");
    if (symbol.empty()) config.at("replacement").wrong("one character");
    const bool never = config.text_or("prepend_scheme", "always") == "never" ||
                       !config.boolean_or("add_prefix_space", true);
    return std::make_unique<MetaspaceStep>(symbol, !never);
  }
  if (type == "WordPiece") {
    return std::make_unique<WordPieceStep>(config.text_or("prefix", "##"),
                                           config.boolean_or("cleanup", true));
  }
  if (type == "BPEDecoder") {
    std::string suffix = config.text_or("suffix", "</w>");
    if (suffix.empty()) config.at("suffix").wrong("a string that is not empty");
    return std::make_unique<SuffixStep>(std::move(suffix));
  }
  if (type == "Strip") {
    const std::int64_t start = config.integer_or("start", 0);
    const std::int64_t stop = config.integer_or("stop", 0);
    return std::make_unique<StripStep>(single_char(config.at("content")), start, stop);
  }
  if (type == "Replace") return make_replace(config);
  return nullptr;
}

}  // namespace conclave::text
