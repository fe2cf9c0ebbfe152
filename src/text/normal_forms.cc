#include "text/normal_forms.h"

#include <utf8proc.h>

#include <cstdlib>
#include <memory>
#include <new>

#include "base/error.h"
#include "text/unicode_recent.h"
#include "text/unicode_sets.h"
#include "text/utf8.h"

namespace conclave::text {
namespace {

utf8proc_option_t options_of(NormalForm form) {
  switch (form) {
    case NormalForm::kNfc:
      return static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    case NormalForm::kNfd:
      return static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
    case NormalForm::kNfkc:
      return static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT);
    case NormalForm::kNfkd:
      break;
  }
  return static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT);
}

void append_normal(std::string_view valid, utf8proc_option_t options, std::string& out) {
  if (valid.empty()) return;
  utf8proc_uint8_t* result = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(valid.data()),
                   static_cast<utf8proc_ssize_t>(valid.size()), &result, options);
  const std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> owner(result, &std::free);
  if (size == UTF8PROC_ERROR_NOMEM || size == UTF8PROC_ERROR_OVERFLOW) throw std::bad_alloc();
  CONCLAVE_CHECK(size >= 0, "utf8proc: {}", utf8proc_errmsg(size));
  out.append(reinterpret_cast<const char*>(result), static_cast<std::size_t>(size));
}

const CodePoints& inert() {
  static const CodePoints kAll = [] {
    CodePoints all = recent_in_category("");
    const auto old = inert_in_normal_forms();
    all.insert(all.end(), old.begin(), old.end());
    return normalized(std::move(all));
  }();
  return kAll;
}

}  // namespace

// An inert character neither moves nor joins, so what stands before it and behind it are normalized
// apart.
std::string to_normal_form(std::string_view text, NormalForm form) {
  const utf8proc_option_t options = options_of(form);
  std::string out;
  out.reserve(text.size());
  std::size_t done = 0;
  for (std::size_t i = 0; i < text.size();) {
    const Utf8Char c = decode_utf8(text, i);
    if (c.value > 0x7f && (c.value == kInvalidChar || contains(inert(), c.value))) {
      append_normal(text.substr(done, i - done), options, out);
      out += text.substr(i, c.size);
      done = i + c.size;
    }
    i += c.size;
  }
  append_normal(text.substr(done), options, out);
  return out;
}

}  // namespace conclave::text
