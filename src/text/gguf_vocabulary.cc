#include "text/gguf_vocabulary.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "base/error.h"
#include "text/display.h"
#include "text/word_patterns.h"

namespace conclave::text {

using io::GgufMetadata;

std::string gguf_key(const char* name) { return std::string("tokenizer.ggml.") + name; }

namespace {

std::string key(const char* name) { return gguf_key(name); }

GgufFrame frame_of(const GgufMetadata& metadata, const GgufVocabulary& vocabulary, bool add_bos,
                   bool add_eos, std::optional<std::int32_t> bos, std::optional<std::int32_t> eos) {
  const bool begin = metadata.boolean(key("add_bos_token"), add_bos);
  const bool end = metadata.boolean(key("add_eos_token"), add_eos);
  return {begin ? vocabulary.id("bos_token_id", bos) : std::nullopt,
          end ? vocabulary.id("eos_token_id", eos) : std::nullopt};
}

// The file has no field for it: special tokens of these models take the white space behind them.
bool takes_space_behind(const GgufMetadata& metadata) {
  std::string name = metadata.string("general.name", "");
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name.find("phi-3") != std::string::npos || name.find("phi3") != std::string::npos;
}

void strip_behind(std::vector<AddedToken>& tokens) {
  for (AddedToken& token : tokens) {
    const std::string& text = token.content;
    token.rstrip = token.special && text != "<unk>" && text != "<s>" && text != "<|endoftext|>";
    if (text == "</s>") token.rstrip = true;
  }
}

}  // namespace

GgufVocabulary::GgufVocabulary(const GgufMetadata& metadata) : metadata_(metadata) {
  const io::StringTable& tokens = metadata.strings(key("tokens"));
  if (tokens.size() == 0) metadata.fail_at(key("tokens"), "no tokens");
  if (tokens.size() >= static_cast<std::size_t>(kMaxVocabulary)) {
    metadata.fail_at(key("tokens"), fmt::format("{} tokens; at most {} are supported",
                                                tokens.size(), kMaxVocabulary));
  }
  pieces_.resize(tokens.size());
  for (std::size_t i = 0; i < tokens.size(); ++i) pieces_[i].text = tokens[i];
  read_kinds();
  read_scores();
}

std::optional<std::int32_t> GgufVocabulary::id(const char* name,
                                               std::optional<std::int32_t> otherwise) const {
  if (!metadata_.has(key(name))) {
    const bool there = otherwise && static_cast<std::size_t>(*otherwise) < pieces_.size();
    return there ? otherwise : std::nullopt;
  }
  // Some converters write the largest number for "none".
  const std::int64_t value = metadata_.integer(key(name), -1, INT64_MAX);
  if (value < 0 || value == UINT32_MAX) return std::nullopt;
  if (static_cast<std::size_t>(value) >= pieces_.size()) {
    metadata_.fail_at(key(name),
                      fmt::format("found {}, expected an id below {}", value, pieces_.size()));
  }
  return static_cast<std::int32_t>(value);
}

void GgufVocabulary::read_kinds() {
  if (!metadata_.has(key("token_type"))) return;
  const auto kinds = metadata_.integers(key("token_type"), 0, INT32_MAX);
  check_count("token_type", kinds.size());
  for (std::size_t i = 0; i < kinds.size() && i < pieces_.size(); ++i) {
    // 0 is "undefined"; numbers to come are treated alike.
    const bool known = kinds[i] >= 1 && kinds[i] <= 6;
    pieces_[i].kind = known ? static_cast<PieceKind>(kinds[i]) : PieceKind::kNormal;
  }
}

void GgufVocabulary::read_scores() {
  if (!metadata_.has(key("scores"))) return;
  const auto scores = metadata_.numbers(key("scores"));
  check_count("scores", scores.size());
  for (std::size_t i = 0; i < pieces_.size(); ++i) {
    pieces_[i].score = static_cast<float>(scores[i]);
  }
}

void GgufVocabulary::check_count(const char* name, std::size_t count) const {
  if (count == pieces_.size()) return;
  metadata_.fail_at(key(name), fmt::format("{} entries for {} tokens", count, pieces_.size()));
}

GgufPieces gguf_pieces(const GgufMetadata& metadata, bool unigram) {
  GgufVocabulary vocabulary(metadata);
  SentencePieceSource source;
  source.unk_id = vocabulary.id("unknown_token_id", unigram ? 2 : 0).value_or(0);
  source.user_defined_in_model = false;
  const bool bytes = std::any_of(vocabulary.pieces().begin(), vocabulary.pieces().end(),
                                 [](const ScoredPiece& p) { return p.kind == PieceKind::kByte; });
  source.file.type = unigram ? SentencePieceType::kUnigram : SentencePieceType::kBpe;
  source.file.byte_fallback = bytes;
  SentencePieceNormalizerConfig& normalizer = source.file.normalizer;
  normalizer.add_dummy_prefix = metadata.boolean(key("add_space_prefix"), true);
  normalizer.remove_extra_whitespaces =
      unigram && metadata.boolean(key("remove_extra_whitespaces"), false);
  normalizer.replace_invalid = unigram;
  if (unigram && metadata.has(key("precompiled_charsmap"))) {
    const io::GgufValue* value = metadata.find(key("precompiled_charsmap"));
    const auto* array = std::get_if<io::GgufArray>(value);
    if (array == nullptr ||
        (array->item != io::GgufKind::kI8 && array->item != io::GgufKind::kU8)) {
      metadata.fail_at(key("precompiled_charsmap"), "expected an array of bytes");
    }
    normalizer.charsmap.assign(reinterpret_cast<const char*>(array->numbers.data()),
                               array->numbers.size());
  }
  if (takes_space_behind(metadata)) {
    source.added = added_tokens_of(vocabulary.pieces(), true);
    strip_behind(source.added);
  }
  const GgufFrame frame = unigram ? frame_of(metadata, vocabulary, false, true, std::nullopt, 1)
                                  : frame_of(metadata, vocabulary, true, false, 1, 2);
  source.file.pieces = std::move(vocabulary.pieces());
  return {std::move(source), frame};
}

GgufMerges gguf_merges(const GgufMetadata& metadata) {
  GgufVocabulary vocabulary(metadata);
  const std::string pre = metadata.string(key("pre"), "");
  const WordPatterns* words = word_patterns(pre);
  if (words == nullptr) {
    metadata.fail_at(key("pre"), fmt::format("'{}' is not known; known are {}", display_text(pre),
                                             fmt::join(word_pattern_names(), ", ")));
  }
  TokenizerFile file;
  file.root = byte_level_components(words->patterns, words->nfc);
  file.root["model"] = {{"type", "BPE"}, {"ignore_merges", words->ignore_merges}};
  file.has_vocab = true;
  for (std::size_t i = 0; i < vocabulary.pieces().size(); ++i) {
    const std::string& token = vocabulary.pieces()[i].text;
    if (!token.empty()) file.vocab.emplace_back(token, static_cast<std::int64_t>(i));
  }
  const io::StringTable& merges = metadata.strings(key("merges"));
  file.has_merges = true;
  file.merges.reserve(merges.size());
  for (std::size_t i = 0; i < merges.size(); ++i) {
    const std::string_view merge = merges[i];
    const std::size_t space = merge.find(' ', 1);
    if (merge.empty() || space == std::string_view::npos || space + 1 == merge.size()) {
      metadata.fail_at(key("merges"), fmt::format("entry {}: found '{}', expected two tokens with "
                                                  "a space between",
                                                  i, display_text(merge)));
    }
    file.merges.emplace_back(merge.substr(0, space), merge.substr(space + 1));
  }
  return {std::move(file), added_tokens_of(vocabulary.pieces(), true),
          frame_of(metadata, vocabulary, words->add_bos, false, std::nullopt, std::nullopt)};
}

}  // namespace conclave::text
