// Tokenizer from GGUF metadata (ggml, docs/gguf.md: tokenizer.ggml.*), with the ids that the
// reference of each kind gives.
#include "base/error.h"
#include "io/gguf.h"
#include "text/display.h"
#include "text/gguf_vocabulary.h"
#include "text/tokenizer.h"
#include "text/tokenizer_build.h"

namespace conclave::text {
namespace {

using io::GgufMetadata;

std::string key(const char* name) { return gguf_key(name); }

StatePtr from_pieces(const GgufMetadata& metadata, bool unigram) {
  GgufPieces parts = gguf_pieces(metadata, unigram);
  StatePtr state = build_from_sentencepiece(std::move(parts.source));
  state->post_processor = frame(parts.frame.begin, parts.frame.end);
  return state;
}

StatePtr from_merges(const GgufMetadata& metadata) {
  GgufMerges parts = gguf_merges(metadata);
  StatePtr state = build_from_file(std::move(parts.file));
  state->added =
      AddedTokens(std::move(parts.added), state->model->vocabulary(), state->normalizer.get());
  state->post_processor = frame(parts.frame.begin, parts.frame.end);
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
