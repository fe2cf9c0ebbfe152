#include "text/decoder.h"

#include <utility>

#include "base/error.h"
#include "text/decode_steps.h"
#include "text/display.h"

namespace conclave::text {
namespace {

constexpr int kMaxNesting = 8;

// Appends the steps of a decoder; `joined` turns true at the step that makes one text of all
// tokens.
void append_steps(const JsonView& config, int depth, bool& joined, Decoder& decoder) {
  const std::string& type = config.text("type");
  if (type == "Sequence") {
    if (depth == kMaxNesting) {
      fail(ErrorKind::kUnsupported, "key '{}': sequences nested deeper than {}", config.path(),
           kMaxNesting);
    }
    const JsonView list = config.at("decoders");
    for (std::size_t i = 0; i < list.size(); ++i) {
      append_steps(list.at(i), depth + 1, joined, decoder);
    }
    return;
  }
  if (type == "Fuse") {
    joined = true;
    return;
  }
  std::unique_ptr<DecodeStep> step = make_decode_step(type, config);
  if (step == nullptr) {
    fail(ErrorKind::kUnsupported, "key '{}': decoder '{}' is not known", config.path(),
         display_text(type));
  }
  (joined ? decoder.text_steps : decoder.token_steps).push_back(std::move(step));
  if (type == "ByteLevel") joined = true;
}

}  // namespace

void Decoder::apply_token_steps(TokenText& token) const {
  for (const auto& step : token_steps) step->apply(token);
}

void Decoder::apply_text_steps(std::string& text) const {
  if (text_steps.empty()) return;
  TokenText token{std::move(text), true, true, false};
  for (const auto& step : text_steps) step->apply(token);
  text = std::move(token.text);
}

bool Decoder::looks_ahead() const {
  for (const auto& step : token_steps) {
    if (step->looks_ahead()) return true;
  }
  return false;
}

Decoder make_decoder(const JsonView& config) {
  Decoder decoder;
  if (config.is_null()) {
    decoder.separator = std::string(1, ' ');
    return decoder;
  }
  bool joined = false;
  append_steps(config, 0, joined, decoder);
  return decoder;
}

}  // namespace conclave::text
