#include "text/gguf_export.h"

#include <algorithm>
#include <unordered_set>

#include "base/error.h"
#include "text/display.h"
#include "text/gguf_vocabulary.h"
#include "text/tokenizer.h"

namespace conclave::text {
namespace {

using io::GgufMetadata;
using nlohmann::json;

constexpr std::size_t kByteTokens = 256;

json flags_of(const AddedToken& token) {
  return {{"content", token.content}, {"single_word", token.single_word},
          {"lstrip", token.lstrip},   {"rstrip", token.rstrip},
          {"normalized", false},      {"special", token.special}};
}

// The tokens around a text, as tokenizer.json says it; null where there are none.
json template_of(const GgufFrame& frame, const std::vector<ScoredPiece>& pieces) {
  if (!frame.begin && !frame.end) return nullptr;
  json special = json::object();
  const auto token = [&](std::int32_t id, int type) -> json {
    const std::string& text = pieces[static_cast<std::size_t>(id)].text;
    special[text] = {{"id", text}, {"ids", {id}}, {"tokens", {text}}};
    return {{"SpecialToken", {{"id", text}, {"type_id", type}}}};
  };
  const auto append = [&](json& list, const char* sequence, int type) {
    if (frame.begin) list.push_back(token(*frame.begin, type));
    list.push_back({{"Sequence", {{"id", sequence}, {"type_id", type}}}});
    if (frame.end) list.push_back(token(*frame.end, type));
  };
  json single = json::array();
  append(single, "A", 0);
  json pair = single;
  append(pair, "B", 1);
  return {{"type", "TemplateProcessing"},
          {"single", single},
          {"pair", pair},
          {"special_tokens", special}};
}

// As "a b", which every version of the library reads; as ["a", "b"] where a token has a space.
json merges_of(const std::vector<std::pair<std::string, std::string>>& merges) {
  const bool spaces = std::any_of(merges.begin(), merges.end(), [](const auto& merge) {
    return merge.first.find(' ') != std::string::npos ||
           merge.second.find(' ') != std::string::npos;
  });
  json list = json::array();
  for (const auto& [a, b] : merges) {
    if (spaces) {
      list.push_back({a, b});
    } else {
      list.push_back(a + " " + b);
    }
  }
  return list;
}

TokenizerExport export_merges(const GgufMetadata& metadata) {
  GgufMerges parts = gguf_merges(metadata);
  json& root = parts.file.root;
  root["version"] = "1.0";
  for (const char* key : {"truncation", "padding"}) root[key] = nullptr;
  if (!root.contains("normalizer")) root["normalizer"] = nullptr;
  json& model = root["model"];
  for (const char* key :
       {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"}) {
    model[key] = nullptr;
  }
  for (const char* key : {"fuse_unk", "byte_fallback"}) model[key] = false;
  json vocab = json::object();
  for (const auto& [token, id] : parts.file.vocab) vocab[token] = id;
  model["vocab"] = std::move(vocab);
  model["merges"] = merges_of(parts.file.merges);
  json& added = root["added_tokens"] = json::array();
  for (const AddedToken& token : parts.added) {
    if (token.content.empty()) continue;
    added.push_back(flags_of(token));
    added.back()["id"] = token.id;
  }
  root["post_processor"] = template_of(parts.frame, GgufVocabulary(metadata).pieces());
  TokenizerExport out{"tokenizer.json", "", {{"tokenizer_class", "PreTrainedTokenizerFast"}}};
  try {
    out.bytes = root.dump(1, ' ') + "\n";
  } catch (const json::exception&) {
    fail(ErrorKind::kUnsupported, "a token is not UTF-8, and a tokenizer.json cannot hold it");
  }
  return out;
}

// What the library demands of a vocabulary: exactly one unknown token, text in every piece, all
// byte tokens or none. Unused names are made up for pieces without text.
void suit_library(SentencePieceSource& source) {
  std::vector<ScoredPiece>& pieces = source.file.pieces;
  std::unordered_set<std::string> texts;
  std::size_t bytes = 0;
  for (const ScoredPiece& piece : pieces) {
    texts.insert(piece.text);
    bytes += piece.kind == PieceKind::kByte ? 1 : 0;
  }
  if (bytes != 0 && bytes != kByteTokens) {
    fail(ErrorKind::kUnsupported, "{} of {} byte tokens; a SentencePiece model has all or none",
         bytes, kByteTokens);
  }
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    ScoredPiece& piece = pieces[i];
    if (piece.text.empty()) {
      piece.text = fmt::format("[PAD{}]", i);
      while (!texts.insert(piece.text).second) piece.text += ']';
      piece.kind = PieceKind::kUnused;
    }
    if (static_cast<std::int32_t>(i) == source.unk_id) {
      piece.kind = PieceKind::kUnknown;
    } else if (piece.kind == PieceKind::kUnknown) {
      piece.kind = PieceKind::kControl;
    }
  }
}

TokenizerExport export_pieces(const GgufMetadata& metadata, bool unigram) {
  GgufPieces parts = gguf_pieces(metadata, unigram);
  SentencePieceSource& source = parts.source;
  suit_library(source);
  std::vector<ScoredPiece>& pieces = source.file.pieces;
  json settings = {{"tokenizer_class", unigram ? "T5Tokenizer" : "LlamaTokenizer"},
                   {"add_bos_token", parts.frame.begin.has_value()},
                   {"add_eos_token", parts.frame.end.has_value()},
                   {"legacy", true},  // a space in front of text behind special tokens, as in GGUF
                   {"unk_token", pieces[static_cast<std::size_t>(source.unk_id)].text}};
  if (unigram) {
    settings["extra_ids"] = 0;  // those that there are, are among the tokens
  } else {
    settings["add_prefix_space"] = source.file.normalizer.add_dummy_prefix;
  }
  const auto name = [&](const char* key, const std::optional<std::int32_t>& id,
                        std::string& piece) {
    if (!id) return;
    piece = pieces[static_cast<std::size_t>(*id)].text;
    settings[key] = piece;
  };
  const GgufVocabulary vocabulary(metadata);
  name("bos_token", parts.frame.begin ? parts.frame.begin : vocabulary.id("bos_token_id"),
       source.file.bos_piece);
  name("eos_token", parts.frame.end ? parts.frame.end : vocabulary.id("eos_token_id"),
       source.file.eos_piece);
  json& added = settings["added_tokens_decoder"] = json::object();
  if (source.added.empty()) source.added = added_tokens_of(pieces, true);
  for (const AddedToken& token : source.added) added[std::to_string(token.id)] = flags_of(token);
  return {"tokenizer.model", write_sentencepiece_file(source.file), std::move(settings)};
}

}  // namespace

TokenizerExport export_tokenizer(const GgufMetadata& metadata) {
  Tokenizer::from_gguf(metadata);  // throws for what is broken
  const std::string kind = metadata.string(gguf_key("model"));
  if (kind == "gpt2") return export_merges(metadata);
  if (kind == "llama" || kind == "t5") return export_pieces(metadata, kind == "t5");
  fail(ErrorKind::kUnsupported,
       "a tokenizer of the kind '{}' is not written; gpt2, llama and t5 are", display_text(kind));
}

}  // namespace conclave::text
