// The tokenizer of a GGUF file in a directory.
#include "models/convert_tokenizer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "io/json.h"
#include "sys/files.h"
#include "text/byte_alphabet.h"
#include "text/sentencepiece_file.h"
#include "text/tokenizer.h"

namespace conclave::models {
namespace {

class ConvertTokenizer : public testing::Test {
 protected:
  ConvertTokenizer() {
    std::string name = testing::TempDir() + "convert-tokenizer-XXXXXX";
    folder_ = ::mkdtemp(name.data());
    std::vector<std::string> tokens;
    for (int byte = 0; byte < 256; ++byte) {
      tokens.emplace_back(text::byte_to_alphabet(static_cast<std::uint8_t>(byte)));
    }
    tokens.insert(tokens.end(), {"ab", "<|end|>"});
    std::vector<std::int32_t> kinds(tokens.size(), 1);
    kinds[257] = 3;
    metadata_.set("general.architecture", std::string("llama"));
    metadata_.set("tokenizer.ggml.model", std::string("gpt2"));
    metadata_.set("tokenizer.ggml.pre", std::string("llama-bpe"));
    metadata_.set("tokenizer.ggml.tokens", io::GgufArray::of(tokens));
    metadata_.set("tokenizer.ggml.token_type", io::GgufArray::of(kinds));
    metadata_.set("tokenizer.ggml.merges", io::GgufArray::of(std::vector<std::string>{"a b"}));
    metadata_.set("tokenizer.chat_template", std::string("{{ messages }}"));
    config_.eos_id = 257;
  }
  ~ConvertTokenizer() override { std::filesystem::remove_all(folder_); }

  std::string copy() {
    const std::string file = folder_ + "/x.gguf";
    io::write_gguf(file, metadata_, {}, {});
    return copy_tokenizer_files(file, config_, folder_);
  }
  nlohmann::json settings() const { return io::read_json_file(folder_ + "/tokenizer_config.json"); }

  std::string folder_;
  io::GgufMetadata metadata_{"x.gguf"};
  nn::TransformerConfig config_;
};

TEST_F(ConvertTokenizer, FromTheUsualKeys) {
  EXPECT_EQ(copy(), "");
  const text::Tokenizer tokenizer = text::Tokenizer::load(folder_);
  EXPECT_EQ(tokenizer.encode("ab<|end|>", {false, true}), (std::vector<std::int32_t>{256, 257}));
  EXPECT_EQ(settings().at("eos_token"), "<|end|>");
  EXPECT_EQ(settings().at("chat_template"), "{{ messages }}");
  EXPECT_EQ(settings().at("tokenizer_class"), "PreTrainedTokenizerFast");
}

TEST_F(ConvertTokenizer, TheEmbeddedFileWins) {
  metadata_.set(kTokenizerJsonKey, std::string("{}"));
  EXPECT_EQ(copy(), "");
  EXPECT_EQ(sys::read_file(folder_ + "/tokenizer.json", 100), "{}");
}

TEST_F(ConvertTokenizer, SaysWhatItCannotWrite) {
  for (const char* kind : {"rwkv", "bert"}) {
    metadata_.set("tokenizer.ggml.model", std::string(kind));
    const std::string warning = copy();
    EXPECT_NE(warning.find(kind), std::string::npos) << warning;
    EXPECT_FALSE(std::filesystem::exists(folder_ + "/tokenizer.json"));
    EXPECT_EQ(settings().at("chat_template"), "{{ messages }}");
  }
  metadata_.set("tokenizer.ggml.model", std::string("gpt2"));
  metadata_.set("tokenizer.ggml.pre", std::string("novelty"));
  EXPECT_NE(copy().find("novelty"), std::string::npos);
  metadata_.set("tokenizer.ggml.model", std::string("no_vocab"));
  EXPECT_EQ(copy(), "");
}

// A directory with a SentencePiece model, to GGUF keys and back to a directory.
TEST_F(ConvertTokenizer, SentencePieceModelsBothWays) {
  const std::vector<std::string> texts = {"",
                                          "a",
                                          " the  rain",
                                          "caf\xc3\xa9 \xe4\xb8\xad",
                                          "<s>x<|im_end|> y</s>",
                                          "12 !? \xf0\x9f\x98\x80"};
  const std::string goldens = std::string(CONCLAVE_SOURCE_DIR) + "/tests/goldens/tokenizers/";
  config_.eos_id = -1;
  for (const char* name : {"sp_bpe.model", "sp_unigram.model", "sp_unigram_bytes.model"}) {
    const std::string bytes = sys::read_file(goldens + name, 1 << 20);
    sys::write_file_atomically(folder_ + "/tokenizer.model", bytes);
    const auto pieces = static_cast<int>(text::parse_sentencepiece_file(bytes).pieces.size());
    config_.vocab_size = pieces + 7;
    sys::write_file_atomically(
        folder_ + "/tokenizer_config.json",
        fmt::format(R"({{"add_eos_token": true, "added_tokens_decoder": {{"{}":
                     {{"content": "<|im_end|>", "special": true}}}}}})",
                    pieces + 2));
    const text::Tokenizer first = text::Tokenizer::load(folder_);
    io::GgufMetadata keys;
    EXPECT_EQ(add_tokenizer_keys(folder_, config_, keys), "");
    EXPECT_EQ(keys.strings("tokenizer.ggml.tokens").size(),
              static_cast<std::size_t>(config_.vocab_size));
    const text::Tokenizer second = text::Tokenizer::from_gguf(keys);
    for (const auto& [key, value] : keys.entries()) metadata_.set(key, value);
    EXPECT_EQ(copy(), "");
    const text::Tokenizer third = text::Tokenizer::load(folder_);
    for (const std::string& text : texts) {
      for (const bool special : {false, true}) {
        const auto ids = first.encode(text, {special, special});
        EXPECT_EQ(second.encode(text, {special, special}), ids) << name << ": " << text;
        EXPECT_EQ(third.encode(text, {special, special}), ids) << name << ": " << text;
      }
    }
    EXPECT_EQ(first.encode("<|im_end|>", {false, true}).back(), pieces + 2);
  }
}

TEST_F(ConvertTokenizer, SaysWhichFilesKeysCannotSay) {
  for (const char* bytes : {"YQ== 0\n",
                            "\x0a\x05\x0a\x03"
                            "abc\x12\x02\x18\x04"}) {
    sys::write_file_atomically(folder_ + "/tokenizer.model", bytes);
    io::GgufMetadata keys;
    config_.vocab_size = 5;
    EXPECT_NE(add_tokenizer_keys(folder_, config_, keys).find("tokenizer.model"),
              std::string::npos);
    EXPECT_EQ(keys.string("tokenizer.ggml.model"), "no_vocab");
  }
}

}  // namespace
}  // namespace conclave::models
