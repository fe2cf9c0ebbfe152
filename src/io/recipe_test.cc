#include "io/recipe.h"

#include <gtest/gtest.h>

#include "io/nearest_name.h"
#include "io/testing.h"
#include "sys/testing.h"

namespace conclave::io {
namespace {

using conclave::testing::TempDir;
using Integers = std::vector<std::int64_t>;
using Reals = std::vector<double>;
using Strings = std::vector<std::string>;

std::vector<RecipeKey> table() {
  return {{"model.experts", std::int64_t{8}, "experts a layer", 1, 65536},
          {.key = "model.router",
           .default_value = std::string("softmax"),
           .help = "kind of router",
           .choices = {"softmax", "sigmoid", "hash"}},
          {"train.learning_rate", 3e-4, "peak learning rate", 0, 1},
          {"train.shuffle", true, "shuffle the documents"},
          {"data.files", Strings{}, "text files"},
          {"data.weights", Reals{1.0}, "weight of each file", 0, 1e9},
          {"model.layout", Integers{1, 2}, "which layers are sparse", 0, 100},
          {"name", std::string("run"), "name of the run"}};
}

TEST(Recipe, ReadsDottedAndNestedKeys) {
  Recipe recipe(table());
  EXPECT_EQ(recipe.integer("model.experts"), 8);
  EXPECT_EQ(recipe.origin("model.experts"), "default");
  EXPECT_FALSE(recipe.is_set("model.experts"));
  recipe.load_text(R"(# a comment
name = "tiny"
train.learning_rate = 1   # an integer will do
[model]
experts = 16
router = 'sigmoid'
layout = [3, 4, 5]
[data]
files = ["a.txt", "b.txt"]
weights = [1, 2.5]
)",
                   "tiny.toml");
  EXPECT_EQ(recipe.integer("model.experts"), 16);
  EXPECT_EQ(recipe.origin("model.experts"), "tiny.toml:5");
  EXPECT_EQ(recipe.real("train.learning_rate"), 1.0);
  EXPECT_EQ(recipe.string("name"), "tiny");
  EXPECT_EQ(recipe.string("model.router"), "sigmoid");
  EXPECT_EQ(recipe.integers("model.layout"), (Integers{3, 4, 5}));
  EXPECT_EQ(recipe.strings("data.files"), (Strings{"a.txt", "b.txt"}));
  EXPECT_EQ(recipe.reals("data.weights"), (Reals{1, 2.5}));
  EXPECT_TRUE(recipe.boolean("train.shuffle"));
}

TEST(Recipe, OverridesFromTheCommandLine) {
  Recipe recipe(table());
  recipe.load_text("model.experts = 16", "t.toml");
  recipe.set("model.experts=32");
  EXPECT_EQ(recipe.integer("model.experts"), 32);
  EXPECT_EQ(recipe.origin("model.experts"), "--set");
  recipe.set("train.learning_rate = 1e-3");
  EXPECT_EQ(recipe.real("train.learning_rate"), 1e-3);
  recipe.set("train.shuffle=false");
  EXPECT_FALSE(recipe.boolean("train.shuffle"));
  recipe.set("name=a bare = word");
  EXPECT_EQ(recipe.string("name"), "a bare = word");
  recipe.set("name=\"quoted\\t\"");
  EXPECT_EQ(recipe.string("name"), "quoted\t");
  recipe.set("name=");
  EXPECT_EQ(recipe.string("name"), "");
  recipe.set("data.files=a.txt, b.txt");
  EXPECT_EQ(recipe.strings("data.files"), (Strings{"a.txt", "b.txt"}));
  recipe.set("data.files=[]");
  EXPECT_EQ(recipe.strings("data.files"), Strings{});
  recipe.set("data.files=[\"x,y\"]");
  EXPECT_EQ(recipe.strings("data.files"), Strings{"x,y"});
  recipe.set("data.weights=1,2.5");
  EXPECT_EQ(recipe.reals("data.weights"), (Reals{1, 2.5}));
  recipe.set("model.layout=7");
  EXPECT_EQ(recipe.integers("model.layout"), Integers{7});
}

// A key of the right name in the wrong section, a section taken for a key, a bare key.
TEST(Recipe, UnknownKeysAreAnsweredByTheirLastPart) {
  Recipe recipe(table());
  for (const auto& [wrong, meant] : std::vector<std::pair<std::string, std::string>>{
           {"optimizer.learning_rate", "train.learning_rate"},
           {"experts", "model.experts"},
           {"run.data", "data.files"},
           {"lr.lerning_rate", "train.learning_rate"},
           {"model.exprts", "model.experts"}}) {
    EXPECT_ERROR(recipe.set(wrong + "=1"), ErrorKind::kInvalidArgument,
                 "unknown key '" + wrong + "' (did you mean '" + meant + "'?)");
  }
}

TEST(Recipe, ErrorsNameFileLineKeyFoundAndExpected) {
  Recipe recipe(table());
  const auto load = [&](std::string_view text) { recipe.load_text(text, "r.toml"); };
  EXPECT_ERROR(load("\n[model]\nexprets = 4"), ErrorKind::kInvalidArgument,
               "r.toml:3: unknown key 'model.exprets' (did you mean 'model.experts'?)");
  EXPECT_ERROR(load("zzzzzz = 4"), ErrorKind::kInvalidArgument, "r.toml:1: unknown key 'zzzzzz'");
  EXPECT_ERROR(load("\nmodel.experts = \"8\""), ErrorKind::kInvalidArgument,
               "r.toml:2: key 'model.experts': found \"8\", expected an integer");
  EXPECT_ERROR(load("model.experts = 8.0"), ErrorKind::kInvalidArgument, "found 8.0");
  EXPECT_ERROR(load("model.experts = 0"), ErrorKind::kInvalidArgument,
               "found 0, expected an integer from 1 to 65536");
  EXPECT_ERROR(load("train.learning_rate = 1.5"), ErrorKind::kInvalidArgument, "from 0 to 1");
  EXPECT_ERROR(load("train.learning_rate = nan"), ErrorKind::kInvalidArgument, "from 0 to 1");
  EXPECT_ERROR(load("train.learning_rate = inf"), ErrorKind::kInvalidArgument, "from 0 to 1");
  EXPECT_ERROR(load("model.router = \"sofmax\""), ErrorKind::kInvalidArgument,
               "expected one of softmax, sigmoid, hash (did you mean 'softmax'?)");
  EXPECT_ERROR(load("data.weights = [1, -2]"), ErrorKind::kInvalidArgument, "found [1.0, -2.0]");
  EXPECT_ERROR(load("data.files = [1]"), ErrorKind::kInvalidArgument, "a list of strings");
  EXPECT_ERROR(load("data.files = [\"a\", [\"b\"]]"), ErrorKind::kInvalidArgument, "mixed list");
  EXPECT_ERROR(load("name = 1979-05-27"), ErrorKind::kInvalidArgument, "a date");
  EXPECT_ERROR(load("[model.experts]\nx = 1"), ErrorKind::kInvalidArgument, "'model.experts'");
  EXPECT_ERROR(load("[[model]]\nexperts = 1"), ErrorKind::kInvalidArgument, "unknown key 'model'");
  EXPECT_ERROR(load("name = 'a'\nname = 'b'"), ErrorKind::kBadFile, "r.toml:2: not TOML");
  EXPECT_ERROR(load("name = "), ErrorKind::kBadFile, "r.toml:1");
  EXPECT_ERROR(recipe.set("model.experts"), ErrorKind::kInvalidArgument, "expected key=value");
  EXPECT_ERROR(recipe.set("model.expert=1"), ErrorKind::kInvalidArgument, "did you mean");
  EXPECT_ERROR(recipe.set("model.experts=many"), ErrorKind::kInvalidArgument,
               "--set: key 'model.experts': found many, expected an integer");
  EXPECT_ERROR(recipe.set("train.learning_rate=fast"), ErrorKind::kInvalidArgument,
               "found fast, expected a number");
  EXPECT_ERROR(recipe.set("train.shuffle=maybe"), ErrorKind::kInvalidArgument,
               "found maybe, expected true or false");
  EXPECT_ERROR(recipe.set("data.weights=a,b"), ErrorKind::kInvalidArgument,
               "found a,b, expected a list of numbers");
  EXPECT_ERROR(recipe.set("model.experts="), ErrorKind::kInvalidArgument, "a value on one line");
  EXPECT_ERROR(recipe.set("model.experts=1\nname='x'"), ErrorKind::kInvalidArgument, "one line");
  EXPECT_ERROR(recipe.set("model.experts=99999999999999999999"), ErrorKind::kInvalidArgument,
               "--set");
  EXPECT_ERROR(recipe.fail_at("name", "is taken"), ErrorKind::kInvalidArgument,
               "default: key 'name': is taken");
  EXPECT_EQ(recipe.integer("model.experts"), 8);
}

TEST(Recipe, WritesWhatItReads) {
  Recipe recipe(table());
  recipe.set("name=\"q\\\"\\u007f\\n\"");
  recipe.set("train.learning_rate=1");
  recipe.set("data.weights=[0.1, 3]");
  recipe.set("data.files=[\"a\", \"b c\"]");
  const std::string text = recipe.to_toml();
  Recipe again(table());
  again.load_text(text, "again.toml");
  EXPECT_EQ(again.to_toml(), text);
  EXPECT_EQ(again.string("name"), "q\"\x7f\n");
  EXPECT_EQ(again.reals("data.weights"), (Reals{0.1, 3}));
  EXPECT_NE(text.find("# peak learning rate\ntrain.learning_rate = 1.0\n"), std::string::npos)
      << text;
}

TEST(Recipe, HostileTextIsATypedError) {
  Recipe recipe(table());
  const auto refused = [&](const std::string& text) {
    const Error error = testing::error_of([&] { recipe.load_text(text, "r.toml"); });
    EXPECT_TRUE(error.kind() == ErrorKind::kBadFile || error.kind() == ErrorKind::kInvalidArgument);
    EXPECT_TRUE(error.message().starts_with("r.toml")) << error.message();
    EXPECT_LT(error.message().size(), 500u);
  };
  const auto repeat = [](const std::string& piece, int n) {
    std::string text;
    for (int i = 0; i < n; ++i) text += piece;
    return text;
  };
  refused("name = " + repeat("[", 500'000));
  refused("name = " + repeat("{a=", 300'000));
  refused(repeat("a.", 500'000) + "b = 1");
  refused(repeat("\"a\" . ", 100'000) + "b = 1");
  refused("[" + repeat("a.", 500'000) + "b]\nc = 1");
  refused("x = {" + repeat("a.", 500'000) + "b = 1}");
  refused(repeat("a.", 250) + "b = 1");
  refused(repeat("# padding\n", 1'000'000));
  refused(std::string("name = \"\0\"", 10));
  refused("name = \"\xff\xfe\"");
  refused("\x93NUMPY\x01");
  refused(repeat("\x80", 1000));
  refused("name = \"" + repeat("x", 1000));
  refused(repeat("x", 100'000) + " = 1");
  const TempDir dir;
  EXPECT_ERROR(recipe.load_file(dir / "none.toml"), ErrorKind::kNotFound, "none.toml");
  EXPECT_ERROR(recipe.load_file(dir.path()), ErrorKind::kInvalidArgument, "directory");
  EXPECT_ERROR(recipe.load_file(dir.put("big.toml", repeat("#\n", 5'000'000))), ErrorKind::kBadFile,
               "big.toml");
}

TEST(Recipe, MutationsAreReadOrRefused) {
  const Recipe defaults(table());
  const std::string seed = defaults.to_toml() + "[x]\ny = {a = [1, 2.5e3], b = 1979-05-27}\n";
  int accepted = 0;
  for (std::uint64_t n = 0; n < 10'000; ++n) {
    Recipe recipe(table());
    try {
      recipe.load_text(testing::mutate(defaults.to_toml(), n), "m.toml");
      ++accepted;
    } catch (const Error& error) {
      ASSERT_TRUE(error.kind() == ErrorKind::kBadFile ||
                  error.kind() == ErrorKind::kInvalidArgument);
    }
    try {
      recipe.load_text(testing::mutate(seed, n), "m.toml");
    } catch (const Error&) {
    }
  }
  EXPECT_GT(accepted, 500);
}

TEST(NearestName, FindsTyposOnly) {
  const Strings names = {"train.steps", "train.seed", "model.experts", "data.files"};
  EXPECT_EQ(nearest_name("train.step", names), "train.steps");
  EXPECT_EQ(nearest_name("train.setps", names), "train.steps");
  EXPECT_EQ(nearest_name("model.expert", names), "model.experts");
  EXPECT_EQ(nearest_name("quantise.bits", names), "");
  EXPECT_EQ(nearest_name("", names), "");
  EXPECT_EQ(nearest_name("x", {"a", "bc"}), "");
  EXPECT_EQ(nearest_name(std::string(1'000'000, 'x'), names), "");
  EXPECT_EQ(did_you_mean("data.file", names), " (did you mean 'data.files'?)");
}

}  // namespace
}  // namespace conclave::io
