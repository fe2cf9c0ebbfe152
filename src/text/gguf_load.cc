// Tokenizer from GGUF metadata (ggml, docs/gguf.md: tokenizer.ggml.*), with the ids that the
// reference of each kind gives.
#include <algorithm>
#include <cctype>
#include <cmath>

#include "base/error.h"
#include "io/gguf.h"
#include "text/display.h"
#include "text/tokenizer.h"
#include "text/tokenizer_build.h"
#include "text/word_patterns.h"

namespace conclave::text {
namespace {

using io::GgufMetadata;

std::string key(const char* name) { return std::string("tokenizer.ggml.") + name; }

class GgufVocabulary {
 public:
  explicit GgufVocabulary(const GgufMetadata& metadata) : metadata_(metadata) {
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

  std::vector<ScoredPiece>& pieces() { return pieces_; }

  // The id of a token that has a role, if it is given and exists.
  std::optional<std::int32_t> id(const char* name,
                                 std::optional<std::int32_t> otherwise = std::nullopt) const {
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

 private:
  void read_kinds() {
    if (!metadata_.has(key("token_type"))) return;
    const auto kinds = metadata_.integers(key("token_type"), 0, INT32_MAX);
    check_count("token_type", kinds.size());
    for (std::size_t i = 0; i < kinds.size() && i < pieces_.size(); ++i) {
      // 0 is "undefined"; numbers to come are treated alike.
      const bool known = kinds[i] >= 1 && kinds[i] <= 6;
      pieces_[i].kind = known ? static_cast<PieceKind>(kinds[i]) : PieceKind::kNormal;
    }
  }

  void read_scores() {
    if (!metadata_.has(key("scores"))) return;
    const auto scores = metadata_.numbers(key("scores"));
    check_count("scores", scores.size());
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      pieces_[i].score = static_cast<float>(scores[i]);
    }
  }

  void check_count(const char* name, std::size_t count) const {
    if (count == pieces_.size()) return;
    metadata_.fail_at(key(name), fmt::format("{} entries for {} tokens", count, pieces_.size()));
  }

  const GgufMetadata& metadata_;
  std::vector<ScoredPiece> pieces_;
};

PostProcessor frame_of(const GgufMetadata& metadata, const GgufVocabulary& vocabulary, bool add_bos,
                       bool add_eos, std::optional<std::int32_t> bos,
                       std::optional<std::int32_t> eos) {
  const bool begin = metadata.boolean(key("add_bos_token"), add_bos);
  const bool end = metadata.boolean(key("add_eos_token"), add_eos);
  return frame(begin ? vocabulary.id("bos_token_id", bos) : std::nullopt,
               end ? vocabulary.id("eos_token_id", eos) : std::nullopt);
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

StatePtr from_pieces(const GgufMetadata& metadata, bool unigram) {
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
  source.file.pieces = std::move(vocabulary.pieces());
  std::vector<AddedToken> stripped;
  if (takes_space_behind(metadata)) {
    stripped = added_tokens_of(source.file.pieces, true);
    strip_behind(stripped);
  }
  source.added = std::move(stripped);
  vocabulary.pieces() = source.file.pieces;
  StatePtr state = build_from_sentencepiece(std::move(source));
  state->post_processor = unigram ? frame_of(metadata, vocabulary, false, true, std::nullopt, 1)
                                  : frame_of(metadata, vocabulary, true, false, 1, 2);
  return state;
}

StatePtr from_merges(const GgufMetadata& metadata) {
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
  StatePtr state = build_from_file(std::move(file));
  std::vector<AddedToken> added = added_tokens_of(vocabulary.pieces(), true);
  state->added = AddedTokens(std::move(added), state->model->vocabulary(), state->normalizer.get());
  state->post_processor =
      frame_of(metadata, vocabulary, words->add_bos, false, std::nullopt, std::nullopt);
  return state;
}

// Words are marked at their beginning here, and in WordPiece's own files inside them.
StatePtr from_word_pieces(const GgufMetadata& metadata) {
  constexpr std::string_view kMark = "\xe2\x96\x81";
  GgufVocabulary vocabulary(metadata);
  const auto unknown = vocabulary.id("unknown_token_id", 100);
  if (!unknown) metadata.fail_at(key("unknown_token_id"), "there is no unknown token");
  TokenizerFile file;
  file.has_vocab = true;
  std::vector<AddedToken> added = added_tokens_of(vocabulary.pieces(), true);
  for (std::size_t i = 0; i < vocabulary.pieces().size(); ++i) {
    ScoredPiece& piece = vocabulary.pieces()[i];
    if (piece.text.empty()) continue;
    if (piece.text.starts_with(kMark)) {
      piece.text.erase(0, kMark.size());
    } else if (piece.kind == PieceKind::kNormal && !piece.text.starts_with('[')) {
      piece.text.insert(0, "##");
    }
    file.vocab.emplace_back(piece.text, static_cast<std::int64_t>(i));
  }
  file.root = {
      {"normalizer", {{"type", "BertNormalizer"}, {"lowercase", true}, {"strip_accents", true}}},
      {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
      {"decoder", {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}}},
      {"model",
       {{"type", "WordPiece"},
        {"unk_token", vocabulary.pieces()[static_cast<std::size_t>(*unknown)].text}}}};
  StatePtr state = build_from_file(std::move(file));
  state->added = AddedTokens(std::move(added), state->model->vocabulary(), nullptr);
  const bool ends = metadata.boolean(key("add_sep_token"), true);
  const bool begins = metadata.boolean(key("add_bos_token"), true);
  const auto cls = vocabulary.id("cls_token_id", vocabulary.id("bos_token_id", 101));
  state->post_processor = frame(begins ? cls : std::nullopt,
                                ends ? vocabulary.id("seperator_token_id", 102) : std::nullopt);
  return state;
}

}  // namespace

Tokenizer Tokenizer::from_gguf(const GgufMetadata& metadata) {
  try {
    const std::string model = metadata.string(key("model"));
    StatePtr state;
    if (model == "llama") {
      state = from_pieces(metadata, false);
    } else if (model == "t5") {
      state = from_pieces(metadata, true);
    } else if (model == "gpt2") {
      state = from_merges(metadata);
    } else if (model == "bert") {
      state = from_word_pieces(metadata);
    } else {
      fail(ErrorKind::kUnsupported,
           "key 'tokenizer.ggml.model': '{}' is not known; known are bert, gpt2, llama, t5",
           display_text(model));
    }
    state->finish();
    return Tokenizer(state);
  } catch (const std::bad_alloc&) {
    fail(ErrorKind::kOutOfMemory, "no memory for the tokenizer of a GGUF file");
  }
}

}  // namespace conclave::text
