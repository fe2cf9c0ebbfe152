// Normalizers that edit plain text: Replace, Prepend, Strip, Lowercase, ByteLevel, Nmt.
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "text/byte_alphabet.h"
#include "text/code_points.h"
#include "text/normalizer.h"
#include "text/unicode_sets.h"
#include "text/utf8.h"

namespace conclave::text {
namespace {

// A plain string or a pattern, replaced by a string.
class ReplaceNormalizer : public Normalizer {
 public:
  ReplaceNormalizer(Regex regex, std::string what, std::string content)
      : regex_(std::move(regex)), what_(std::move(what)), content_(std::move(content)) {}

  void apply(NormalText& text, RegexScratch& scratch) const override {
    if (!what_.empty() && text.text.find(what_) == std::string::npos) return;
    std::vector<RegexPart> parts;
    regex_.split(text.text, 0, scratch, parts);
    std::size_t matches = 0;
    for (const RegexPart& part : parts) matches += part.match ? 1 : 0;
    if (matches == 0) return;
    // Where the beginning is replaced, the new text counts as standing where the last of the old
    // characters stood.
    const RegexPart& front = parts.front();
    if (front.match && front.end > 0) {
      const bool one_char = decode_utf8(text.text, 0).size == front.end;
      text.at_start = text.at_start && one_char && !content_.empty();
    }
    std::string out;
    out.reserve(text.text.size());
    for (const RegexPart& part : parts) {
      if (part.match) {
        out += content_;
        check_growth(out.size());
      } else {
        out.append(text.text, part.begin, part.end - part.begin);
      }
    }
    text.text = std::move(out);
  }

 private:
  Regex regex_;
  std::string what_;  // empty for a pattern
  std::string content_;
};

class PrependNormalizer : public Normalizer {
 public:
  explicit PrependNormalizer(std::string what) : what_(std::move(what)) {}
  void apply(NormalText& text, RegexScratch&) const override {
    if (!text.text.empty()) text.text = what_ + text.text;
  }

 private:
  std::string what_;
};

class StripNormalizer : public Normalizer {
 public:
  StripNormalizer(bool left, bool right) : left_(left), right_(right) {}
  void apply(NormalText& text, RegexScratch&) const override {
    std::string_view view = text.text;
    while (left_ && !view.empty()) {
      const Utf8Char c = decode_utf8(view, 0);
      if (!is_white_space(c.value)) break;
      view.remove_prefix(c.size);
      text.at_start = false;
    }
    while (right_ && !view.empty()) {
      const Utf8Char c = decode_utf8_before(view, view.size());
      if (!is_white_space(c.value)) break;
      view.remove_suffix(c.size);
    }
    if (view.size() < text.text.size()) text.text = std::string(view);
  }

 private:
  bool left_;
  bool right_;
};

class LowercaseNormalizer : public Normalizer {
 public:
  void apply(NormalText& text, RegexScratch&) const override { text.text = lowercase(text.text); }
};

class ByteLevelNormalizer : public Normalizer {
 public:
  void apply(NormalText& text, RegexScratch&) const override {
    std::string out;
    append_alphabet(out, text.text);
    text.text = std::move(out);
  }
};

// The cleaning of Google's NMT models: control characters go, odd spaces become spaces.
class NmtNormalizer : public Normalizer {
 public:
  void apply(NormalText& text, RegexScratch&) const override {
    std::string out;
    for (std::size_t i = 0; i < text.text.size();) {
      const Utf8Char c = decode_utf8(text.text, i);
      if (goes(c.value)) {
        if (i == 0) text.at_start = false;
      } else if (is_space(c.value)) {
        out.push_back(' ');
      } else {
        out.append(text.text, i, c.size);
      }
      i += c.size;
    }
    text.text = std::move(out);
  }

 private:
  static bool goes(char32_t c) {
    return (c >= 0x1 && c <= 0x8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f ||
           c == 0x8f || c == 0x9f;
  }
  static bool is_space(char32_t c) {
    return c == 0x9 || c == 0xa || c == 0xc || c == 0xd || c == 0x1680 ||
           (c >= 0x200b && c <= 0x200f) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
           c == 0xfeff || c == 0xfffd;
  }
};

std::unique_ptr<Normalizer> make_replace(const JsonView& config) {
  const JsonView pattern = config.at("pattern");
  const std::string& content = config.text("content");
  if (pattern.has("Regex")) {
    return with_context("key '" + pattern.path() + "'", [&] {
      return std::make_unique<ReplaceNormalizer>(Regex(pattern.text("Regex")), "", content);
    });
  }
  const std::string& what = pattern.text("String");
  return std::make_unique<ReplaceNormalizer>(Regex::literal(what), what, content);
}

}  // namespace

void check_growth(std::size_t bytes) {
  if (bytes > UINT32_MAX) {
    fail(ErrorKind::kInvalidArgument, "text of more than {} bytes after normalizing", UINT32_MAX);
  }
}

std::unique_ptr<Normalizer> make_edit_normalizer(const std::string& type, const JsonView& config) {
  if (type == "Replace") return make_replace(config);
  if (type == "Prepend") return std::make_unique<PrependNormalizer>(config.text("prepend"));
  if (type == "Strip") {
    return std::make_unique<StripNormalizer>(config.boolean_or("strip_left", true),
                                             config.boolean_or("strip_right", true));
  }
  if (type == "Lowercase") return std::make_unique<LowercaseNormalizer>();
  if (type == "ByteLevel") return std::make_unique<ByteLevelNormalizer>();
  if (type == "Nmt") return std::make_unique<NmtNormalizer>();
  return nullptr;
}

}  // namespace conclave::text
