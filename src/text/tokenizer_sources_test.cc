// Tokenizers from other files than tokenizer.json: which one a directory gives, what its
// configuration adds, and broken or hostile files.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <functional>

#include "base/error.h"
#include "io/gguf.h"
#include "sys/files.h"
#include "text/byte_alphabet.h"
#include "text/tokenizer_test_support.h"

namespace conclave::text {
namespace {

using test::Ids;

std::string golden(const std::string& name) {
  return sys::read_file(std::string(CONCLAVE_SOURCE_DIR) + "/tests/goldens/tokenizers/" + name,
                        1 << 20);
}

class Folder {
 public:
  Folder() {
    std::string name = testing::TempDir() + "tokenizer-XXXXXX";
    path_ = ::mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string put(const std::string& name, std::string_view content) const {
    const std::string file = path_ + "/" + name;
    sys::write_file_atomically(file, content);
    return file;
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::optional<ErrorKind> error_of(const std::function<void()>& load) {
  const auto start = std::chrono::steady_clock::now();
  std::optional<ErrorKind> kind;
  try {
    load();
  } catch (const Error& error) {
    kind = error.kind();
    EXPECT_LT(error.message().size(), 2000u);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
  return kind;
}

TEST(TokenizerSources, DirectoryOrder) {
  Folder folder;
  EXPECT_EQ(error_of([&] { Tokenizer::load(folder.path()); }), ErrorKind::kNotFound);
  folder.put("o200k_base.tiktoken", golden("small.tiktoken"));
  EXPECT_EQ(Tokenizer::load(folder.path()).token_bytes(0), std::string(1, '\0'));
  folder.put("tokenizer.model", golden("sp_char.model"));
  EXPECT_EQ(Tokenizer::load(folder.path()).token_text(0), "<unk>");
  folder.put("tokenizer.json", test::byte_level_file().dump());
  EXPECT_EQ(Tokenizer::load(folder.path()).vocab_size(), 256);
}

TEST(TokenizerSources, TiktokenNeedsItsKind) {
  Folder folder;
  folder.put("tokenizer.model", golden("small.tiktoken"));
  EXPECT_EQ(error_of([&] { Tokenizer::load(folder.path()); }), ErrorKind::kUnsupported);
  folder.put("tokenizer_config.json", R"({"tokenizer_class": "TikTokenTokenizer",
      "added_tokens_decoder": {"500": {"content": "[BOS]", "special": true},
                               "501": {"content": "plain", "special": false}}})");
  const Tokenizer tokenizer = Tokenizer::load(folder.path());
  EXPECT_EQ(tokenizer.token_to_id("[BOS]"), 500);
  EXPECT_TRUE(tokenizer.is_special(500));
  EXPECT_EQ(tokenizer.encode("[BOS]plain", {false, true}), (Ids{500, 501}));
  EXPECT_EQ(tokenizer.encode("plain", {false, false}), (Ids{501}));
  EXPECT_EQ(tokenizer.decode(Ids{500, 501, 'a'}), "[BOS]plaina");
  folder.put("tokenizer_config.json", R"({"tokenizer_class": "TikTokenTokenizer",
      "added_tokens_decoder": {"16000000": {"content": "[BOS]", "special": true}}})");
  EXPECT_EQ(error_of([&] { Tokenizer::load(folder.path()); }), ErrorKind::kBadFile);
  folder.put("tokenizer_config.json", "[]");
  EXPECT_EQ(error_of([&] { Tokenizer::load(folder.path()); }), ErrorKind::kBadFile);
}

TEST(TokenizerSources, SentencePieceFolder) {
  Folder folder;
  folder.put("tokenizer.model", golden("sp_bpe.model"));
  folder.put("tokenizer_config.json",
             R"({"tokenizer_class": "LlamaTokenizer", "add_bos_token": true,
      "add_eos_token": true, "eos_token": {"content": "<|im_end|>"}, "bos_token": "<s>",
      "added_tokens_decoder": {"430": {"content": "<|im_end|>", "special": true, "rstrip": true}}})");
  const Tokenizer tokenizer = Tokenizer::load(folder.path());
  EXPECT_EQ(tokenizer.encode("a<|im_end|> ", {false, true}).back(), 430);
  EXPECT_EQ(tokenizer.encode("a", {true, true}).front(), 1);
  folder.put("tokenizer_config.json", R"({"tokenizer_class": "NllbTokenizerFast"})");
  EXPECT_EQ(error_of([&] { Tokenizer::load(folder.path()); }), ErrorKind::kUnsupported);
}

TEST(TokenizerSources, CutAndFlippedSentencePieceFiles) {
  Folder folder;
  const std::string whole = golden("sp_bpe_suffix.model");
  for (std::size_t size = 0; size < whole.size(); size += 97) {
    const std::string file = folder.put("x.model", whole.substr(0, size));
    error_of([&] { Tokenizer::from_sentencepiece(file); });
  }
  for (std::size_t bit = 0; bit < 8 * whole.size(); bit += 211) {
    std::string broken = whole;
    broken[bit / 8] = static_cast<char>(broken[bit / 8] ^ (1 << (bit % 8)));
    const std::string file = folder.put("x.model", broken);
    error_of([&] { Tokenizer::from_sentencepiece(file).encode("foo bar <sep>"); });
  }
  for (const std::string& bytes : {std::string(), std::string("\x0a\x05\x0a\xff\xff\xff\xff", 7),
                                   std::string(100, '\xff'), std::string(100, '\0')}) {
    const std::string file = folder.put("x.model", bytes);
    EXPECT_EQ(error_of([&] { Tokenizer::from_sentencepiece(file); }), ErrorKind::kBadFile);
  }
}

TEST(TokenizerSources, BrokenTiktokenFiles) {
  Folder folder;
  const auto load = [&](std::string_view text) {
    const std::string file = folder.put("cl100k_base.tiktoken", text);
    return error_of([&] { Tokenizer::from_tiktoken(file); });
  };
  const std::string whole = golden("small.tiktoken");
  EXPECT_EQ(load(whole), std::nullopt);
  for (const char* text : {"", "\n", "YQ==", "YQ== x", "YQ== -1", " 5", "Y!Q= 1",
                           "YQ== 99999999999999", "YQ== 0", "YQ== 0\nYQ== 1"}) {
    EXPECT_EQ(load(text), ErrorKind::kBadFile) << text;
  }
  EXPECT_EQ(load(whole + "YWFhYWFh 15000000\n"), ErrorKind::kBadFile);
  Folder other;  // neither name nor size tell the kind
  EXPECT_EQ(error_of([&] { Tokenizer::from_tiktoken(other.put("x.tiktoken", whole)); }),
            ErrorKind::kUnsupported);
}

io::GgufMetadata byte_metadata() {
  io::GgufMetadata metadata("test.gguf");
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) {
    tokens.emplace_back(byte_to_alphabet(static_cast<std::uint8_t>(byte)));
  }
  tokens.insert(tokens.end(), {"ab", "<|im_start|>", "  "});
  std::vector<std::int32_t> kinds(tokens.size(), 1);
  kinds[257] = 3;
  kinds[258] = 4;
  metadata.set("tokenizer.ggml.model", std::string("gpt2"));
  metadata.set("tokenizer.ggml.pre", std::string("llama-bpe"));
  metadata.set("tokenizer.ggml.tokens", io::GgufArray::of(tokens));
  metadata.set("tokenizer.ggml.token_type", io::GgufArray::of(kinds));
  metadata.set("tokenizer.ggml.merges", io::GgufArray::of(std::vector<std::string>{"a b"}));
  metadata.set("tokenizer.ggml.bos_token_id", std::uint32_t{257});
  return metadata;
}

TEST(TokenizerSources, GgufMetadata) {
  const Tokenizer tokenizer = Tokenizer::from_gguf(byte_metadata());
  EXPECT_EQ(tokenizer.encode("abc<|im_start|>  ", {false, true}), (Ids{256, 'c', 257, 258}));
  EXPECT_EQ(tokenizer.encode("a", {true, false}), (Ids{257, 'a'}));
  EXPECT_EQ(tokenizer.decode(Ids{256, 258, 257}), "ab  <|im_start|>");
}

TEST(TokenizerSources, BrokenGgufMetadata) {
  const auto after = [](const std::function<void(io::GgufMetadata&)>& change) {
    io::GgufMetadata metadata = byte_metadata();
    change(metadata);
    return error_of([&] { Tokenizer::from_gguf(metadata); });
  };
  const std::vector<std::string> two = {"a", "a"};
  const std::vector<std::int32_t> few = {1, 2};
  EXPECT_EQ(after([](auto& m) { m.set("tokenizer.ggml.model", std::string("rwkv")); }),
            ErrorKind::kUnsupported);
  EXPECT_EQ(after([](auto& m) { m.set("tokenizer.ggml.pre", std::string("novelty")); }),
            ErrorKind::kBadFile);
  EXPECT_EQ(after([&](auto& m) { m.set("tokenizer.ggml.token_type", io::GgufArray::of(few)); }),
            ErrorKind::kBadFile);
  EXPECT_EQ(after([](auto& m) { m.set("tokenizer.ggml.bos_token_id", std::uint32_t{9999}); }),
            ErrorKind::kBadFile);
  for (const char* merge : {"ab", "a ", "a nope", "a c", ""}) {
    const std::vector<std::string> merges = {merge};
    EXPECT_EQ(after([&](auto& m) { m.set("tokenizer.ggml.merges", io::GgufArray::of(merges)); }),
              ErrorKind::kBadFile)
        << merge;
  }
  for (const char* model : {"llama", "t5", "bert"}) {
    EXPECT_EQ(after([&](auto& m) {
                m.set("tokenizer.ggml.model", std::string(model));
                m.set("tokenizer.ggml.tokens", io::GgufArray::of(two));
                m.set("tokenizer.ggml.token_type", io::GgufArray::of(few));
              }),
              ErrorKind::kBadFile)
        << model;
  }
}

// One letter or one space, a megabyte of it: no kind of tokenizer takes more than a moment.
TEST(TokenizerSources, LongRunsInLinearTime) {
  Folder folder;
  std::vector<Tokenizer> all;
  for (const char* name :
       {"sp_bpe", "sp_bpe_suffix", "sp_unigram", "sp_unigram_bytes", "sp_char"}) {
    all.push_back(Tokenizer::load(
        folder.put(std::string(name) + ".model", golden(std::string(name) + ".model"))));
  }
  all.push_back(Tokenizer::load(folder.put("cl100k_base.tiktoken", golden("small.tiktoken"))));
  all.push_back(Tokenizer::from_gguf(byte_metadata()));
  for (const char letter : {'a', ' ', '\n', '0'}) {
    const std::string text(std::size_t{1} << 20, letter);
    for (const Tokenizer& tokenizer : all) {
      const auto start = std::chrono::steady_clock::now();
      tokenizer.encode(text);
      EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
    }
  }
}

}  // namespace
}  // namespace conclave::text
