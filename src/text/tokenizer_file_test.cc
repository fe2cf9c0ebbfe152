// Broken, hostile and odd tokenizer files: a typed error, quickly, or the right tokenizer.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>

#include "base/error.h"
#include "text/tokenizer_test_support.h"

namespace conclave::text {
namespace {

using test::added_token;
using test::byte_level_file;
using test::Ids;
using test::Json;
using test::load_json;

// The kind of error that loading gives, or nullopt.
std::optional<ErrorKind> error_of(const std::string& text, std::string* message = nullptr) {
  const auto start = std::chrono::steady_clock::now();
  std::optional<ErrorKind> kind;
  try {
    Tokenizer::from_json_text(text, "some/tokenizer.json");
  } catch (const Error& error) {
    kind = error.kind();
    EXPECT_NE(error.message().find("some/tokenizer.json"), std::string::npos);
    EXPECT_LT(error.message().size(), 2000u);
    if (message != nullptr) *message = error.message();
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
  return kind;
}

std::optional<ErrorKind> error_after(const std::function<void(Json&)>& change,
                                     std::string* message = nullptr) {
  Json file = byte_level_file({{"a", "b"}});
  change(file);
  return error_of(file.dump(), message);
}

TEST(TokenizerFile, IsNotJson) {
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("nul"), std::string("[]"), std::string("5"),
        std::string("\"x\""), std::string("null"), std::string("{}"), std::string("{\"model\":5}"),
        std::string("{\"model\":{}} x"), std::string("\xff\xfe"), std::string("{\"a\":\"\xff\"}"),
        std::string(1'000'000, '['), std::string(1'000'000, '{')}) {
    EXPECT_EQ(error_of(text), ErrorKind::kBadFile) << text.substr(0, 40);
  }
  std::string deep = "{\"model\":";
  for (int i = 0; i < 100'000; ++i) deep += "{\"a\":";
  EXPECT_EQ(error_of(deep), ErrorKind::kBadFile);
}

TEST(TokenizerFile, CutAnywhere) {
  const std::string whole = byte_level_file({{"a", "b"}, {"ab", "c"}}).dump();
  for (std::size_t size = 0; size < whole.size(); size += 7) {
    EXPECT_EQ(error_of(whole.substr(0, size)), ErrorKind::kBadFile) << size;
  }
}

TEST(TokenizerFile, KeyTwice) {
  EXPECT_EQ(error_of(R"({"version":"1.0","version":"1.0"})"), ErrorKind::kBadFile);
  EXPECT_EQ(error_of(R"({"model":{"type":"BPE","vocab":{"a":0,"a":1},"merges":[]}})"),
            ErrorKind::kBadFile);
  EXPECT_EQ(error_of(R"({"model":{"type":"BPE","vocab":{"a":0},"vocab":{"a":0},"merges":[]}})"),
            ErrorKind::kBadFile);
  EXPECT_EQ(error_of(R"({"model":{"type":"BPE","vocab":{"a":0},"merges":[],"merges":[]}})"),
            ErrorKind::kBadFile);
}

TEST(TokenizerFile, WrongTypes) {
  for (const char* key : {"version", "added_tokens", "normalizer", "pre_tokenizer",
                          "post_processor", "decoder", "model"}) {
    for (const Json& value : {Json(7), Json("x"), Json::array({1}), Json(true), Json(1e300)}) {
      if (std::string(key) == "version" && value.is_string()) continue;
      EXPECT_EQ(error_after([&](Json& file) { file[key] = value; }), ErrorKind::kBadFile)
          << key << " = " << value;
    }
  }
  for (const char* key : {"vocab", "merges", "unk_token", "fuse_unk", "byte_fallback"}) {
    for (const Json& value : {Json(7), Json("x"), Json::array({1}), Json::object({{"a", "b"}})}) {
      if (std::string(key) == "unk_token" && value.is_string()) continue;
      EXPECT_EQ(error_after([&](Json& file) { file["model"][key] = value; }), ErrorKind::kBadFile)
          << key << " = " << value;
    }
  }
  for (const char* key : {"vocab", "merges"}) {
    EXPECT_EQ(error_after([&](Json& file) { file["model"].erase(key); }), ErrorKind::kBadFile);
    EXPECT_EQ(error_after([&](Json& file) { file["model"][key] = nullptr; }), ErrorKind::kBadFile);
  }
}

TEST(TokenizerFile, IdsOutOfRange) {
  for (const Json& id : {Json(-1), Json(1 << 24), Json(2147483648u), Json(18446744073709551615u),
                         Json(1.5), Json(1e30), Json(nullptr), Json("1"), Json(200'000)}) {
    std::string message;
    EXPECT_EQ(error_after([&](Json& file) { file["model"]["vocab"]["a"] = id; }, &message),
              ErrorKind::kBadFile)
        << id;
  }
  EXPECT_EQ(error_after([&](Json& file) { file["model"]["vocab"]["a"] = 1000; }), std::nullopt);
}

TEST(TokenizerFile, MergesMustMakeSense) {
  std::string message;
  const auto with = [&](const char* merges) {
    return error_after([&](Json& file) { file["model"]["merges"] = Json::parse(merges); },
                       &message);
  };
  EXPECT_EQ(with(R"([["a", "nope"]])"), ErrorKind::kBadFile);
  EXPECT_NE(message.find("nope"), std::string::npos) << message;
  EXPECT_EQ(with(R"([["a", "c"]])"), ErrorKind::kBadFile);  // "ac" is not in the vocabulary
  EXPECT_EQ(with(R"([["a"]])"), ErrorKind::kBadFile);
  EXPECT_EQ(with(R"([["a", "b", "c"]])"), ErrorKind::kBadFile);
  EXPECT_EQ(with(R"([["a", 5]])"), ErrorKind::kBadFile);
  EXPECT_EQ(with(R"([["a", ["b"]]])"), ErrorKind::kBadFile);
  EXPECT_EQ(with(R"([{"a": "b"}])"), ErrorKind::kBadFile);
  EXPECT_EQ(with(R"(["ab"])"), ErrorKind::kBadFile);
  EXPECT_EQ(with(R"(["a b c"])"), ErrorKind::kBadFile);
  EXPECT_EQ(with(R"(["a b"])"), std::nullopt);
  EXPECT_EQ(with(R"(["#version: 0.2", "a b"])"), std::nullopt);
  EXPECT_EQ(with(R"([["a", "b"], ["a", "b"]])"), std::nullopt);
  EXPECT_EQ(with("[]"), std::nullopt);
}

TEST(TokenizerFile, UnknownComponentsAreNamed) {
  std::string message;
  for (const char* key : {"normalizer", "pre_tokenizer", "post_processor", "decoder", "model"}) {
    EXPECT_EQ(error_after([&](Json& file) { file[key]["type"] = "Novelty"; }, &message),
              ErrorKind::kUnsupported);
    EXPECT_NE(message.find("Novelty"), std::string::npos) << message;
    EXPECT_NE(message.find(key), std::string::npos) << message;
  }
  EXPECT_EQ(error_after([](Json& file) { file["version"] = "2.0"; }), ErrorKind::kBadFile);
  EXPECT_EQ(error_after([](Json& file) { file["model"]["dropout"] = 0.1; }),
            ErrorKind::kUnsupported);
}

TEST(TokenizerFile, DeepSequencesAreRefused) {
  const struct {
    const char* key;
    const char* list;
  } kinds[] = {{"normalizer", "normalizers"},
               {"pre_tokenizer", "pretokenizers"},
               {"post_processor", "processors"},
               {"decoder", "decoders"}};
  for (const auto& kind : kinds) {
    Json nested = {{"type", "Sequence"}, {kind.list, Json::array()}};
    for (int i = 0; i < 20; ++i) {
      nested = {{"type", "Sequence"}, {kind.list, Json::array({nested})}};
    }
    EXPECT_EQ(error_after([&](Json& file) { file[kind.key] = nested; }), ErrorKind::kUnsupported)
        << kind.key;
  }
}

TEST(TokenizerFile, HostilePatternsEndQuickly) {
  for (const std::string& pattern :
       {std::string(1000, '('), std::string("(a{1000}){1000}"), std::string("[\\P{L}&&\\P{N}]"),
        std::string(70'000, 'a'), std::string("((((((a{100}){100}){100}){100}){100}){100})")}) {
    error_after([&](Json& file) {
      file["pre_tokenizer"] = {{"type", "Split"},
                               {"pattern", {{"Regex", pattern}}},
                               {"behavior", "Isolated"},
                               {"invert", false}};
    });
  }
}

TEST(TokenizerFile, UnknownKeysDoNotMatter) {
  Json file = byte_level_file({{"a", "b"}});
  file["extra"] = {{"deep", {{"er", {1, 2, 3}}}}, {"vocab", {{"a", 1}}}};
  file["model"]["extra"] = {1, 2, {{"x", "y"}}};
  EXPECT_EQ(load_json(file).encode("ab"), (Ids{256}));
}

TEST(TokenizerFile, AddedTokensGetTheIdsThatTheVocabularyLeaves) {
  Json file = byte_level_file({{"a", "b"}});
  file["added_tokens"] = {added_token(7, "<x>", true), added_token(8, "ab", false),
                          added_token(9, "<y>", true), added_token(9, "<x>", true)};
  const Tokenizer tokenizer = load_json(file);
  EXPECT_EQ(tokenizer.token_to_id("<x>"), 257);
  EXPECT_EQ(tokenizer.token_to_id("ab"), 256);
  EXPECT_EQ(tokenizer.token_to_id("<y>"), 258);
  EXPECT_EQ(tokenizer.vocab_size(), 259);
}

}  // namespace
}  // namespace conclave::text
