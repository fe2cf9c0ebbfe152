#include "text/tokenizer_build.h"

#include <utility>

#include "base/error.h"
#include "text/scored_bpe_model.h"
#include "text/sentencepiece_normalizer.h"
#include "text/unigram_model.h"

namespace conclave::text {
namespace {

using nlohmann::json;

// Byte tokens become bytes and visible spaces spaces; the space in front goes again.
json sentencepiece_decoder(const SentencePieceNormalizerConfig& config) {
  json steps = json::array();
  if (config.escape_whitespaces) {
    steps.push_back(
        {{"type", "Replace"}, {"pattern", {{"String", "\xe2\x96\x81"}}}, {"content", " "}});
  }
  steps.push_back({{"type", "ByteFallback"}});
  steps.push_back({{"type", "Fuse"}});
  if (config.add_dummy_prefix) {
    const int behind = config.whitespace_as_suffix ? 1 : 0;
    steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1 - behind}, {"stop", behind}});
  }
  return {{"type", "Sequence"}, {"decoders", steps}};
}

}  // namespace

StatePtr build_from_file(TokenizerFile file) {
  const json null;
  const JsonView root(file.root, "");
  const auto part = [&](const char* key) {
    return root.has(key) ? JsonView(file.root.at(key), key) : JsonView(null, key);
  };
  if (root.has("version") && part("version").text() != "1.0") part("version").wrong("'1.0'");
  if (!part("model").is_object()) part("model").wrong("an object");

  auto state = std::make_shared<detail::TokenizerState>();
  state->model = make_model(part("model"), file);
  if (root.has("normalizer")) state->normalizer = make_normalizer(part("normalizer"));
  if (root.has("pre_tokenizer")) state->pre_tokenizer = make_pre_tokenizer(part("pre_tokenizer"));
  state->post_processor = make_post_processor(part("post_processor"));
  state->decoder = make_decoder(part("decoder"));
  if (root.has("added_tokens")) {
    state->added = AddedTokens(parse_added_tokens(part("added_tokens")), state->model->vocabulary(),
                               state->normalizer.get());
  }
  return state;
}

json byte_level_components(std::span<const std::string_view> patterns, bool nfc) {
  json steps = json::array();
  for (const std::string_view pattern : patterns) {
    steps.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", pattern}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
  }
  const json bytes = {{"type", "ByteLevel"},
                      {"add_prefix_space", false},
                      {"trim_offsets", true},
                      {"use_regex", false}};
  steps.push_back(bytes);
  json root = {{"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", steps}}},
               {"decoder", bytes}};
  if (nfc) root["normalizer"] = {{"type", "NFC"}};
  return root;
}

std::vector<AddedToken> added_tokens_of(std::span<const ScoredPiece> pieces, bool user_defined) {
  std::vector<AddedToken> tokens;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const PieceKind kind = pieces[i].kind;
    const bool special = kind == PieceKind::kControl || kind == PieceKind::kUnknown;
    if (!special && !(user_defined && kind == PieceKind::kUserDefined)) continue;
    AddedToken token;
    token.content = pieces[i].text;
    token.id = static_cast<std::int32_t>(i);
    token.normalized = false;
    token.special = special;
    tokens.push_back(std::move(token));
  }
  return tokens;
}

StatePtr build_from_sentencepiece(SentencePieceSource source) {
  SentencePieceFile& file = source.file;
  auto state = std::make_shared<detail::TokenizerState>();
  std::vector<AddedToken> added = added_tokens_of(file.pieces, !source.user_defined_in_model);
  for (AddedToken& token : source.added) added.push_back(std::move(token));
  switch (file.type) {
    case SentencePieceType::kUnigram:
      if (!source.user_defined_in_model) {
        for (ScoredPiece& piece : file.pieces) {
          // Cut out before: in the model it would only change the scores.
          if (piece.kind == PieceKind::kUserDefined) piece.kind = PieceKind::kUnused;
        }
      }
      state->model = std::make_unique<UnigramModel>(
          UnigramConfig{source.unk_id, file.byte_fallback}, file.pieces);
      break;
    case SentencePieceType::kBpe:
    case SentencePieceType::kChar:
      state->model = std::make_unique<ScoredBpeModel>(
          ScoredBpeConfig{source.unk_id, file.byte_fallback, source.user_defined_in_model,
                          file.type == SentencePieceType::kBpe},
          file.pieces);
      break;
    case SentencePieceType::kWord:
      fail(ErrorKind::kUnsupported,
           "a SentencePiece model of whole words; only unigram, BPE and "
           "character models are supported");
  }
  if (source.user_defined_in_model) {
    for (const ScoredPiece& piece : file.pieces) {
      if (piece.kind == PieceKind::kUserDefined) {
        file.normalizer.user_defined.push_back(piece.text);
      }
    }
  }
  const json decoder = sentencepiece_decoder(file.normalizer);
  state->decoder = make_decoder(JsonView(decoder, "decoder"));
  state->normalizer = make_sentencepiece_normalizer(std::move(file.normalizer));
  state->added = AddedTokens(std::move(added), state->model->vocabulary(), nullptr);
  return state;
}

PostProcessor frame(std::optional<std::int32_t> begin, std::optional<std::int32_t> end) {
  PostProcessor out;
  if (!begin && !end) return out;
  std::vector<PostProcessor::Part> parts;
  if (begin) parts.push_back({false, {*begin}});
  parts.push_back({true, {}});
  if (end) parts.push_back({false, {*end}});
  out.templates.push_back(std::move(parts));
  return out;
}

}  // namespace conclave::text
