#include "text/model_folder.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "base/error.h"
#include "io/json.h"
#include "sys/files.h"
#include "text/display.h"
#include "text/json_view.h"
#include "text/vocabulary.h"

namespace conclave::text {
namespace {

using nlohmann::json;

// Files with thousands of added tokens have a few hundred kB.
constexpr io::JsonLimits kLimits{
    .max_bytes = 16u << 20, .max_depth = 64, .allow_duplicate_keys = true};
constexpr std::size_t kMostAdded = 1 << 18;

std::optional<json> read_if_there(const std::string& directory, const char* name) {
  const std::string path = sys::join_path(directory, name);
  if (!sys::file_exists(path)) return std::nullopt;
  json document = io::read_json_file(path, kLimits);
  if (!document.is_object()) fail(ErrorKind::kBadFile, "{}: not a JSON object", path);
  return document;
}

// A token is a string, or an object with its content.
std::string token_text(const JsonView& value) {
  return value.is_object() ? value.text("content") : value.text();
}

std::int32_t parse_id(const std::string& digits) {
  std::int32_t id = -1;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), id);
  if (error != std::errc() || end != digits.data() + digits.size() || id < 0 ||
      id >= kMaxVocabulary) {
    fail(ErrorKind::kBadFile, "key 'added_tokens_decoder': found '{}', expected an id",
         display_text(digits));
  }
  return id;
}

// Tokens by their content; later words on one add to the earlier ones.
class Collector {
 public:
  AddedToken& token(const std::string& content) {
    const auto [at, added] = index_.emplace(content, tokens_.size());
    if (added) {
      if (tokens_.size() == kMostAdded) {
        fail(ErrorKind::kUnsupported, "more than {} added tokens", kMostAdded);
      }
      tokens_.emplace_back();
      tokens_.back().content = content;
      tokens_.back().normalized = false;
    }
    return tokens_[at->second];
  }
  std::vector<AddedToken> take() {
    std::stable_sort(tokens_.begin(), tokens_.end(), [](const AddedToken& a, const AddedToken& b) {
      return static_cast<std::uint32_t>(a.id) < static_cast<std::uint32_t>(b.id);
    });
    return std::move(tokens_);
  }

 private:
  std::vector<AddedToken> tokens_;
  std::unordered_map<std::string, std::size_t> index_;
};

void read_decoder(const JsonView& list, Collector& tokens) {
  for (const std::string& id : list.keys()) {
    const JsonView entry = list.at(id.c_str());
    const std::string& content = entry.text("content");
    if (content.empty()) continue;
    AddedToken& token = tokens.token(content);
    token.id = parse_id(id);
    token.single_word = entry.boolean_or("single_word", false);
    token.lstrip = entry.boolean_or("lstrip", false);
    token.rstrip = entry.boolean_or("rstrip", false);
    token.special = entry.boolean_or("special", false);
  }
}

void read_named(const JsonView& root, FolderTokens& out, Collector& tokens) {
  for (const char* key : {"bos_token", "eos_token", "unk_token", "pad_token", "sep_token",
                          "cls_token", "mask_token"}) {
    if (!root.has(key)) continue;
    const std::string content = token_text(root.at(key));
    if (content.empty()) continue;
    if (std::string_view(key) == "bos_token") out.bos_token = content;
    if (std::string_view(key) == "eos_token") out.eos_token = content;
    tokens.token(content).special = true;
  }
  if (!root.has("additional_special_tokens")) return;
  const JsonView list = root.at("additional_special_tokens");
  if (!list.is_array()) return;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string content = token_text(list.at(i));
    if (!content.empty()) tokens.token(content).special = true;
  }
}

}  // namespace

FolderTokens read_folder_tokens(const std::string& directory) {
  FolderTokens out;
  Collector tokens;
  if (const auto ids = read_if_there(directory, "added_tokens.json")) {
    const JsonView root(*ids, "added_tokens.json");
    for (const std::string& content : root.keys()) {
      const std::int64_t id = root.at(content.c_str()).integer();
      if (id < 0 || id >= kMaxVocabulary) root.at(content.c_str()).wrong("an id");
      if (!content.empty()) tokens.token(content).id = static_cast<std::int32_t>(id);
    }
  }
  if (const auto map = read_if_there(directory, "special_tokens_map.json")) {
    read_named(JsonView(*map, "special_tokens_map.json"), out, tokens);
  }
  if (const auto config = read_if_there(directory, "tokenizer_config.json")) {
    const JsonView root(*config, "tokenizer_config.json");
    read_named(root, out, tokens);
    if (root.has("added_tokens_decoder")) read_decoder(root.at("added_tokens_decoder"), tokens);
    if (root.has("add_bos_token")) out.add_bos = root.at("add_bos_token").boolean();
    if (root.has("add_eos_token")) out.add_eos = root.at("add_eos_token").boolean();
    out.tokenizer_class = root.text_or("tokenizer_class", "");
    if (out.tokenizer_class.ends_with("Fast")) {
      out.tokenizer_class.resize(out.tokenizer_class.size() - 4);
    }
  }
  if (const auto config = read_if_there(directory, "config.json")) {
    out.model_type = JsonView(*config, "config.json").text_or("model_type", "");
  }
  out.added = tokens.take();
  return out;
}

}  // namespace conclave::text
