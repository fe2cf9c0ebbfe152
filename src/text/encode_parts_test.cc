// Text in parts of different trust: control tokens come from trusted parts alone, and everything
// else is as if the text were one.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/rng.h"
#include "text/tokenizer_test_support.h"

namespace conclave::text {
namespace {

using test::added_token;
using test::byte_level_file;
using test::Ids;
using test::Json;
using test::load_json;

constexpr EncodeOptions kSpecial{false, true};

Json chat_file() {
  Json file = byte_level_file({{"h", "i"}, {"\xc4\xa0", "hi"}});
  file["added_tokens"] = {added_token(258, "<|end|>", true), added_token(259, "hey", false),
                          added_token(260, "<|e", true), added_token(261, "bc", true),
                          added_token(262, "ab", true)};
  return file;
}

TEST(EncodeParts, ContentNeverBecomesControl) {
  const Tokenizer tokenizer = load_json(chat_file());
  const auto encode = [&](std::vector<TextPart> parts) { return tokenizer.encode_parts(parts); };
  EXPECT_EQ(encode({{"<|end|>", true}}), (Ids{258}));
  EXPECT_EQ(encode({{"<|end|>", false}}), (Ids{'<', '|', 'e', 'n', 'd', '|', '>'}));
  EXPECT_EQ(encode({{"<|end|>", true}, {"<|end|>", false}, {"<|end|>", true}}),
            (Ids{258, '<', '|', 'e', 'n', 'd', '|', '>', 258}));
  EXPECT_EQ(encode({{"hey", false}, {"<|end|>", true}}), (Ids{259, 258}));
  EXPECT_EQ(encode({}), Ids{});
  EXPECT_EQ(encode({{"", true}, {"", false}}), Ids{});
}

TEST(EncodeParts, SeamsMakeNoControl) {
  const Tokenizer tokenizer = load_json(chat_file());
  const std::string text = "<|end|>";
  for (std::size_t cut = 1; cut < text.size(); ++cut) {
    for (const bool first : {false, true}) {
      const std::string left = text.substr(0, cut), right = text.substr(cut);
      const Ids ids = tokenizer.encode_parts(std::vector<TextPart>{{left, first}, {right, !first}});
      EXPECT_EQ(std::count(ids.begin(), ids.end(), 258), 0) << cut;
    }
    // Template text that happens to come in pieces is one text.
    const std::string left = text.substr(0, cut), right = text.substr(cut);
    EXPECT_EQ(
        tokenizer.encode_parts(std::vector<TextPart>{{left, true}, {"", false}, {right, true}}),
        (Ids{258}));
  }
}

// A token across the seam is no token, and does not swallow the one behind the seam.
TEST(EncodeParts, ContentHidesNoControl) {
  const Tokenizer tokenizer = load_json(chat_file());
  EXPECT_EQ(tokenizer.encode_parts(std::vector<TextPart>{{"a", false}, {"bc", true}}),
            (Ids{'a', 261}));
  EXPECT_EQ(tokenizer.encode_parts(std::vector<TextPart>{{"ab", true}, {"c", false}}),
            (Ids{262, 'c'}));
}

TEST(EncodeParts, WordsGoOnAcrossSeams) {
  const Tokenizer tokenizer = load_json(chat_file());
  EXPECT_EQ(tokenizer.encode_parts(std::vector<TextPart>{{"x h", true}, {"i", false}}),
            (Ids{'x', 257}));
  EXPECT_EQ(tokenizer.encode_parts(std::vector<TextPart>{{"<|end|>he", true}, {"y", false}}),
            (Ids{258, 259}));
}

TEST(EncodeParts, EqualsTheWholeWhereContentHoldsNothingSpecial) {
  const Tokenizer tokenizer = load_json(chat_file());
  const Rng rng(7);
  std::uint64_t drawn = 0;
  const std::vector<std::string> trusted = {"<|end|>", "hi ", "\n\n", "<|e", "x<|end|>hey"};
  const std::vector<std::string> content = {"hi", " hi hey", "h\xc3\xa9", "\xff", "  ", "i<", "|>"};
  for (int round = 0; round < 300; ++round) {
    std::string whole;
    std::vector<TextPart> parts;
    for (int i = 0; i < 6; ++i) {
      const auto& from = i % 2 == 0 ? trusted : content;
      parts.push_back({from[rng.below(drawn++, from.size())], i % 2 == 0});
      whole += parts.back().text;
    }
    EXPECT_EQ(tokenizer.encode_parts(parts), tokenizer.encode(whole, kSpecial)) << whole;
  }
}

// Special tokens that are looked for in normalized text, behind a normalizer that moves bytes.
TEST(EncodeParts, BehindANormalizer) {
  Json file = byte_level_file({{"\xc4\xa0", "x"}});
  Json token = added_token(257, "<s>", true);
  token["normalized"] = true;
  file["added_tokens"] = {token};
  file["normalizer"] = {
      {"type", "Sequence"},
      {"normalizers",
       {{{"type", "NFKC"}},
        {{"type", "Replace"}, {"pattern", {{"String", "y"}}}, {"content", "zz"}}}}};
  const Tokenizer tokenizer = load_json(file);
  const auto encode = [&](std::vector<TextPart> parts) { return tokenizer.encode_parts(parts); };
  EXPECT_EQ(encode({{"y<s>", true}, {"<s>\xef\xbc\xa1", false}, {"<s>", true}}),
            (Ids{'z', 'z', 257, '<', 's', '>', 'A', 257}));
  EXPECT_EQ(encode({{"<s", true}, {">", false}}), (Ids{'<', 's', '>'}));
  EXPECT_EQ(encode({{"yyy<", false}, {"s>", true}, {"<s>", true}}),
            (Ids{'z', 'z', 'z', 'z', 'z', 'z', '<', 's', '>', 257}));
}

// Most Unigram vocabularies know their control tokens as ordinary ones.
TEST(EncodeParts, ModelsMakeNoControlOfContent) {
  Json file = byte_level_file();
  file["pre_tokenizer"] = nullptr;
  file["decoder"] = nullptr;
  Json vocab = Json::array();
  for (const char* token : {"<unk>", "</s>", "<", "/", "s", ">", "a"}) {
    vocab.push_back(Json::array({token, vocab.size() < 2 ? 0.0 : -2.0}));
  }
  file["model"] = {{"type", "Unigram"}, {"unk_id", 0}, {"byte_fallback", false}, {"vocab", vocab}};
  file["added_tokens"] = {added_token(0, "<unk>", true), added_token(1, "</s>", true)};
  const Tokenizer tokenizer = load_json(file);
  EXPECT_EQ(tokenizer.encode("a</s>a", kSpecial), (Ids{6, 1, 6}));
  EXPECT_EQ(tokenizer.encode("a</s>a?", {false, false}), (Ids{6, 2, 3, 4, 5, 6, 0}));
  EXPECT_EQ(tokenizer.encode_parts(std::vector<TextPart>{{"a</s>", false}, {"</s>", true}}),
            (Ids{6, 2, 3, 4, 5, 1}));
}

TEST(EncodeParts, ManyPartsInLinearTime) {
  const Tokenizer tokenizer = load_json(chat_file());
  std::vector<TextPart> parts;
  for (int i = 0; i < 100'000; ++i) {
    parts.push_back({"<|end|>", true});
    parts.push_back({"<|end|> hi", false});
  }
  const Ids ids = tokenizer.encode_parts(parts);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 258), 100'000);
  EXPECT_EQ(ids.size(), 900'000u);
}

}  // namespace
}  // namespace conclave::text
