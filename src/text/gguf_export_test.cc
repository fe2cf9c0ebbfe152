// Tokenizers of GGUF files written as a directory's files: the same ids come back.
#include "text/gguf_export.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/error.h"
#include "sys/files.h"
#include "text/byte_alphabet.h"
#include "text/sentencepiece_file.h"
#include "text/tokenizer_test_support.h"
#include "text/word_patterns.h"

namespace conclave::text {
namespace {

using test::Ids;

const std::vector<std::string>& texts() {
  static const std::vector<std::string> kTexts = {
      "",
      " ",
      "a",
      "  two  spaces ",
      "The rain's in Spain, 12345 67.8%\r\n\n\tstays",
      "I'LL we've XMLHttpRequest snake_case",
      "<s>a</s><unk> <|im_start|>user\nhello<|im_end|> \n x",
      "<user>one<user> two",
      "caf\xc3\xa9 cafe\xcc\x81 \xef\xac\x81 \xe4\xb8\xad\xe6\x96\x87\xe3\x81\x8b\xed\x95\x9c",
      "\xf0\x9f\x98\x80\xe2\x96\x81 \xc2\xa0\xe2\x80\x89.",
      std::string("\0b", 2),
  };
  return kTexts;
}

std::string golden(const std::string& name) {
  return sys::read_file(std::string(CONCLAVE_SOURCE_DIR) + "/tests/goldens/tokenizers/" + name,
                        1 << 20);
}

// What Tokenizer::load() makes of the written files.
Tokenizer read_back(const TokenizerExport& made) {
  std::string folder = testing::TempDir() + "export-XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) throw std::runtime_error("no folder");
  sys::write_file_atomically(folder + "/" + made.file, made.bytes);
  sys::write_file_atomically(folder + "/tokenizer_config.json", made.settings.dump());
  const Tokenizer tokenizer = Tokenizer::load(folder);
  std::filesystem::remove_all(folder);
  return tokenizer;
}

void expect_same(const Tokenizer& a, const Tokenizer& b, const std::string& what) {
  for (const std::string& text : texts()) {
    for (const bool add : {false, true}) {
      for (const bool special : {false, true}) {
        const Ids ids = a.encode(text, {add, special});
        EXPECT_EQ(b.encode(text, {add, special}), ids) << what << ": " << text;
        EXPECT_EQ(b.decode(ids), a.decode(ids)) << what << ": " << text;
      }
    }
  }
}

io::GgufMetadata byte_level(const std::string& pre) {
  io::GgufMetadata metadata("test.gguf");
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) {
    tokens.emplace_back(byte_to_alphabet(static_cast<std::uint8_t>(byte)));
  }
  tokens.insert(tokens.end(), {"ai", "in", "\xc4\xa0S", "ain", "12", "", "<s>", "<user>",
                               "<|im_start|>", "<|im_end|>", "pai", "<unk>", "[PAD]"});
  std::vector<std::int32_t> kinds(tokens.size(), 1);
  kinds[262] = kinds[264] = kinds[265] = 3;
  kinds[263] = 4;
  kinds[267] = 2;
  kinds[268] = 5;
  metadata.set("tokenizer.ggml.model", std::string("gpt2"));
  metadata.set("tokenizer.ggml.pre", pre);
  metadata.set("tokenizer.ggml.tokens", io::GgufArray::of(tokens));
  metadata.set("tokenizer.ggml.token_type", io::GgufArray::of(kinds));
  metadata.set("tokenizer.ggml.merges", io::GgufArray::of(std::vector<std::string>{
                                            "a i", "i n", "\xc4\xa0 S", "a in", "1 2", "p ai"}));
  metadata.set("tokenizer.ggml.bos_token_id", std::uint32_t{262});
  metadata.set("tokenizer.ggml.eos_token_id", std::uint32_t{265});
  return metadata;
}

io::GgufMetadata scored(const SentencePieceFile& file) {
  io::GgufMetadata metadata("test.gguf");
  std::vector<std::string> tokens;
  std::vector<std::int32_t> kinds;
  std::vector<float> scores;
  for (const ScoredPiece& piece : file.pieces) {
    tokens.push_back(piece.text);
    kinds.push_back(static_cast<std::int32_t>(piece.kind));
    scores.push_back(piece.score);
  }
  const bool unigram = file.type == SentencePieceType::kUnigram;
  metadata.set("tokenizer.ggml.model", std::string(unigram ? "t5" : "llama"));
  metadata.set("tokenizer.ggml.tokens", io::GgufArray::of(tokens));
  metadata.set("tokenizer.ggml.token_type", io::GgufArray::of(kinds));
  metadata.set("tokenizer.ggml.scores", io::GgufArray::of(std::span<const float>(scores)));
  metadata.set("tokenizer.ggml.unknown_token_id", std::uint32_t{0});
  metadata.set("tokenizer.ggml.add_space_prefix", file.normalizer.add_dummy_prefix);
  if (unigram) {
    metadata.set("tokenizer.ggml.remove_extra_whitespaces",
                 file.normalizer.remove_extra_whitespaces);
    io::GgufArray map;
    for (const char c : file.normalizer.charsmap) map.numbers.push_back(static_cast<std::byte>(c));
    if (!map.numbers.empty()) metadata.set("tokenizer.ggml.precompiled_charsmap", map);
  }
  return metadata;
}

TEST(GgufExport, ByteLevelGivesTheSameIds) {
  std::vector<std::string_view> names = word_pattern_names();
  names.emplace_back("");
  for (const std::string_view pre : names) {
    for (const bool framed : {false, true}) {
      io::GgufMetadata metadata = byte_level(std::string(pre));
      if (framed) {
        metadata.set("tokenizer.ggml.add_bos_token", true);
        metadata.set("tokenizer.ggml.add_eos_token", true);
      }
      const TokenizerExport made = export_tokenizer(metadata);
      EXPECT_EQ(made.file, "tokenizer.json");
      const Tokenizer before = Tokenizer::from_gguf(metadata);
      const Tokenizer after = read_back(made);
      expect_same(before, after, std::string(pre));
      if (framed) {
        EXPECT_EQ(after.encode("", {true, false}), (Ids{262, 265}));
      }
      for (std::int32_t id = 0; id < before.vocab_size(); ++id) {
        EXPECT_EQ(after.token_text(id), before.token_text(id));
        EXPECT_EQ(after.is_special(id), before.is_special(id)) << id;
      }
    }
  }
}

TEST(GgufExport, MergesOfTokensWithSpaces) {
  io::GgufMetadata metadata = byte_level("gpt-2");
  std::vector<std::string> tokens;
  const io::StringTable& old = metadata.strings("tokenizer.ggml.tokens");
  for (std::size_t i = 0; i < old.size(); ++i) tokens.emplace_back(old[i]);
  tokens[256] = "b c";
  tokens[257] = "ab c";
  metadata.set("tokenizer.ggml.tokens", io::GgufArray::of(tokens));
  metadata.set("tokenizer.ggml.merges", io::GgufArray::of(std::vector<std::string>{"a b c"}));
  expect_same(Tokenizer::from_gguf(metadata), read_back(export_tokenizer(metadata)), "spaces");
}

TEST(GgufExport, PiecesGiveTheSameIds) {
  for (const char* name : {"sp_bpe", "sp_unigram", "sp_unigram_bytes", "sp_unigram_user"}) {
    const SentencePieceFile file = parse_sentencepiece_file(golden(std::string(name) + ".model"));
    for (const bool prefix : {false, true}) {
      io::GgufMetadata metadata = scored(file);
      metadata.set("tokenizer.ggml.add_space_prefix", prefix);
      const TokenizerExport made = export_tokenizer(metadata);
      EXPECT_EQ(made.file, "tokenizer.model");
      expect_same(Tokenizer::from_gguf(metadata), read_back(made), name);
    }
    io::GgufMetadata metadata = scored(file);
    metadata.set("tokenizer.ggml.add_bos_token", false);
    metadata.set("tokenizer.ggml.add_eos_token", true);
    metadata.set("tokenizer.ggml.eos_token_id", std::uint32_t{2});
    const Tokenizer after = read_back(export_tokenizer(metadata));
    EXPECT_EQ(after.encode("", {true, false}), (Ids{2}));
    expect_same(Tokenizer::from_gguf(metadata), after, name);
  }
}

// Phi-3's special tokens take the white space behind them, which the name of the model says.
TEST(GgufExport, SpaceBehindSpecialTokens) {
  const SentencePieceFile file = parse_sentencepiece_file(golden("sp_bpe.model"));
  io::GgufMetadata metadata = scored(file);
  metadata.set("general.name", std::string("Phi-3 mini"));
  const Tokenizer after = read_back(export_tokenizer(metadata));
  EXPECT_EQ(after.encode("</s>  a", {false, true}), after.encode("</s>a", {false, true}));
  expect_same(Tokenizer::from_gguf(metadata), after, "phi-3");
}

// A token without text, and none marked as the unknown one: the library would refuse both.
TEST(GgufExport, SuitsTheLibrary) {
  SentencePieceFile file = parse_sentencepiece_file(golden("sp_bpe.model"));
  file.pieces.back().text.clear();
  file.pieces[0].kind = PieceKind::kControl;
  const io::GgufMetadata metadata = scored(file);
  const TokenizerExport made = export_tokenizer(metadata);
  const SentencePieceFile written = parse_sentencepiece_file(made.bytes);
  EXPECT_EQ(written.pieces[0].kind, PieceKind::kUnknown);
  EXPECT_FALSE(written.pieces.back().text.empty());
  EXPECT_EQ(written.pieces.back().kind, PieceKind::kUnused);
  expect_same(Tokenizer::from_gguf(metadata), read_back(made), "mended");
}

TEST(GgufExport, WhatIsWrittenIsReadAgain) {
  for (const char* name : {"sp_bpe", "sp_bpe_suffix", "sp_char", "sp_unigram_user"}) {
    const SentencePieceFile file = parse_sentencepiece_file(golden(std::string(name) + ".model"));
    const SentencePieceFile again = parse_sentencepiece_file(write_sentencepiece_file(file));
    ASSERT_EQ(again.pieces.size(), file.pieces.size());
    for (std::size_t i = 0; i < file.pieces.size(); ++i) {
      EXPECT_EQ(again.pieces[i].text, file.pieces[i].text);
      EXPECT_EQ(again.pieces[i].score, file.pieces[i].score);
      EXPECT_EQ(again.pieces[i].kind, file.pieces[i].kind);
    }
    EXPECT_EQ(again.type, file.type);
    EXPECT_EQ(again.byte_fallback, file.byte_fallback);
    EXPECT_EQ(again.bos_piece, file.bos_piece);
    EXPECT_EQ(again.eos_piece, file.eos_piece);
    EXPECT_EQ(again.normalizer.charsmap, file.normalizer.charsmap);
    EXPECT_EQ(again.normalizer.add_dummy_prefix, file.normalizer.add_dummy_prefix);
    EXPECT_EQ(again.normalizer.remove_extra_whitespaces, file.normalizer.remove_extra_whitespaces);
    EXPECT_EQ(again.normalizer.escape_whitespaces, file.normalizer.escape_whitespaces);
    EXPECT_EQ(again.normalizer.whitespace_as_suffix, file.normalizer.whitespace_as_suffix);
  }
}

TEST(GgufExport, Refuses) {
  const auto kind_of = [](const io::GgufMetadata& metadata) -> std::optional<ErrorKind> {
    try {
      export_tokenizer(metadata);
    } catch (const Error& error) {
      return error.kind();
    }
    return std::nullopt;
  };
  io::GgufMetadata other = byte_level("gpt-2");
  EXPECT_EQ(kind_of(other), std::nullopt);
  other.set("tokenizer.ggml.model", std::string("rwkv"));
  EXPECT_EQ(kind_of(other), ErrorKind::kUnsupported);
  EXPECT_EQ(kind_of(byte_level("novelty")), ErrorKind::kBadFile);

  SentencePieceFile file = parse_sentencepiece_file(golden("sp_unigram_bytes.model"));
  for (ScoredPiece& piece : file.pieces) {
    if (piece.text == "<0x41>") piece.kind = PieceKind::kNormal;
  }
  EXPECT_EQ(kind_of(scored(file)), ErrorKind::kUnsupported);

  io::GgufMetadata bytes = byte_level("gpt-2");
  std::vector<std::string> tokens;
  const io::StringTable& old = bytes.strings("tokenizer.ggml.tokens");
  for (std::size_t i = 0; i < old.size(); ++i) tokens.emplace_back(old[i]);
  tokens.back() = "\xff\xfe";
  bytes.set("tokenizer.ggml.tokens", io::GgufArray::of(tokens));
  EXPECT_EQ(kind_of(bytes), ErrorKind::kUnsupported);
}

}  // namespace
}  // namespace conclave::text
