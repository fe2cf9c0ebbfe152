// Tokenizer files as bytes (tokenizer.json, SentencePiece or tiktoken by their first byte), and
// text for what loads: ids exist, and decoding them does not fail.
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "text/model_folder.h"
#include "text/tokenizer.h"

namespace {

using namespace conclave;

text::Tokenizer load(std::string_view file) {
  if (file.starts_with('{')) return text::Tokenizer::from_json_text(file, "fuzz");
  if (file.starts_with('\n')) return text::tokenizer_from_sentencepiece(file, {});
  return text::tokenizer_from_tiktoken(file, "fuzz", {.kind = "cl100k"}, {});
}

}  // namespace

// The last 64 bytes are the text.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const std::size_t cut = size > 64 ? size - 64 : 0;
  try {
    const text::Tokenizer tokenizer = load(all.substr(0, cut));
    for (const bool special : {false, true}) {
      const auto ids = tokenizer.encode(all.substr(cut), {special, special});
      for (const std::int32_t id : ids) {
        if (id < 0 || id >= tokenizer.vocab_size()) __builtin_trap();
      }
      tokenizer.decode(ids);
    }
  } catch (const Error&) {
  }
  return 0;
}
