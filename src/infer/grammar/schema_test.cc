#include "infer/grammar/schema.h"

#include "base/error.h"
#include "infer/grammar/pattern.h"
#include "infer/grammar/schema_check.h"
#include "infer/grammar/test_support.h"

namespace conclave::infer::grammar {
namespace {

using test::Acceptor;
using test::SchemaCheck;

Acceptor acceptor(const std::string& schema) {
  const auto tree = io::JsonTree::parse(schema, "schema");
  Builder builder;
  JsonParts parts(builder);
  const RuleId root = builder.add_rule("root");
  builder.define(root, compile_schema(tree, 0, parts));
  return Acceptor(builder, root);
}

std::string refusal(const std::string& schema) {
  try {
    acceptor(schema);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
    return error.what();
  }
  return "";
}

struct Case {
  const char* schema;
  std::vector<const char*> good, bad;
};

const Case kCases[] = {
    {R"({"type":"object","properties":{"b":{"type":"integer"},"a":{"type":"string"}},
         "required":["b","a"],"additionalProperties":false})",
     {R"({"b":1,"a":"x"})", R"({"b": -5, "a": ""})", "{\n  \"b\": 0,\n  \"a\": \"\\u00e9\\n\"\n}"},
     {R"({"a":"x","b":1})", R"({"b":1})", R"({"b":1,"a":"x","c":2})", R"({"b":01,"a":""})", "{}",
      R"({"b":1.5,"a":""})", R"({"b":1,"a":"\x"})", R"({"b":1 ,"a":""})", R"({"b":1,"a":""}})"}},
    {R"({"type":"object","properties":{"x":{"type":"null"},"y":{"type":"boolean"},"z":{"const":1}},
         "required":["y"]})",
     {R"({"y":true})", R"({"x":null,"y":false})", R"({"y":true,"z":1})",
      R"({"x":null, "y":true, "z":1})"},
     {"{}", R"({"x":null})", R"({"x":null,,"y":true})", R"({,"y":true})", R"({"y":true,})",
      R"({"z":1,"y":true})"}},
    {R"({"type":"object","properties":{"x":{"type":"integer"},"y":{"type":"integer"}}})",
     {"{}", "{ }", R"({"x":1})", R"({"y":1})", R"({"x":1,"y":2})"},
     {R"({"x":1"y":2})", R"({"w":1})"}},
    {R"({"type":"object","properties":{"ab":{"type":"integer"},"ac":{"type":"integer"}},
         "additionalProperties":{"type":"string"}})",
     {"{}", R"({"ab":1,"x":"s"})", R"({"a":"s","abc":"t","":"u"})", R"({"b":"s"})"},
     {R"({"x":1})", R"({"ab":"s"})", R"({"ab":1,"ac":"s"})", R"({"\u0061b":"s"})"}},
    {R"({"type":"object","required":["k"],"additionalProperties":{"type":"integer"}})",
     {R"({"k":1})", R"({"k":1,"l":2})"},
     {"{}", R"({"l":2})", R"({"k":"a"})"}},
    {R"({"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":3})",
     {"[1]", "[1, 2,3]", "[ 1 ]"},
     {"[]", "[1,2,3,4]", "[1,]", "[,1]", "[1 ,2]"}},
    {R"({"type":"array","prefixItems":[{"const":"a"},{"type":"integer"}],"items":{"type":"null"}})",
     {"[]", R"(["a"])", R"(["a",1])", R"(["a",1,null,null])"},
     {R"(["b"])", R"(["a",null])", R"(["a",1,2])"}},
    {R"({"prefixItems":[{"const":1},{"const":2},{"const":3}],"items":false,"minItems":2})",
     {"[1,2]", "[1,2,3]"},
     {"[]", "[1]", "[1,2,3,4]"}},
    {R"({"type":"array","maxItems":0})", {"[]", "[ ]"}, {"[1]"}},
    {R"({"type":["string","null"]})", {"null", "\"a\""}, {"1", "nul"}},
    {R"({"enum":["a",1,null,{"k":[1,true]},"\"\u20ac"]})",
     {"\"a\"", "1", "null", R"({"k":[1,true]})", "\"\\\"\u20ac\""},
     {"\"b\"", "2", "\"a"}},
    {R"({"enum":["a",1,2.5],"type":"number"})", {"1", "2.5"}, {"\"a\""}},
    {R"({"anyOf":[{"type":"integer"},{"type":"object","properties":{"a":{"$ref":"#"}},
         "required":["a"]}]})",
     {"1", R"({"a":1})", R"({"a":{"a":{"a":3}}})"},
     {"{}", R"({"a":null})", R"({"a":{"a":3})"}},
    {R"({"$ref":"#/$defs/tree","$defs":{"tree":{"type":"object","properties":{"v":{"type":"integer"},
         "c":{"type":"array","items":{"$ref":"#/$defs/tree"}}},"required":["v"]}}})",
     {R"({"v":1})", R"({"v":1,"c":[{"v":2},{"v":3,"c":[]}]})"},
     {R"({"c":[]})", R"({"v":1,"c":[1]})"}},
    {R"({"oneOf":[{"type":"object","properties":{"t":{"const":"a"},"n":{"type":"integer"}},
         "required":["t","n"]},{"type":"object","properties":{"t":{"const":"b"}},"required":["t"]}]})",
     {R"({"t":"a","n":1})", R"({"t":"b"})"},
     {R"({"t":"a"})", R"({"t":"c"})"}},
    {R"({"allOf":[{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]},
         {"$ref":"#/definitions/more"}],"definitions":{"more":{"properties":{"b":{"type":"string"},
         "a":{"minimum":3}},"required":["b"]}}})",
     {R"({"a":3,"b":""})"},
     {R"({"a":2,"b":""})", R"({"a":3})"}},
    {R"({"type":"object","properties":{"k":{"type":"string"}},"required":["k"],
         "anyOf":[{"properties":{"a":{"const":1}},"required":["a"]},
                  {"properties":{"b":{"const":2}},"required":["b"]}]})",
     {R"({"k":"","a":1})", R"({"k":"x","b":2})"},
     {R"({"k":""})", R"({"a":1})"}},
    {R"({"type":"string","minLength":2,"maxLength":3})",
     {"\"ab\"", "\"\u20ac\U0001f600x\"", R"("\ud83d\ude00\n")"},
     {"\"a\"", "\"abcd\"", R"("\ud83d")", R"("\ud83d\ud83d")", "\"a\nb\""}},
    {R"({"type":"integer","minimum":-12,"maximum":105})",
     {"-12", "0", "105", "99", "-9", "7"},
     {"-13", "106", "-0", "1000", "00", "1.0", "07"}},
    {R"({"type":"integer","exclusiveMinimum":0})", {"1", "20"}, {"0", "-1"}},
    {R"({"type":"number","minimum":0,"exclusiveMaximum":1})",
     {"0", "0.5", "0.25"},
     {"1", "-0.5", "1.5", "0.0", "0."}},
    {R"({"type":"number","minimum":-1.5,"maximum":2})",
     {"-1", "2", "-0.5", "1.75", "0.1"},
     {"-2", "2.5", "-1.6", "3"}},
    {R"({"type":"number"})",
     {"0", "-1.5e+10", "3.25", "1E5"},
     {"+1", ".5", "1.", "1e", "1e999", "01", "NaN"}},
    {R"({"type":"string","format":"date"})",
     {"\"2024-02-29\"", "\"1999-12-31\"", "\"2000-02-29\""},
     {"\"2023-02-29\"", "\"1900-02-29\"", "\"2024-13-01\"", "\"2024-04-31\"", "\"0000-01-01\""}},
    {R"({"format":"date-time"})",
     {"\"2024-01-01T23:59:59.5Z\"", "\"2024-01-01T00:00:00+02:00\""},
     {"\"2024-01-01\"", "\"2024-01-01T24:00:00Z\"", "\"2024-01-01T00:00:00\""}},
    {R"({"format":"uuid"})",
     {"\"123e4567-e89b-12d3-a456-426614174000\""},
     {"\"123e4567e89b12d3a456426614174000\"", "\"\""}},
    {R"({"format":"ipv4"})", {"\"255.1.0.19\""}, {"\"256.1.1.1\"", "\"1.2.3\"", "\"01.2.3.4\""}},
    {R"({"format":"email"})", {"\"a.b@c-d.org\""}, {"\"a@b\"", "\"@b.org\"", "\"a@-b.org\""}},
    {R"({"type":"string","pattern":"^[a-c\"\\\\]{2}(x|\\d)*$"})",
     {R"("ab")", R"("\"\\x1")", R"("cc12x")"},
     {R"("a")", R"("abd")", R"("""))", R"("abX")"}},
    {R"({"type":"string","pattern":"b+"})",
     {R"("abba")", R"("b")", R"("\nb")"},
     {R"("aa")", "\"\""}},
    {"{}", {"1", "null", R"({"a":[{}, [1,"x"]]})"}, {"", "[", "{]"}},
    {"true", {"1"}, {""}},
};

