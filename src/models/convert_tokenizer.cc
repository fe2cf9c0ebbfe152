#include "models/convert_tokenizer.h"

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "io/json.h"
#include "models/model_files.h"
#include "models/sentencepiece_keys.h"
#include "sys/files.h"
#include "text/gguf_export.h"
#include "text/sentencepiece_file.h"
#include "text/word_patterns.h"

namespace conclave::models {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::uint64_t kMaxTokenizerBytes = 1u << 28;

// Kinds of tokens as GGUF numbers them.
enum TokenType : std::int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

bool mentions(const json& node, std::string_view type) {
  if (node.is_object()) {
    if (const auto found = node.find("type"); found != node.end() && *found == type) return true;
  }
  if (!node.is_structured()) return false;
  for (const json& child : node) {
    if (mentions(child, type)) return true;
  }
  return false;
}

struct Vocabulary {
  std::vector<std::string> tokens;
  std::vector<std::int32_t> types;
  std::vector<float> scores;
};

void put(Vocabulary& v, std::int64_t id, std::string text, std::int32_t type, float score) {
  if (id < 0 || id >= static_cast<std::int64_t>(v.tokens.size())) return;  // no row in the model
  const auto i = static_cast<std::size_t>(id);
  v.tokens[i] = std::move(text);
  v.types[i] = type;
  v.scores[i] = score;
}

bool is_byte_token(std::string_view text) {
  return text.size() == 6 && text.starts_with("<0x") && text.back() == '>';
}

// Merges are "a b" or ["a", "b"].
std::pair<std::string, std::string> merge_parts(const json& merge) {
  if (merge.is_array() && merge.size() == 2) return {merge[0], merge[1]};
  const std::string text = merge.get<std::string>();
  const std::size_t space = text.find(' ', 1);
  if (space == std::string::npos) return {text, ""};
  return {text.substr(0, space), text.substr(space + 1)};
}

Vocabulary read_vocabulary(const json& file, const nn::TransformerConfig& config) {
  const json& model = file.at("model");
  const bool unigram = model.value("type", "") == "Unigram";
  Vocabulary v;
  const auto n = static_cast<std::size_t>(config.vocab_size);
  for (std::size_t i = 0; i < n; ++i) v.tokens.push_back(fmt::format("[PAD{}]", i));
  v.types.assign(n, kUnused);
  v.scores.assign(n, -10000.0f);
  if (unigram) {
    std::int64_t id = 0;
    for (const json& entry : model.at("vocab")) {
      put(v, id++, entry.at(0), kNormal, entry.at(1).get<float>());
    }
    if (model.contains("unk_id") && model["unk_id"].is_number_integer()) {
      const std::int64_t unk = model["unk_id"];
      if (unk >= 0 && unk < config.vocab_size) v.types[static_cast<std::size_t>(unk)] = kUnknown;
    }
  } else {
    // Where merges decide, a token's score is the negative rank of the merge that makes it.
    std::map<std::string, float> rank;
    float next = 0;
    if (model.contains("merges")) {
      for (const json& merge : model["merges"]) {
        const auto [a, b] = merge_parts(merge);
        rank.emplace(a + b, -(next += 1));
      }
    }
    for (const auto& [text, id] : model.at("vocab").items()) {
      const auto found = rank.find(text);
      put(v, id.get<std::int64_t>(), text, is_byte_token(text) ? kByte : kNormal,
          found == rank.end() ? 0.0f : found->second);
    }
  }
  if (file.contains("added_tokens")) {
    for (const json& token : file["added_tokens"]) {
      const bool special = token.value("special", false);
      put(v, token.at("id").get<std::int64_t>(), token.at("content").get<std::string>(),
          special ? kControl : kUserDefined, 0);
    }
  }
  return v;
}

// The patterns of a pre-tokenizer, in order; false where it does something that is no pattern.
bool collect_patterns(const json& node, std::vector<std::string>& patterns) {
  if (!node.is_object()) return node.is_null();
  const std::string type = node.value("type", "");
  if (type == "Sequence") {
    for (const json& part : node.value("pretokenizers", json::array())) {
      if (!collect_patterns(part, patterns)) return false;
    }
    return true;
  }
  if (type == "Split") {
    const json pattern = node.value("pattern", json::object());
    if (!pattern.is_object() || !pattern.contains("Regex")) return false;
    patterns.push_back(pattern["Regex"]);
    return true;
  }
  if (type == "Digits") {
    patterns.emplace_back(node.value("individual_digits", false) ? R"(\p{N})" : R"(\p{N}+)");
    return true;
  }
  if (type != "ByteLevel") return false;
  if (node.value("use_regex", true)) {
    patterns.emplace_back(text::word_patterns("gpt-2")->patterns.front());
  }
  return true;
}

// What other programs call the way in which words are cut; "default" where they have no name.
std::string pre_name(const json& file) {
  std::vector<std::string> patterns;
  if (!collect_patterns(file.value("pre_tokenizer", json()), patterns)) return "default";
  const std::string_view name =
      text::word_pattern_name(patterns, mentions(file.value("normalizer", json()), "NFC"));
  return name.empty() ? "default" : std::string(name);
}

void add_vocabulary(const json& file, const nn::TransformerConfig& config,
                    io::GgufMetadata& metadata) {
  const json& model = file.at("model");
  const Vocabulary v = read_vocabulary(file, config);
  const bool unigram = model.value("type", "") == "Unigram";
  const bool bytes = !unigram && (mentions(file.value("pre_tokenizer", json()), "ByteLevel") ||
                                  mentions(file.value("decoder", json()), "ByteLevel"));
  metadata.set("tokenizer.ggml.model", std::string(unigram ? "t5" : bytes ? "gpt2" : "llama"));
  metadata.set("tokenizer.ggml.tokens", io::GgufArray::of(v.tokens));
  metadata.set("tokenizer.ggml.token_type",
               io::GgufArray::of(std::span<const std::int32_t>(v.types)));
  if (!bytes) {
    metadata.set("tokenizer.ggml.scores", io::GgufArray::of(std::span<const float>(v.scores)));
    return;
  }
  metadata.set("tokenizer.ggml.pre", pre_name(file));
  std::vector<std::string> merges;
  if (model.contains("merges")) {
    for (const json& merge : model["merges"]) {
      const auto [a, b] = merge_parts(merge);
      merges.push_back(a + " " + b);
    }
  }
  metadata.set("tokenizer.ggml.merges", io::GgufArray::of(merges));
}

void set_token(io::GgufMetadata& metadata, const char* name, int id) {
  if (id < 0) return;
  metadata.set(fmt::format("tokenizer.ggml.{}_token_id", name), static_cast<std::uint32_t>(id));
}

// A chat template is a string, or a list of named ones of which "default" is the usual.
std::string chat_template(const fs::path& directory, const json& config) {
  if (const fs::path file = directory / "chat_template.jinja"; fs::exists(file)) {
    return sys::read_file(file.string(), kMaxTokenizerBytes);
  }
  const auto found = config.find("chat_template");
  if (found == config.end()) return "";
  if (found->is_string()) return *found;
  if (!found->is_array()) return "";
  for (const json& entry : *found) {
    if (entry.is_object() && entry.value("name", "") == "default")
      return entry.value("template", "");
  }
  return "";
}

void copy_keys(const io::GgufMetadata& from, io::GgufMetadata& to) {
  for (const auto& [key, value] : from.entries()) {
    if (key.starts_with("tokenizer.")) to.set(key, value);
  }
}

// For directories whose tokenizer is another file than tokenizer.json. Returns why it could not be
// said in keys, or "".
std::string add_other_tokenizer(const fs::path& directory, const nn::TransformerConfig& config,
                                io::GgufMetadata& metadata) {
  metadata.set("tokenizer.ggml.model", std::string("no_vocab"));  // other programs ask for it
  for (const char* name : {"tokenizer.model", "spiece.model", "tiktoken.model"}) {
    const std::string file = (directory / name).string();
    if (!fs::exists(file)) continue;
    const std::string bytes = sys::read_file(file, kMaxTokenizerBytes);
    if (!text::looks_like_sentencepiece(bytes)) {
      return fmt::format(
          "the tokenizer was not written: {}: not a SentencePiece model; save the "
          "fast tokenizer beside it, which writes tokenizer.json",
          file);
    }
    try {
      io::GgufMetadata keys;
      add_sentencepiece_keys(bytes, text::read_folder_tokens(directory.string()), config.vocab_size,
                             keys);
      copy_keys(keys, metadata);
      return "";
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kBadFile && error.kind() != ErrorKind::kUnsupported) throw;
      return fmt::format("the tokenizer was not written: {}: {}", file, error.what());
    }
  }
  return "";
}

}  // namespace

