// Any bytes as text for a byte-level tokenizer: what comes back is what went in, and parts that are
// not trusted never give a special token.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/bpe_trainer.h"
#include "text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace conclave::text;
  static const Tokenizer kTokenizer = [] {
    const std::vector<std::string_view> texts = {"the rain in Spain stays mainly in the plain  \n"};
    return Tokenizer::from_json_text(to_tokenizer_json(train_bpe(texts, {.vocab_size = 300})));
  }();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto ids = kTokenizer.encode(text, {false, false});
  if (kTokenizer.decode(ids) != text) __builtin_trap();
  const std::size_t cut = size / 2;
  const std::vector<TextPart> parts = {{text.substr(0, cut), false}, {text.substr(cut), false}};
  for (const std::int32_t id : kTokenizer.encode_parts(parts)) {
    if (kTokenizer.is_special(id)) __builtin_trap();
  }
  return 0;
}
