// A trained vocabulary as a tokenizer.json.
#include <nlohmann/json.hpp>

#include "sys/files.h"
#include "text/bpe_trainer.h"
#include "text/bpe_trainer_pattern.h"
#include "text/byte_alphabet.h"

namespace conclave::text {
namespace {

using Json = nlohmann::ordered_json;

Json added_tokens(const BpeVocabulary& vocabulary) {
  Json list = Json::array();
  for (const std::string& token : vocabulary.options.special_tokens) {
    list.push_back({{"id", list.size()},
                    {"content", token},
                    {"single_word", false},
                    {"lstrip", false},
                    {"rstrip", false},
                    {"normalized", false},
                    {"special", true}});
  }
  return list;
}

Json byte_level(bool trim_offsets) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", trim_offsets},
          {"use_regex", false}};
}

Json pre_tokenizer(const BpeTrainerOptions& options) {
  const Json split = {{"type", "Split"},
                      {"pattern", {{"Regex", trainer_pattern(options)}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  return {{"type", "Sequence"}, {"pretokenizers", Json::array({split, byte_level(false)})}};
}

// How the vocabulary spells a token: special tokens as they are, others in the byte alphabet.
std::string spelling(const BpeVocabulary& vocabulary, std::size_t id) {
  const std::string& token = vocabulary.tokens[id];
  if (id < vocabulary.options.special_tokens.size()) return token;
  std::string out;
  append_alphabet(out, token);
  return out;
}

}  // namespace

std::string trainer_pattern(const BpeTrainerOptions& options) {
  const std::string digits = options.split_digits ? R"(\p{N})" : R"(\p{N}{1,3})";
  if (options.style == PreTokenizerStyle::kGpt2) {
    const std::string numbers = options.split_digits ? R"(\p{N})" : R"( ?\p{N}+)";
    return R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|)" + numbers +
           R"(| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
  }
  return R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)" + digits +
         R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
}

std::string to_tokenizer_json(const BpeVocabulary& vocabulary) {
  std::vector<std::string> spellings;
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    spellings.push_back(spelling(vocabulary, id));
  }
  std::string tokens;
  for (std::size_t id = 0; id < spellings.size(); ++id) {
    tokens += (id == 0 ? "\n      " : ",\n      ") + Json(spellings[id]).dump() + ": " +
              std::to_string(id);
  }
  std::string merges;
  for (const auto& [left, right] : vocabulary.merges) {
    merges += (merges.empty() ? "\n      [" : ",\n      [") +
              Json(spellings[static_cast<std::size_t>(left)]).dump() + ", " +
              Json(spellings[static_cast<std::size_t>(right)]).dump() + "]";
  }
  const auto part = [](const char* key, const Json& value) {
    return "  \"" + std::string(key) + "\": " + value.dump() + ",\n";
  };
  return "{\n" + part("version", "1.0") + part("truncation", nullptr) + part("padding", nullptr) +
         part("added_tokens", added_tokens(vocabulary)) + part("normalizer", nullptr) +
         part("pre_tokenizer", pre_tokenizer(vocabulary.options)) +
         part("post_processor", byte_level(false)) + part("decoder", byte_level(true)) +
         "  \"model\": {\n"
         "    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": null,\n"
         "    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n"
         "    \"fuse_unk\": false,\n    \"byte_fallback\": false,\n    \"ignore_merges\": false,\n"
         "    \"vocab\": {" +
         tokens + "\n    },\n    \"merges\": [" + merges + "\n    ]\n  }\n}\n";
}

void write_tokenizer_json(const BpeVocabulary& vocabulary, const std::filesystem::path& path) {
  sys::write_file_atomically(path.string(), to_tokenizer_json(vocabulary));
}

}  // namespace conclave::text
