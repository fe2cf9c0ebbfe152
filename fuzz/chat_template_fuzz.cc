// A chat template as bytes, rendered over a small conversation: a typed error or text that is valid
// UTF-8, and no byte of a message that counts as the template's.
#include <cstdint>

#include "base/error.h"
#include "text/chat_template.h"
#include "text/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace conclave;
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  // U+E000 is in no seed: a template that writes it itself says nothing about marks.
  const bool writes_mark = source.find("\xee\x80\x80") != source.npos ||
                           source.find('\\') != source.npos || source.find('%') != source.npos;
  text::ChatRequest request;
  request.messages = text::chat_value(
      "[{\"role\": \"user\", \"content\": \"\xee\x80\x80 a\"}, {\"role\": \"assistant\", "
      "\"content\": null, \"tool_calls\": [{\"function\": {\"name\": \"\xee\x80\x80\", "
      "\"arguments\": {\"x\": 1.5}}}]}]",
      "messages");
  request.now = std::tm{};
  request.budget = {.steps = 20'000, .made_bytes = 4u << 20, .output_bytes = 1u << 20};
  try {
    const auto made = text::ChatTemplate::from_text(source, "fuzz", {{"bos_token", "<s>"}});
    for (const text::RenderedPart& part : made.render(request)) {
      if (!text::is_utf8(part.text)) __builtin_trap();
      const bool mark = part.text.find("\xee\x80\x80") != std::string::npos;
      if (part.trusted && mark && !writes_mark) __builtin_trap();
    }
  } catch (const Error&) {
  }
  return 0;
}
