// Decoders: from tokens back to text.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_view.h"
#include "text/regex.h"

namespace conclave::text {

// A token on its way to text.
struct TokenText {
  std::string text;
  bool first = false;  // of all tokens
  bool last = false;
  bool added = false;  // an added token: its text is literal
};

class DecodeStep {
 public:
  virtual ~DecodeStep() = default;
  virtual void apply(TokenText& token) const = 0;
  // Whether the result depends on TokenText::last.
  virtual bool looks_ahead() const { return false; }
  // Characters taken off the beginning of the text, when that is all the step does; else -1.
  virtual int only_strips_left() const { return -1; }
  virtual char32_t stripped() const { return 0; }
};

// Steps for each token, and steps for the joined text.
struct Decoder {
  std::vector<std::unique_ptr<DecodeStep>> token_steps;
  std::vector<std::unique_ptr<DecodeStep>> text_steps;
  // Put between tokens; a space where a file has no decoder.
  std::string separator;

  void apply_token_steps(TokenText& token) const;
  void apply_text_steps(std::string& text) const;
  bool looks_ahead() const;
};

// From a "decoder" object, or null for none. Throws Error(kBadFile), or (kUnsupported).
Decoder make_decoder(const JsonView& config);

}  // namespace conclave::text
