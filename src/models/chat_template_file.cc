#include "models/chat_template_file.h"

#include "base/error.h"
#include "io/gguf.h"

namespace conclave::models {
namespace {

text::ChatTemplate from_gguf(const std::string& path) {
  const io::GgufSource file(path);
  const io::GgufMetadata& metadata = file.metadata();
  text::ChatTemplate::Texts templates;
  constexpr std::string_view kKey = "tokenizer.chat_template";
  for (const auto& [key, value] : metadata.entries()) {
    if (!key.starts_with(kKey)) continue;
    if (key == kKey) {
      templates.emplace_back("default", metadata.string(key));
    } else if (key[kKey.size()] == '.') {
      templates.emplace_back(key.substr(kKey.size() + 1), metadata.string(key));
    }
  }
  if (templates.empty()) {
    fail(ErrorKind::kNotFound, "{}: no chat template (key '{}')", path, kKey);
  }
  text::ChatTemplate::Texts special;
  if (metadata.has("tokenizer.ggml.tokens")) {
    const io::StringTable& tokens = metadata.strings("tokenizer.ggml.tokens");
    for (const auto& [name, key] : {std::pair{"bos_token", "tokenizer.ggml.bos_token_id"},
                                    std::pair{"eos_token", "tokenizer.ggml.eos_token_id"},
                                    std::pair{"unk_token", "tokenizer.ggml.unknown_token_id"},
                                    std::pair{"sep_token", "tokenizer.ggml.seperator_token_id"},
                                    std::pair{"pad_token", "tokenizer.ggml.padding_token_id"}}) {
      const std::int64_t id = metadata.integer(key, -1, UINT32_MAX, -1);
      if (id < 0 || id >= static_cast<std::int64_t>(tokens.size())) continue;
      special.emplace_back(name, tokens[static_cast<std::size_t>(id)]);
    }
  }
  return text::ChatTemplate::from_texts(templates, path, special);
}

}  // namespace

text::ChatTemplate load_chat_template(const std::string& path) {
  return path.ends_with(".gguf") ? from_gguf(path) : text::ChatTemplate::load(path);
}

}  // namespace conclave::models
