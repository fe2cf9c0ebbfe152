#include "io/json.h"

#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <set>

#include "io/testing.h"
#include "sys/testing.h"

namespace conclave::io {
namespace {

using conclave::testing::TempDir;

bool accepts(std::string_view text, const JsonLimits& limits = {}) {
  try {
    parse_json(text, "t.json", limits);
    return true;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadFile);
    EXPECT_TRUE(error.message().starts_with("t.json: ")) << error.message();
    return false;
  }
}

TEST(Json, BuildsTheTree) {
  const std::string text =
      R"({"a": [1, -2, 3.5, "x", null, true, [], {}], "b": {"c": {"d": [[1]]}}, "e": "\u20ac"})";
  EXPECT_EQ(parse_json(text, "t"), nlohmann::json::parse(text));
  EXPECT_EQ(parse_json(" 17 ", "t"), 17);
}

// The suite of nst/JSONTestSuite: y_ must be accepted, n_ refused, i_ either without a crash.
TEST(Json, TestSuite) {
  const std::string dir = CONCLAVE_SOURCE_DIR "/../shared/data/json/test_parsing";
  if (!sys::directory_exists(dir)) GTEST_SKIP() << "no JSONTestSuite beside the sources";
  // The suite takes duplicate keys as valid; our files must not have them.
  const std::set<std::string> duplicates = {"y_object_duplicated_key.json",
                                            "y_object_duplicated_key_and_value.json"};
  int count = 0;
  for (const std::string& name : sys::list_directory(dir)) {
    const std::string text = sys::read_file(sys::join_path(dir, name), 10 << 20);
    if (name[0] == 'i') {
      accepts(text);
      continue;
    }
    ++count;
    EXPECT_EQ(accepts(text), name[0] == 'y' && !duplicates.contains(name)) << name;
    EXPECT_EQ(accepts(text, {.allow_duplicate_keys = true}), name[0] == 'y') << name;
  }
  EXPECT_GE(count, 283);
}

TEST(Json, DepthIsBoundedWithoutRecursion) {
  const auto nested = [](int depth, const char* open, const char* close) {
    std::string text;
    for (int i = 0; i < depth; ++i) text += open;
    for (int i = 0; i < depth; ++i) text += close;
    return text;
  };
  EXPECT_TRUE(accepts(nested(128, "[", "]")));
  EXPECT_FALSE(accepts(nested(129, "[", "]")));
  EXPECT_FALSE(accepts(nested(1'000'000, "[", "]")));
  EXPECT_FALSE(accepts(nested(500'000, "{\"a\":", "}")));
  const JsonLimits deep = {.max_depth = 1 << 30};  // even unbounded, nothing recurses
  EXPECT_TRUE(accepts(nested(1'000'000, "[", "]"), deep));
  EXPECT_ERROR(parse_json(nested(200, "[", "]"), "c.json"), ErrorKind::kBadFile,
               "c.json: nested deeper than 128 levels");
}

TEST(Json, RefusesWhatIsNotStrict) {
  for (const std::string_view text :
       {"", " ", "{", "[1,]", "{\"a\":1,}", "{'a':1}", "[1]//c", "[NaN]", "[Infinity]", "[01]",
        "[1e999]", "\"\xff\"", "[\"\xed\xa0\x80\"]", "\"a", "[1]x", "{\"a\":1,\"a\":2}",
        "{\"x\":{\"a\":1,\"b\":2,\"a\":3}}"}) {
    EXPECT_FALSE(accepts(text)) << text;
  }
  EXPECT_FALSE(accepts(std::string_view("[1]\0[", 5)));
  EXPECT_FALSE(accepts("[1, 2]", {.max_bytes = 5}));
  EXPECT_ERROR(parse_json("{\"a\":1,\"a\":2}", "c.json"), ErrorKind::kBadFile, "'a' occurs twice");
  EXPECT_ERROR(parse_json("{\"a\":\n !}", "c.json"), ErrorKind::kBadFile, "line 2, column 2");
  EXPECT_TRUE(accepts(R"([{"a":1},{"a":1}])"));
}

TEST(Json, ErrorsStayShort) {
  const Error error = testing::error_of(
      [] { parse_json("[\"" + std::string(100'000, 'x'), "c.json", {.max_bytes = 1 << 20}); });
  EXPECT_LT(error.message().size(), 400u);
}

TEST(Json, MutationsAreParsedOrRefused) {
  const std::string seed =
      R"({"hidden_size": 64, "rope": {"theta": 1e6, "f": [1, 2.5, null]}, "n": "\u00e9\\", "x": true})";
  int accepted = 0;
  for (std::uint64_t n = 0; n < 20'000; ++n) {
    const std::string text = testing::mutate(seed, n);
    if (accepts(text)) ++accepted;
  }
  EXPECT_GT(accepted, 500);  // both ways are taken
  EXPECT_LT(accepted, 15'000);
}

TEST(JsonView, GetsWhatIsThere) {
  const nlohmann::json document = parse_json(
      R"({"i": 8, "neg": -3, "r": 1e-5, "b": true, "s": "silu", "l": [1, 2], "m": ["a"],
          "n": null, "o": {"p": {"q": 4}}, "f": [1, 2.5]})",
      "c.json");
  const JsonView view(document, "c.json");
  EXPECT_EQ(view.integer("i", 1, 65536), 8);
  EXPECT_EQ(view.integer("i", 8, 8), 8);
  EXPECT_EQ(view.integer("absent", 1, 2, 77), 77);
  EXPECT_EQ(view.integer("n", 1, 2, 77), 77);
  EXPECT_EQ(view.number("r", 0, 1), 1e-5);
  EXPECT_EQ(view.number("i", 0, 10), 8.0);
  EXPECT_EQ(view.number("absent", 0, 1, 0.5), 0.5);
  EXPECT_TRUE(view.boolean("b"));
  EXPECT_FALSE(view.boolean("n", false));
  EXPECT_EQ(view.string("s"), "silu");
  EXPECT_EQ(view.string("absent", "gelu"), "gelu");
  EXPECT_EQ(view.integers("l", 0, 9), (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(view.numbers("f"), (std::vector<double>{1, 2.5}));
  EXPECT_EQ(view.strings("m"), std::vector<std::string>{"a"});
  EXPECT_EQ(view.object("o").object("p").integer("q", 0, 9), 4);
  EXPECT_TRUE(view.has("s"));
  EXPECT_FALSE(view.has("n"));
  EXPECT_EQ(view.keys().size(), 10u);
}

TEST(JsonView, NamesFileKeyFoundAndExpected) {
  const nlohmann::json document = parse_json(
      R"({"e": -3, "big": 18446744073709551615, "huge": 100000000000000000000, "r": 8.0,
          "s": "8", "t": true, "l": [1, 2.5], "m": [1, "a"], "o": {"p": []}})",
      "config.json");
  const JsonView view(document, "config.json");
  EXPECT_ERROR(view.integer("e", 1, 65536), ErrorKind::kBadFile,
               "config.json: key 'e': found -3, expected an integer from 1 to 65536");
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  EXPECT_ERROR(view.integer("big", -kMax, kMax), ErrorKind::kBadFile, "18446744073709551615");
  EXPECT_ERROR(view.integer("huge", -kMax, kMax), ErrorKind::kBadFile, "found 1e+20");
  EXPECT_ERROR(view.integer("r", 0, 9), ErrorKind::kBadFile, "found 8.0");
  EXPECT_ERROR(view.integer("s", 0, 9), ErrorKind::kBadFile, "found \"8\"");
  EXPECT_ERROR(view.integer("t", 0, 9, 1), ErrorKind::kBadFile, "found true");
  EXPECT_ERROR(view.integer("none", 0, 9), ErrorKind::kBadFile, "'none': is missing");
  EXPECT_ERROR(view.number("s", 0, 9), ErrorKind::kBadFile, "expected a number from 0 to 9");
  EXPECT_ERROR(view.number("r", 0, 7.5), ErrorKind::kBadFile, "found 8.0");
  EXPECT_ERROR(view.boolean("e"), ErrorKind::kBadFile, "expected true or false");
  EXPECT_ERROR(view.string("l"), ErrorKind::kBadFile, "found a list of 2, expected a string");
  EXPECT_ERROR(view.integers("l", 0, 9), ErrorKind::kBadFile, "entry 1 is 2.5");
  EXPECT_ERROR(view.strings("m"), ErrorKind::kBadFile, "entry 0 is 1");
  EXPECT_ERROR(view.numbers("m"), ErrorKind::kBadFile, "entry 1 is \"a\"");
  EXPECT_ERROR(view.object("e"), ErrorKind::kBadFile, "key 'e': found -3, expected an object");
  EXPECT_ERROR(view.object("o").object("p"), ErrorKind::kBadFile, "key 'o.p': found a list");
  EXPECT_ERROR(view.object("o").integer("p", 0, 1), ErrorKind::kBadFile, "key 'o.p'");
  EXPECT_ERROR(JsonView(document["l"], "config.json"), ErrorKind::kBadFile, "expected an object");
}

TEST(Json, QuotesAndFiles) {
  EXPECT_EQ(json_quote("a\"b\n"), "\"a\\\"b\\n\"");
  EXPECT_ERROR(json_quote("\xff"), ErrorKind::kInvalidArgument, "not UTF-8");
  const TempDir dir;
  EXPECT_EQ(read_json_file(dir.put("a.json", "[1]"))[0], 1);
  EXPECT_ERROR(read_json_file(dir.put("b.json", "[1")), ErrorKind::kBadFile, dir / "b.json");
  EXPECT_ERROR(read_json_file(dir / "c.json"), ErrorKind::kNotFound, "c.json");
}

}  // namespace
}  // namespace conclave::io