TEST(Schema, TextsThatFitAndTextsThatDoNot) {
  for (const Case& c : kCases) {
    Acceptor a = acceptor(c.schema);
    for (const char* text : c.good) EXPECT_TRUE(a(text)) << c.schema << "\n" << text;
    for (const char* text : c.bad) EXPECT_FALSE(a(text)) << c.schema << "\n" << text;
  }
}

// Whatever the model's logits: what comes out is JSON and valid.
TEST(Schema, RandomAnswersAreValid) {
  const auto tokens = test::test_tokens();
  std::mt19937 rng(3);
  for (const Case& c : kCases) {
    const auto tree = io::JsonTree::parse(c.schema, "schema");
    const auto constraint = constrain_to_schema(tree, 0, tokens);
    const SchemaCheck valid(test::json::parse(c.schema));
    for (int i = 0; i < 12; ++i) {
      const std::string text = test::random_answer(constraint, rng, i == 0);
      const auto value = test::json::parse(text, nullptr, false);
      ASSERT_FALSE(value.is_discarded()) << c.schema << "\n" << text;
      EXPECT_TRUE(valid(value)) << c.schema << "\n" << text;
    }
  }
  const auto any = constrain_to_json_object(tokens);
  for (int i = 0; i < 30; ++i) {
    const std::string text = test::random_answer(any, rng, i == 0);
    EXPECT_TRUE(test::json::parse(text, nullptr, false).is_object()) << text;
  }
}

