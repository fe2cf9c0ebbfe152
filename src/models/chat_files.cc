#include "models/chat_files.h"

#include "io/gguf.h"
#include "models/model_files.h"

namespace conclave::models {

text::ChatTemplate load_chat_template(const std::string& path) {
  if (!is_gguf(path)) return text::ChatTemplate::load(path);
  const io::GgufSource source(path);
  const io::GgufMetadata& metadata = source.metadata();
  constexpr std::string_view kKey = "tokenizer.chat_template";
  text::ChatTemplate::Texts templates, special_tokens;
  for (const auto& [key, value] : metadata.entries()) {
    if (!key.starts_with(kKey) || !std::holds_alternative<std::string>(value)) continue;
    // "tokenizer.chat_template.NAME" are further ones.
    const std::string name = key.size() == kKey.size() ? "default" : key.substr(kKey.size() + 1);
    templates.emplace_back(name, std::get<std::string>(value));
  }
  if (templates.empty()) {
    fail(ErrorKind::kNotFound, "{}: has no chat template (key '{}')", path, kKey);
  }
  if (metadata.has("tokenizer.ggml.tokens")) {
    const io::StringTable& tokens = metadata.strings("tokenizer.ggml.tokens");
    const std::pair<const char*, const char*> names[] = {{"bos", "bos_token"},
                                                         {"eos", "eos_token"},
                                                         {"unknown", "unk_token"},
                                                         {"padding", "pad_token"}};
    for (const auto& [gguf, variable] : names) {
      const std::int64_t id = metadata.integer(fmt::format("tokenizer.ggml.{}_token_id", gguf), -1,
                                               INT64_C(0xffffffff), -1);
      if (id >= 0 && static_cast<std::size_t>(id) < tokens.size()) {
        special_tokens.emplace_back(variable, std::string(tokens[static_cast<std::size_t>(id)]));
      }
    }
  }
  return text::ChatTemplate::from_texts(templates, path, special_tokens);
}

}  // namespace conclave::models
