// Ids that the reference libraries give: for the small tokenizers of tests/goldens/tokenizers (made
// by scripts/make_tokenizer_goldens.py), and for published vocabularies where they are at hand.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "sys/files.h"
#include "text/tokenizer.h"

namespace conclave::text {
namespace {

using Ids = std::vector<std::int32_t>;
using nlohmann::json;

constexpr EncodeOptions kPlain{false, false};
constexpr EncodeOptions kSpecial{false, true};

std::string goldens() { return std::string(CONCLAVE_SOURCE_DIR) + "/tests/goldens/tokenizers/"; }
std::string shared() { return std::string(CONCLAVE_SOURCE_DIR) + "/../shared/data/tokenizers/"; }

std::string from_hex(const std::string& digits) {
  std::string bytes;
  for (std::size_t i = 0; i < digits.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

class Goldens : public testing::TestWithParam<const char*> {};

TEST_P(Goldens, IdsOfTheReference) {
  const json golden = json::parse(sys::read_file(goldens() + GetParam() + ".json", 1 << 20));
  const std::string file = goldens() + golden["file"].get<std::string>();
  TiktokenOptions options;
  options.kind = golden["options"].value("kind", "");
  const Tokenizer tokenizer =
      options.kind.empty() ? Tokenizer::load(file) : Tokenizer::from_tiktoken(file, options);
  ASSERT_GT(golden["cases"].size(), 100u);
  for (const json& one : golden["cases"]) {
    const std::string text = from_hex(one[0]);
    // Text that spells a control token stays text, also where the reference has no such notion.
    EXPECT_EQ(tokenizer.encode(text, kPlain), one[1].get<Ids>()) << one[0];
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, Goldens,
                         testing::Values("sp_bpe", "sp_bpe_suffix", "sp_unigram", "sp_unigram_user",
                                         "sp_unigram_bytes", "sp_char", "tiktoken_llama3",
                                         "tiktoken_o200k", "tiktoken_kimi-k2", "tiktoken_cl100k",
                                         "hf_unigram", "hf_word_piece", "hf_word_level"));

TEST(GgufVocabularies, IdsOfTheirVectors) {
  if (!sys::directory_exists(shared() + "gguf")) GTEST_SKIP() << "no shared/data/tokenizers/gguf";
  for (const std::string& name : sys::list_directory(shared() + "gguf")) {
    if (!name.ends_with(".gguf")) continue;
    const std::string path = shared() + "gguf/" + name;
    const Tokenizer tokenizer = Tokenizer::load(path);
    std::string input = sys::read_file(path + ".inp", 1 << 20);
    std::string expected = sys::read_file(path + ".out", 1 << 20);
    const std::string mark = "\n__ggml_vocab_test__\n";
    int cases = 0;
    for (bool more = true; more; ++cases) {
      const std::size_t end = input.find(mark);
      more = end != std::string::npos;
      const std::string text = input.substr(0, end);
      if (more) input.erase(0, end + mark.size());
      const std::size_t line = std::min(expected.find('\n'), expected.size());
      Ids ids;
      std::istringstream numbers(expected.substr(0, line));
      for (std::int32_t id = 0; numbers >> id;) ids.push_back(id);
      expected.erase(0, std::min(line + 1, expected.size()));
      EXPECT_EQ(tokenizer.encode(text, kSpecial), ids) << name << ": " << text;
    }
    EXPECT_GT(cases, 40) << name;
  }
}

// A conversation as its parts: trusted template text, and content.
TEST(SentencePieceModels, ControlTokensOfAConversation) {
  const std::string path = shared() + "mistral/mixtral-8x7b.tokenizer.model";
  if (!sys::file_exists(path)) GTEST_SKIP() << "no shared/data/tokenizers/mistral";
  const Tokenizer tokenizer = Tokenizer::load(path);
  EXPECT_EQ(tokenizer.vocab_size(), 32000);
  EXPECT_EQ(tokenizer.encode("hello", {true, false}).front(), 1);
  EXPECT_EQ(tokenizer.encode("</s>", kSpecial), (Ids{2}));
  const Ids ids = tokenizer.encode_parts(
      std::vector<TextPart>{{"<s>", true}, {"say </s>", false}, {"</s>", true}});
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 2), 1);
  EXPECT_EQ(ids.front(), 1);
  EXPECT_EQ(ids.back(), 2);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("h\xc3\xa9llo  \xf0\x9f\x98\x80\n", kPlain)),
            "h\xc3\xa9llo  \xf0\x9f\x98\x80\n");
}

}  // namespace
}  // namespace conclave::text
