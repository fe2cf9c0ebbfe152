// NFC, NFD, NFKC, NFKD (Unicode Standard Annex 15), by utf8proc.
#include <utf8proc.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <new>

#include "base/error.h"
#include "text/normalizer.h"
#include "text/utf8.h"

namespace conclave::text {
namespace {

bool is_ascii(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) return false;
  }
  return true;
}

class UnicodeNormalizer : public Normalizer {
 public:
  explicit UnicodeNormalizer(int options) : options_(options) {}

  void apply(NormalText& text, RegexScratch&) const override {
    if (is_ascii(text.text)) return;
    std::string out;
    out.reserve(text.text.size());
    std::string_view rest = text.text;
    while (!rest.empty()) {
      const std::size_t good = utf8_prefix(rest);
      if (good > 0) append(rest.substr(0, good), out);
      rest.remove_prefix(good);
      while (!rest.empty() && decode_utf8(rest, 0).value == kInvalidChar) {
        out.push_back(rest.front());
        rest.remove_prefix(1);
      }
    }
    text.text = std::move(out);
  }

 private:
  void append(std::string_view valid, std::string& out) const {
    utf8proc_uint8_t* result = nullptr;
    const utf8proc_ssize_t size =
        utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(valid.data()),
                     static_cast<utf8proc_ssize_t>(valid.size()), &result,
                     static_cast<utf8proc_option_t>(options_));
    const std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> owner(result, &std::free);
    if (size == UTF8PROC_ERROR_NOMEM) throw std::bad_alloc();
    CONCLAVE_CHECK(size >= 0, "utf8proc: {}", utf8proc_errmsg(size));
    out.append(reinterpret_cast<const char*>(result), static_cast<std::size_t>(size));
  }

  int options_;
};

}  // namespace

std::unique_ptr<Normalizer> make_unicode_normalizer(const std::string& type, const JsonView&) {
  constexpr int kCompose = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
  constexpr int kDecompose = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
  if (type == "NFC") return std::make_unique<UnicodeNormalizer>(kCompose);
  if (type == "NFKC") return std::make_unique<UnicodeNormalizer>(kCompose | UTF8PROC_COMPAT);
  if (type == "NFD") return std::make_unique<UnicodeNormalizer>(kDecompose);
  if (type == "NFKD") return std::make_unique<UnicodeNormalizer>(kDecompose | UTF8PROC_COMPAT);
  return nullptr;
}

}  // namespace conclave::text
