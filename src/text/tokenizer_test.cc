#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <chrono>

#include "base/error.h"
#include "base/rng.h"
#include "text/tokenizer_test_support.h"
#include "text/utf8.h"

namespace conclave::text {
namespace {

using test::added_token;
using test::byte_level_file;
using test::Ids;
using test::Json;
using test::load_json;

constexpr EncodeOptions kPlain{false, false};
constexpr EncodeOptions kSpecial{false, true};

// 256 "he", 257 "ll", 258 "hell", 259 "\u0120hell" (a leading space), 260 "lo".
Json hello_file() {
  return byte_level_file({{"h", "e"}, {"l", "l"}, {"he", "ll"}, {"\xc4\xa0", "hell"}, {"l", "o"}});
}

TEST(Tokenizer, MergesByRank) {
  const Tokenizer tokenizer = load_json(hello_file());
  EXPECT_EQ(tokenizer.vocab_size(), 261);
  EXPECT_EQ(tokenizer.encode("hello", kPlain), (Ids{258, 'o'}));
  EXPECT_EQ(tokenizer.encode(" hello", kPlain), (Ids{259, 'o'}));
  EXPECT_EQ(tokenizer.encode("helo", kPlain), (Ids{256, 260}));
  EXPECT_EQ(tokenizer.encode("hello hello", kPlain), (Ids{258, 'o', 259, 'o'}));
  EXPECT_EQ(tokenizer.encode("", kPlain), Ids{});
  EXPECT_EQ(tokenizer.decode(Ids{259, 'o', 258}), " hellohell");
}

TEST(Tokenizer, KnowsItsTokens) {
  const Tokenizer tokenizer = load_json(hello_file());
  EXPECT_EQ(tokenizer.token_text(259), "\xc4\xa0hell");
  EXPECT_EQ(tokenizer.token_bytes(259), " hell");
  EXPECT_EQ(tokenizer.token_bytes(0xff), "\xff");
  EXPECT_EQ(tokenizer.token_bytes(261), "");
  EXPECT_EQ(tokenizer.token_bytes(-1), "");
  EXPECT_EQ(tokenizer.token_text(1 << 30), "");
  EXPECT_EQ(tokenizer.token_to_id("\xc4\xa0hell"), 259);
  EXPECT_EQ(tokenizer.token_to_id(" hell"), std::nullopt);
  EXPECT_FALSE(tokenizer.is_special(259));
  EXPECT_EQ(tokenizer.decode(Ids{-5, 'a', 999999}), "a");
}

TEST(Tokenizer, SpecialTokensInTextCountOnlyWhenAskedFor) {
  Json file = hello_file();
  file["added_tokens"] = {added_token(261, "<|end|>", true), added_token(262, "hel", false)};
  const Tokenizer tokenizer = load_json(file);
  EXPECT_EQ(tokenizer.vocab_size(), 263);
  EXPECT_EQ(tokenizer.encode("a<|end|>b", kSpecial), (Ids{'a', 261, 'b'}));
  EXPECT_EQ(tokenizer.encode("a<|end|>b", kPlain),
            (Ids{'a', '<', '|', 'e', 'n', 'd', '|', '>', 'b'}));
  EXPECT_EQ(tokenizer.encode("hello", kPlain), (Ids{262, 260}));
  EXPECT_TRUE(tokenizer.is_special(261));
  EXPECT_FALSE(tokenizer.is_special(262));
  EXPECT_EQ(tokenizer.decode(Ids{'a', 261, 'b'}), "a<|end|>b");
  EXPECT_EQ(tokenizer.decode(Ids{'a', 261, 'b'}, true), "ab");
}

TEST(Tokenizer, AddedTokensTakeWhiteSpaceOrWantToStandAlone) {
  Json file = hello_file();
  Json strip = added_token(261, "<t>", false);
  strip["lstrip"] = true;
  strip["rstrip"] = true;
  Json alone = added_token(262, "hi", false);
  alone["single_word"] = true;
  file["added_tokens"] = {strip, alone};
  const Tokenizer tokenizer = load_json(file);
  EXPECT_EQ(tokenizer.encode("a \t<t>\n b", kPlain), (Ids{'a', 261, 'b'}));
  EXPECT_EQ(tokenizer.encode("<t> <t>", kPlain), (Ids{261, 261}));
  EXPECT_EQ(tokenizer.encode("hi!", kPlain), (Ids{262, '!'}));
  EXPECT_EQ(tokenizer.encode("hit", kPlain), (Ids{'h', 'i', 't'}));
  EXPECT_EQ(tokenizer.encode("_hi", kPlain), (Ids{'_', 'h', 'i'}));
}

TEST(Tokenizer, PostProcessorAddsWhatItIsToldTo) {
  Json file = hello_file();
  file["added_tokens"] = {added_token(261, "<s>", true)};
  file["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single",
       {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
        {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
      {"pair", Json::array()},
      {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {261}}, {"tokens", {"<s>"}}}}}}};
  const Tokenizer tokenizer = load_json(file);
  EXPECT_EQ(tokenizer.encode("a"), (Ids{261, 'a'}));
  EXPECT_EQ(tokenizer.encode(""), (Ids{261}));
  EXPECT_EQ(tokenizer.encode("a", kPlain), (Ids{'a'}));
}

