#include "models/sentencepiece_keys.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "text/sentencepiece_file.h"

namespace conclave::models {
namespace {

using text::PieceKind;
using text::ScoredPiece;
using text::SentencePieceFile;
using text::SentencePieceType;

constexpr float kUnusedScore = -10000.0f;

void refuse_what_keys_cannot_say(const SentencePieceFile& file) {
  const bool unigram = file.type == SentencePieceType::kUnigram;
  const auto& normalizer = file.normalizer;
  const char* what = nullptr;
  if (!unigram && file.type != SentencePieceType::kBpe) what = "it is neither BPE nor unigram";
  if (normalizer.whitespace_as_suffix) what = "its spaces stand behind words";
  if (!normalizer.escape_whitespaces) what = "its spaces are not made visible";
  if (!unigram && normalizer.remove_extra_whitespaces) what = "it joins spaces";
  if (!unigram && !normalizer.charsmap.empty()) what = "it is BPE with a table of characters";
  if (what != nullptr) {
    fail(ErrorKind::kUnsupported, "GGUF has no key for this SentencePiece model: {}", what);
  }
}

// Ids as Tokenizer::load() of the directory has them.
void add_added(const text::FolderTokens& folder, std::vector<ScoredPiece>& pieces) {
  for (const text::AddedToken& token : folder.added) {
    auto id = static_cast<std::size_t>(token.id);
    if (token.id < 0) {
      const auto same = [&](const ScoredPiece& piece) { return piece.text == token.content; };
      id = static_cast<std::size_t>(std::find_if(pieces.begin(), pieces.end(), same) -
                                    pieces.begin());
    }
    if (id > pieces.size()) pieces.resize(id, {"", kUnusedScore, PieceKind::kUnused});
    if (id == pieces.size()) pieces.emplace_back();
    ScoredPiece& piece = pieces[id];
    piece.text = token.content;
    if (piece.kind == PieceKind::kUnknown) continue;
    piece.kind = token.special ? PieceKind::kControl : PieceKind::kUserDefined;
  }
}

void set_id(io::GgufMetadata& metadata, const std::vector<ScoredPiece>& pieces, const char* role,
            const std::string& name) {
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (pieces[i].text != name) continue;
    metadata.set(fmt::format("tokenizer.ggml.{}_token_id", role), static_cast<std::uint32_t>(i));
    return;
  }
}

void set_pieces(const std::vector<ScoredPiece>& pieces, io::GgufMetadata& metadata) {
  std::vector<std::string> tokens;
  std::vector<std::int32_t> types;
  std::vector<float> scores;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    tokens.push_back(pieces[i].text.empty() ? fmt::format("[PAD{}]", i) : pieces[i].text);
    types.push_back(static_cast<std::int32_t>(pieces[i].kind));
    scores.push_back(pieces[i].score);
    if (pieces[i].kind == PieceKind::kUnknown) {
      metadata.set("tokenizer.ggml.unknown_token_id", static_cast<std::uint32_t>(i));
    }
  }
  metadata.set("tokenizer.ggml.tokens", io::GgufArray::of(tokens));
  metadata.set("tokenizer.ggml.token_type",
               io::GgufArray::of(std::span<const std::int32_t>(types)));
  metadata.set("tokenizer.ggml.scores", io::GgufArray::of(std::span<const float>(scores)));
}

}  // namespace

void add_sentencepiece_keys(std::string_view bytes, const text::FolderTokens& folder,
                            std::int64_t vocab_size, io::GgufMetadata& metadata) {
  SentencePieceFile file = text::parse_sentencepiece_file(bytes);
  refuse_what_keys_cannot_say(file);
  const bool unigram = file.type == SentencePieceType::kUnigram;
  add_added(folder, file.pieces);
  file.pieces.resize(static_cast<std::size_t>(vocab_size), {"", kUnusedScore, PieceKind::kUnused});
  metadata.set("tokenizer.ggml.model", std::string(unigram ? "t5" : "llama"));
  metadata.set("tokenizer.ggml.pre", std::string("default"));
  set_pieces(file.pieces, metadata);
  set_id(metadata, file.pieces, "bos",
         folder.bos_token.empty() ? file.bos_piece : folder.bos_token);
  set_id(metadata, file.pieces, "eos",
         folder.eos_token.empty() ? file.eos_piece : folder.eos_token);
  const bool t5 = folder.tokenizer_class == "T5Tokenizer";
  metadata.set("tokenizer.ggml.add_bos_token", folder.add_bos.value_or(!t5));
  metadata.set("tokenizer.ggml.add_eos_token", folder.add_eos.value_or(t5));
  metadata.set("tokenizer.ggml.add_space_prefix", file.normalizer.add_dummy_prefix);
  if (!unigram) return;
  metadata.set("tokenizer.ggml.remove_extra_whitespaces", file.normalizer.remove_extra_whitespaces);
  if (file.normalizer.charsmap.empty()) return;
  io::GgufArray map;
  const auto table = std::as_bytes(std::span(file.normalizer.charsmap));
  map.numbers.assign(table.begin(), table.end());
  metadata.set("tokenizer.ggml.precompiled_charsmap", std::move(map));
}

}  // namespace conclave::models
