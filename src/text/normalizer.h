// Normalizers: what happens to a text before it is split, e.g. Unicode normal forms, lower case,
// or a space in front. One file per family; make_normalizer knows them all by name.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "text/json_view.h"
#include "text/regex.h"

namespace conclave::text {

struct NormalText {
  std::string text;
  // Whether text[0] still is, or stands in front of, the first character of the whole input; some
  // pre-tokenizers add a space only there.
  bool at_start = true;
};

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  // Bytes that are not UTF-8 pass unchanged.
  virtual void apply(NormalText& text, RegexScratch& scratch) const = 0;
};

// Throws Error(kInvalidArgument) for texts that have grown beyond 32-bit offsets.
void check_growth(std::size_t bytes);

// From a "normalizer" object. Throws Error(kBadFile), or (kUnsupported) for an unknown type.
std::unique_ptr<Normalizer> make_normalizer(const JsonView& config);

// By family; null where the type is not theirs.
std::unique_ptr<Normalizer> make_unicode_normalizer(const std::string& type,
                                                    const JsonView& config);
std::unique_ptr<Normalizer> make_edit_normalizer(const std::string& type, const JsonView& config);
std::unique_ptr<Normalizer> make_precompiled_normalizer(const std::string& type,
                                                        const JsonView& config);

}  // namespace conclave::text