TEST(Tokenizer, EveryCodePointComesBack) {
  const Tokenizer tokenizer = load_json(hello_file());
  std::string all;
  for (char32_t c = 0; c <= 0x10ffff; ++c) {
    if (c >= 0xd800 && c <= 0xdfff) continue;
    append_utf8(all, c);
    if (c % 7 == 0) all += ' ';
  }
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(all, kPlain)), all);
}

TEST(Tokenizer, AnyBytesComeBack) {
  const Tokenizer tokenizer = load_json(hello_file());
  std::string text(2, '\0');
  for (int i = 0; i < 1 << 16; ++i) {
    text[0] = static_cast<char>(i >> 8);
    text[1] = static_cast<char>(i);
    const Ids ids = tokenizer.encode(text, kPlain);
    ASSERT_EQ(tokenizer.decode(ids), text) << i;
  }
  const Rng rng(3);
  std::uint64_t counter = 0;
  constexpr std::string_view kPieces[] = {
      "hell", " ", "\n", "\xe3\x81\x82", "\xe3\x81", "\xff", "\xf0\x9f", "\xc2\xa0", "'s", "12"};
  for (int round = 0; round < 5000; ++round) {
    std::string bytes;
    for (std::uint64_t n = rng.below(counter++, 30); n > 0; --n) {
      if (rng.below(counter++, 2) == 0) {
        bytes += static_cast<char>(rng.below(counter++, 256));
      } else {
        bytes += kPieces[rng.below(counter++, std::size(kPieces))];
      }
    }
    ASSERT_EQ(tokenizer.decode(tokenizer.encode(bytes, kSpecial)), bytes);
  }
}

TEST(StreamDecoder, GivesWholeCharactersOnly) {
  const Tokenizer tokenizer = load_json(hello_file());
  StreamDecoder stream(tokenizer);
  EXPECT_EQ(stream.push('a'), "a");
  EXPECT_EQ(stream.push(0xe3), "");
  EXPECT_EQ(stream.push(0x81), "");
  EXPECT_EQ(stream.push(0x82), "\xe3\x81\x82");
  EXPECT_EQ(stream.push(0xe3), "");
  EXPECT_EQ(stream.push('b'), std::string(kReplacement) + "b");
  EXPECT_EQ(stream.push(0xff), kReplacement);
  EXPECT_EQ(stream.push(0xf0), "");
  EXPECT_EQ(stream.flush(), kReplacement);
  EXPECT_EQ(stream.flush(), "");
  EXPECT_EQ(stream.push(259), " hell");
}

TEST(StreamDecoder, PiecesJoinedAreTheWhole) {
  const Tokenizer tokenizer = load_json(hello_file());
  const Rng rng(5);
  std::uint64_t counter = 0;
  for (int round = 0; round < 3000; ++round) {
    Ids ids;
    for (std::uint64_t n = rng.below(counter++, 40); n > 0; --n) {
      ids.push_back(static_cast<std::int32_t>(rng.below(counter++, 270)));
    }
    StreamDecoder stream(tokenizer);
    std::string joined;
    for (const std::int32_t id : ids) {
      const std::string piece = stream.push(id);
      ASSERT_TRUE(is_utf8(piece));
      joined += piece;
    }
    joined += stream.flush();
    ASSERT_EQ(joined, to_valid_utf8(tokenizer.decode(ids)));
  }
}

// Quadratic time would need hours for these.
TEST(Tokenizer, LongRunsTakeLinearTime) {
  std::vector<std::pair<std::string, std::string>> merges;
  for (const char* c : {"a", "\xc4\xa0"}) {
    for (std::string part = c; part.size() < 64; part += part) merges.emplace_back(part, part);
  }
  const Tokenizer tokenizer = load_json(byte_level_file(merges));
  const std::size_t n = 4 << 20;
  for (const std::string unit : {"a", " ", "\n", "\xff",
                                 "\xff"
                                 "a",
                                 "ab", "\xe6\xbc\xa2", "1"}) {
    std::string text;
    while (text.size() < n) text += unit;
    const auto start = std::chrono::steady_clock::now();
    const Ids ids = tokenizer.encode(text, kPlain);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30)) << unit;
    EXPECT_EQ(tokenizer.decode(ids), text);
  }
}

TEST(Tokenizer, RefusesTextsTooLongForItsOffsets) {
  const Tokenizer tokenizer = load_json(hello_file());
  // Only the length is looked at.
  const std::string_view huge("x", std::size_t{1} << 31);
  EXPECT_THROW(tokenizer.encode(huge), Error);
}

// Found by the fuzz program: an id of a template that no token has came out of encode().
TEST(Tokenizer, TokensAroundTextExist) {
  test::Json file = test::byte_level_file();
  const auto with_id = [&](int id) {
    file["post_processor"] = test::Json::parse(fmt::format(
        R"({{"type": "TemplateProcessing",
             "single": [{{"SpecialToken": {{"id": "x", "type_id": 0}}}},
                        {{"Sequence": {{"id": "A", "type_id": 0}}}}],
             "special_tokens": {{"x": {{"id": "x", "ids": [{}], "tokens": ["x"]}}}}}})",
        id));
    return test::load_json(file);
  };
  EXPECT_EQ(with_id(255).encode("a"), (test::Ids{255, 'a'}));
  EXPECT_THROW(with_id(256), Error);
  file["added_tokens"] = {test::added_token(256, "<s>", true)};
  EXPECT_EQ(with_id(256).encode("a"), (test::Ids{256, 'a'}));
}

}  // namespace
}  // namespace conclave::text