TEST(Schema, IntegersOfARange) {
  for (const auto& [low, high] : {std::pair{0, 0},
                                  {0, 9},
                                  {1, 10},
                                  {7, 12},
                                  {99, 101},
                                  {-1, 1},
                                  {-20, -11},
                                  {-101, 1100},
                                  {185, 1234},
                                  {-9, 0}}) {
    Builder builder;
    JsonParts parts(builder);
    const RuleId root = builder.add_rule("root");
    builder.define(root, parts.integer(low, high));
    Acceptor a(builder, root);
    for (int v = -1300; v <= 1300; ++v) {
      EXPECT_EQ(a(std::to_string(v)), v >= low && v <= high) << v << " in " << low << ".." << high;
    }
    EXPECT_FALSE(a("-0"));
    EXPECT_FALSE(a("007"));
  }
}

TEST(Schema, PatternsMeanWhatTheyMean) {
  const char* const patterns[] = {"^a(b|c)*d$",   "ab|^c", "^(?:a|bc){1,2}$", "[^a-c]$",
                                  "^\\w+\\s?\\d", "a.c",   "^a+?b{2}$",       "^$|b",
                                  "^[\\d\\-x]+$", "a{,2}", "\\.\\x62",        "^(?<n>a)b?$"};
  std::mt19937 rng(9);
  const std::string alphabet = "aabbccdd12 x-.{,}\n\"\\";
  for (const char* pattern : patterns) {
    Builder builder;
    JsonParts parts(builder);
    const RuleId root = builder.add_rule("root");
    builder.define(root, parts.quoted(compile_pattern(pattern, parts)));
    Acceptor a(builder, root);
    std::string plain = pattern;  // std::regex has no named groups
    if (const auto at = plain.find("?<n>"); at != plain.npos) plain.erase(at, 4);
    if (plain == "a{,2}") plain = "a\\{,2\\}";
    const std::regex reference(plain);
    int matches = 0;
    for (int i = 0; i < 3000; ++i) {
      std::string text;
      const auto letters = i % 2 == 0 ? alphabet.size() : 4;
      for (auto n = rng() % 6; n > 0; --n) text += alphabet[rng() % letters];
      const bool expected = std::regex_search(text, reference);
      matches += expected;
      EXPECT_EQ(a(test::json(text).dump()), expected) << pattern << " on " << text;
    }
    EXPECT_TRUE(matches > 0 || plain != pattern) << pattern;
  }
}

TEST(Schema, WhatIsNotSupportedIsNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"type":"array","uniqueItems":true})", "uniqueItems"},
      {R"({"not":{}})", "not"},
      {R"({"if":{}})", "if"},
      {R"({"patternProperties":{}})", "patternProperties"},
      {R"({"type":"object","properties":{"a":{"multipleOf":2}}})", "#/properties/a/multipleOf"},
      {R"({"madeUp":1})", "madeUp"},
      {R"({"type":"string","format":"duration"})", "duration"},
      {R"~({"type":"string","pattern":"(?=a)"})~", "pattern"},
      {R"({"type":"string","pattern":"\\bx"})", "\\b"},
      {R"({"type":"string","pattern":"a","minLength":1})", "pattern"},
      {R"({"type":"strin"})", "type"},
      {R"({"type":7})", "type"},
      {R"({"$ref":"http://x/y"})", "$ref"},
      {R"({"$ref":"#/nothing"})", "$ref"},
      {R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", "oneOf"},
      {R"({"oneOf":[{"const":1},{"const":1.0}]})", "oneOf"},
      {R"({"anyOf":[{"type":"string"},{"$ref":"#"}]})", "anyOf"},
      {R"({"minimum":1e300})", "minimum"},
      {R"({"type":"number","minimum":0.1,"maximum":0.9})", "imum"},
      {R"({"exclusiveMinimum":true})", "exclusiveMinimum"},
      {R"({"maxLength":-1})", "maxLength"},
      {R"({"maxItems":1e9})", "maxItems"},
      {R"({"enum":[]})", "enum"},
      {R"({"enum":[1],"type":"string"})", "enum"},
      {R"({"enum":["a"],"minLength":3})", "minLength"},
      {R"({"items":[{}]})", "prefixItems"},
      {R"({"properties":[]})", "properties"},
      {R"({"required":"a"})", "required"},
      {R"({"anyOf":[]})", "anyOf"},
      {R"([])", "schema"},
      {R"({"type":"integer","minimum":3,"maximum":2})", "no value fits the JSON schema"},
      {R"({"properties":{"a":{"$ref":"#"}},"required":["a"]})", "no value fits the JSON schema"},
      {"false", "no value fits the JSON schema"},
  };
  for (const auto& [schema, word] : cases) {
    EXPECT_NE(refusal(schema).find(word), std::string::npos) << schema << "\n" << refusal(schema);
  }
}

TEST(Schema, LimitsHoldAgainstHostileSchemas) {
  EXPECT_EQ(refusal(R"({"$ref":"#"})"), "");  // a value of any kind
  EXPECT_EQ(refusal(R"({"maxLength":90000,"minLength":90000})"), "");
  std::string chain = R"({"$ref":"#/$defs/d0","$defs":{)";
  for (int i = 0; i < 500; ++i)
    chain += fmt::format(R"("d{}":{{"$ref":"#/$defs/d{}"}},)", i, i + 1);
  EXPECT_NE(refusal(chain + R"("d500":{}}})").find("schemas for one value"), std::string::npos);
  // Choices of choices: all of them would be 4^10.
  std::string parts = R"({"allOf":[)";
  for (int i = 0; i < 10; ++i) {
    parts += fmt::format(
        R"({}{{"anyOf":[{{"properties":{{"a{}":{{}}}}}},{{"properties":{{"b{}":{{}}}}}},{{"properties":{{"c{}":{{}}}}}},{{"properties":{{"d{}":{{}}}}}}]}})",
        i == 0 ? "" : ",", i, i, i, i);
  }
  EXPECT_NE(refusal(parts + "]}").find("too large"), std::string::npos);
  std::string names = R"({"type":"object","properties":{)";
  for (int i = 0; i < 3000; ++i) names += fmt::format(R"({}"p{}":{{}})", i == 0 ? "" : ",", i);
  refusal(names + "}}");  // an error or not, but soon
}

}  // namespace
}  // namespace conclave::infer::grammar
