// NFC, NFD, NFKC, NFKD; StripAccents; BertNormalizer.
#include <algorithm>
#include <memory>
#include <utility>

#include "text/normal_forms.h"
#include "text/normalizer.h"
#include "text/unicode_sets.h"
#include "text/utf8.h"

namespace conclave::text {
namespace {

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

// Takes characters of a set out.
void remove(NormalText& text, std::span<const CodeRange> set) {
  std::string out;
  out.reserve(text.text.size());
  for (std::size_t i = 0; i < text.text.size();) {
    const Utf8Char c = decode_utf8(text.text, i);
    if (c.value != kInvalidChar && contains(set, c.value)) {
      if (i == 0) text.at_start = false;
    } else {
      out.append(text.text, i, c.size);
    }
    i += c.size;
  }
  text.text = std::move(out);
}

class FormNormalizer : public Normalizer {
 public:
  explicit FormNormalizer(NormalForm form) : form_(form) {}
  void apply(NormalText& text, RegexScratch&) const override {
    if (!is_ascii(text.text)) text.text = to_normal_form(text.text, form_);
  }

 private:
  NormalForm form_;
};

class StripAccentsNormalizer : public Normalizer {
 public:
  void apply(NormalText& text, RegexScratch&) const override { remove(text, combining_marks()); }
};

// The ideographs that BERT sets apart: CJK blocks, not all of Han.
bool is_bert_ideograph(char32_t c) {
  return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) ||
         (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b81f) ||
         (c >= 0x2b920 && c <= 0x2ceaf) || (c >= 0xf900 && c <= 0xfaff) ||
         (c >= 0x2f800 && c <= 0x2fa1f);
}

class BertNormalizer : public Normalizer {
 public:
  BertNormalizer(bool clean, bool ideographs, bool strip_accents, bool lower)
      : clean_(clean), ideographs_(ideographs), strip_accents_(strip_accents), lower_(lower) {}

  void apply(NormalText& text, RegexScratch&) const override {
    if (clean_) {
      remove(text, bert_control());
      text.text = each_char(text.text, [](char32_t c, std::string_view bytes, std::string& out) {
        out += c != kInvalidChar && is_white_space(c) ? std::string_view(" ") : bytes;
      });
    }
    if (ideographs_) {
      text.text = each_char(text.text, [](char32_t c, std::string_view bytes, std::string& out) {
        const bool apart = is_bert_ideograph(c);
        if (apart) out.push_back(' ');
        out += bytes;
        if (apart) out.push_back(' ');
      });
    }
    if (strip_accents_) {
      text.text = to_normal_form(text.text, NormalForm::kNfd);
      remove(text, bert_marks());
    }
    if (lower_) text.text = lowercase(text.text);
  }

 private:
  template <class Append>
  static std::string each_char(std::string_view text, const Append& append) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size();) {
      const Utf8Char c = decode_utf8(text, i);
      append(c.value, text.substr(i, c.size), out);
      i += c.size;
    }
    return out;
  }

  bool clean_;
  bool ideographs_;
  bool strip_accents_;
  bool lower_;
};

}  // namespace

std::unique_ptr<Normalizer> make_unicode_normalizer(const std::string& type,
                                                    const JsonView& config) {
  if (type == "NFC") return std::make_unique<FormNormalizer>(NormalForm::kNfc);
  if (type == "NFD") return std::make_unique<FormNormalizer>(NormalForm::kNfd);
  if (type == "NFKC") return std::make_unique<FormNormalizer>(NormalForm::kNfkc);
  if (type == "NFKD") return std::make_unique<FormNormalizer>(NormalForm::kNfkd);
  if (type == "StripAccents") return std::make_unique<StripAccentsNormalizer>();
  if (type == "BertNormalizer") {
    const bool lower = config.boolean_or("lowercase", true);
    return std::make_unique<BertNormalizer>(config.boolean_or("clean_text", true),
                                            config.boolean_or("handle_chinese_chars", true),
                                            config.boolean_or("strip_accents", lower), lower);
  }
  return nullptr;
}

}  // namespace conclave::text