std::string add_tokenizer_keys(const std::string& in, const nn::TransformerConfig& config,
                               io::GgufMetadata& metadata) {
  std::string warning;
  if (is_gguf(in)) {
    copy_keys(io::GgufSource(in).metadata(), metadata);
    return warning;
  }
  const fs::path directory(in);
  set_token(metadata, "bos", config.bos_id);
  set_token(metadata, "eos", config.eos_id);
  set_token(metadata, "padding", config.pad_id);
  const fs::path file = directory / "tokenizer.json";
  if (fs::exists(file)) {
    const std::string text = sys::read_file(file.string(), kMaxTokenizerBytes);
    const json parsed = io::parse_json(text, file.string());
    with_context(file.string(), [&] {
      try {
        add_vocabulary(parsed, config, metadata);
      } catch (const json::exception& error) {
        fail(ErrorKind::kBadFile, "not the structure of a tokenizer: {}", error.what());
      }
    });
    metadata.set(kTokenizerJsonKey, text);
  } else {
    warning = add_other_tokenizer(directory, config, metadata);
  }
  json settings = json::object();
  if (const fs::path path = directory / "tokenizer_config.json"; fs::exists(path)) {
    settings = io::read_json_file(path.string());
    if (settings.contains("add_bos_token") && settings["add_bos_token"].is_boolean()) {
      metadata.set("tokenizer.ggml.add_bos_token", settings["add_bos_token"].get<bool>());
    }
  }
  const std::string text = chat_template(directory, settings);
  if (!text.empty()) metadata.set("tokenizer.chat_template", text);
  return warning;
}

namespace {

// Names of files of a tokenizer in a directory.
constexpr const char* kTokenizerFiles[] = {"tokenizer.json",
                                           "tokenizer.model",
                                           "tokenizer_config.json",
                                           "special_tokens_map.json",
                                           "added_tokens.json",
                                           "vocab.json",
                                           "merges.txt",
                                           "generation_config.json",
                                           "chat_template.jinja",
                                           "tiktoken.model"};

// The vocabulary, in `to`; what tokenizer_config.json must say of it goes to `settings`.
std::string write_vocabulary(const io::GgufMetadata& metadata, const fs::path& to, json& settings) {
  if (metadata.has(kTokenizerJsonKey)) {
    sys::write_file_atomically((to / "tokenizer.json").string(),
                               metadata.string(kTokenizerJsonKey));
    return "";
  }
  const std::string kind = metadata.string("tokenizer.ggml.model", "no_vocab");
  if (kind == "no_vocab") return "";
  try {
    const text::TokenizerExport made = text::export_tokenizer(metadata);
    sys::write_file_atomically((to / made.file).string(), made.bytes);
    settings.update(made.settings);
    return "";
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kBadFile && error.kind() != ErrorKind::kUnsupported) throw;
    return fmt::format("the tokenizer was not written: {}", error.what());
  }
}

}  // namespace

std::string copy_tokenizer_files(const std::string& in, const nn::TransformerConfig& config,
                                 const std::string& out) {
  const fs::path to(out);
  if (!is_gguf(in)) {
    for (const char* name : kTokenizerFiles) {
      const fs::path from = fs::path(in) / name;
      if (fs::exists(from)) {
        sys::write_file_atomically((to / name).string(),
                                   sys::read_file(from.string(), kMaxTokenizerBytes));
      }
    }
    return "";
  }
  const io::GgufSource source(in);
  const io::GgufMetadata& metadata = source.metadata();
  json settings = {{"model_max_length", config.max_positions}};
  if (metadata.has("tokenizer.ggml.tokens")) {
    const io::StringTable& tokens = metadata.strings("tokenizer.ggml.tokens");
    const auto name = [&](const char* key, int id) {
      if (id >= 0 && static_cast<std::size_t>(id) < tokens.size()) {
        settings[key] = std::string(tokens[static_cast<std::size_t>(id)]);
      }
    };
    name("bos_token", config.bos_id);
    name("eos_token", config.eos_id);
    name("pad_token", config.pad_id);
  }
  std::string warning = write_vocabulary(metadata, to, settings);
  if (metadata.has("tokenizer.chat_template")) {
    settings["chat_template"] = metadata.string("tokenizer.chat_template");
  }
  sys::write_file_atomically((to / "tokenizer_config.json").string(),
                             settings.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
  return warning;
}

}  // namespace conclave::models
