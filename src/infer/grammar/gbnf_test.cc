#include "infer/grammar/gbnf.h"

#include "base/error.h"
#include "infer/grammar/test_support.h"
#include "text/utf8.h"

namespace conclave::infer::grammar {
namespace {

using test::Acceptor;

Acceptor grammar(std::string_view text) {
  Builder builder;
  const RuleId root = parse_gbnf(text, builder);
  return Acceptor(builder, root);
}

std::string refusal(std::string_view text) {
  try {
    grammar(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
    return error.what();
  }
  return "";
}

TEST(Gbnf, TakesWhatItSaysAndNothingElse) {
  Acceptor a = grammar(
      "# an answer\n"
      "root ::= \"yes\" | \"no\" reason? # or not\n"
      "reason ::= \" because \" ( [a-c] | \"d\"\n | \"\\x41\\u20ac\" ){2,3} \".\"\n");
  for (const char* good :
       {"yes", "no", "no because ab.", "no because A\u20acd.", "no because abc."}) {
    EXPECT_TRUE(a(good)) << good;
  }
  for (const char* bad : {"", "y", "yess", "no because .", "no because a.", "no because abcd.",
                          "no because A.", "no because ab", "no because ae."}) {
    EXPECT_FALSE(a(bad)) << bad;
  }
}

TEST(Gbnf, Repetitions) {
  Acceptor a = grammar("root ::= \"a\"* \"b\"+ \"c\"? \"d\"{2} \"e\"{1,} \"f\"{,2} (\"g\" | )*");
  EXPECT_TRUE(a("bdde"));
  EXPECT_TRUE(a("aaabbcddeeeffggg"));
  EXPECT_FALSE(a("acdde"));
  EXPECT_FALSE(a("bde"));
  EXPECT_FALSE(a("bccdde"));
  EXPECT_FALSE(a("bddefff"));
}

TEST(Gbnf, RecursionOnTheRightAndInTheMiddle) {
  Acceptor list = grammar("root ::= item | item \",\" root\nitem ::= \"(\" root? \")\" | [0-9]+");
  EXPECT_TRUE(list("1,22,(3,(4,())),5"));
  EXPECT_FALSE(list("1,22,(3,(4,()),5"));
  std::string deep(5000, '('), flat = "1";
  for (int i = 0; i < 5000; ++i) flat += ",1";
  EXPECT_TRUE(list(flat));
  EXPECT_FALSE(list(deep));
  EXPECT_TRUE(list(deep + std::string(5000, ')')));
  // A rule that only ends in itself: no place in memory for each turn.
  Acceptor tail = grammar("root ::= x\nx ::= \"a\" x | \"b\"");
  EXPECT_TRUE(tail(std::string(3000, 'a') + "b"));
  EXPECT_LT(tail.machine().configs(), 10);
}

TEST(Gbnf, WhatFitsTheEmptyText) {
  Acceptor a = grammar("root ::= a b \"x\"\na ::= b b\nb ::= \"\" | \"y\"");
  for (const char* good : {"x", "yx", "yyx", "yyyx"}) EXPECT_TRUE(a(good)) << good;
  EXPECT_FALSE(a("yyyyx"));
  EXPECT_TRUE(grammar("root ::= \"\"")(""));
  EXPECT_FALSE(grammar("root ::= \"\"")("a"));
}

// A palindrome has no deterministic machine; all its ways are followed side by side.
TEST(Gbnf, Ambiguity) {
  Acceptor a = grammar("root ::= \"a\" root \"a\" | \"b\" root \"b\" | \"\"");
  EXPECT_TRUE(a("abbaabba"));
  EXPECT_FALSE(a("abbaabbb"));
  Acceptor sums =
      grammar("root ::= e\ne ::= t \"+\" e | t\nt ::= \"1\" | \"(\" e \")\" | \"1\" \"1\"?");
  EXPECT_TRUE(sums("(1+11)+((1))"));
}

TEST(Gbnf, ClassesAreSetsOfCharacters) {
  struct Range {
    char32_t low, high;
  };
  for (const Range r : {Range{0, 0x7f}, Range{0x7f, 0x80}, Range{0x41, 0x7ff}, Range{0x7ff, 0x800},
                        Range{0x812, 0x1234}, Range{0xfff0, 0x10010}, Range{0x10000, 0x10ffff},
                        Range{0x12345, 0x12345}, Range{0x3f00, 0xe001}, Range{0x1f600, 0x1f64f}}) {
    for (const bool negated : {false, true}) {
      Acceptor a = grammar(fmt::format("root ::= [{}\\U{:08x}-\\U{:08x}]", negated ? "^" : "",
                                       static_cast<std::uint32_t>(r.low),
                                       static_cast<std::uint32_t>(r.high)));
      for (const char32_t edge : {r.low, r.high, char32_t{0x80}, char32_t{0x800}, char32_t{0x10000},
                                  char32_t{0xd800}, char32_t{0xe000}, char32_t{0x10ffff}}) {
        for (int d = -3; d <= 3; ++d) {
          const auto c = static_cast<char32_t>(static_cast<std::int64_t>(edge) + d);
          if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) continue;
          std::string text;
          text::append_utf8(text, c);
          EXPECT_EQ(a(text), (c >= r.low && c <= r.high) != negated)
              << std::hex << static_cast<std::uint32_t>(c);
        }
      }
      // Surrogates and overlong forms are never text.
      EXPECT_FALSE(a("\xed\xa0\x80"));
      EXPECT_FALSE(a("\xc0\x80"));
      EXPECT_FALSE(a("\xf4\x90\x80\x80"));
    }
  }
}

TEST(Gbnf, SpecialTokens) {
  Builder builder;
  const RuleId root = parse_gbnf("root ::= <[301]> \"a\"", builder);
  const auto tokens = test::test_tokens();
  const auto constraint = std::make_shared<Constraint>(builder, root, tokens);
  ConstraintState state(constraint);
  const auto mask = state.mask();
  EXPECT_TRUE(mask->has(test::kMarker));
  EXPECT_FALSE(mask->has('<'));
  state.accept(test::kMarker);
  EXPECT_TRUE(state.mask()->has('a'));
  EXPECT_FALSE(state.mask()->has(test::kMarker));
  EXPECT_FALSE(state.mask()->has(test::kEnd));
  state.accept('a');
  EXPECT_TRUE(state.must_end());
}

TEST(Gbnf, Errors) {
  EXPECT_NE(refusal("root ::= \"a").find("line 1"), std::string::npos);
  EXPECT_NE(refusal("root ::= \"a\"\nb ::= ]").find("line 2"), std::string::npos);
  EXPECT_NE(refusal("root ::= thing").find("'thing'"), std::string::npos);
  EXPECT_NE(refusal("a ::= \"b\"").find("'root'"), std::string::npos);
  EXPECT_NE(refusal("root ::= root \"a\" | \"a\"").find("left-recursive"), std::string::npos);
  EXPECT_NE(refusal("root ::= a\na ::= b? c\nb ::= \"x\"\nc ::= \"y\" | a").find("left-recursive"),
            std::string::npos);
  EXPECT_NE(refusal("root ::= \"a\" root").find("no text fits"), std::string::npos);
  for (const char* bad :
       {"", "root", "root ::= (", "root ::= )", "root ::= *", "root ::= [b-a]",
        "root ::= \"a\"{3,2}", "root ::= \"a\"{", "root ::= \"\\q\"", "root ::= [a",
        "root ::= \"\\ud800\"", "root ::= <[x]>", "root ::= \"a\" ::= \"b\"", "root ::= \"\xff\"",
        "root ::= \"a\"\nroot ::= \"b\"", "\\"}) {
    EXPECT_NE(refusal(bad), "") << bad;
  }
}

TEST(Gbnf, LimitsHoldAgainstHostileGrammars) {
  const auto repeated = [](const char* text, int n) {
    std::string all;
    for (int i = 0; i < n; ++i) all += text;
    return all;
  };
  // Depth of groups is no depth of calls.
  Acceptor deep = grammar("root ::= " + repeated("(", 60'000) + "\"a\"" + repeated(")", 60'000));
  EXPECT_TRUE(deep("a"));
  EXPECT_NE(refusal("root ::= " + repeated("(", 60'000) + "\"a\""), "");
  EXPECT_NE(refusal("root ::= ((\"a\"{1000}){1000}){1000}").find("too large"), std::string::npos);
  EXPECT_NE(refusal("root ::= " + repeated("\"a\"? ", 40'000)).find("too large"),
            std::string::npos);
  EXPECT_NE(refusal("root ::= " + repeated("[a]", 130'000)).find("bytes, more"), std::string::npos);
  std::string chain = "root ::= r0\n";  // rules that each begin with the next
  for (int i = 0; i < 3000; ++i) chain += fmt::format("r{} ::= r{} \"x\" | \"y\"\n", i, i + 1);
  EXPECT_TRUE(grammar(chain + "r3000 ::= \"z\"")("yxxx"));
  // So many ways at once that following them all would take too long.
  std::string wide = "root ::= ";
  for (int i = 0; i < 4200; ++i) wide += fmt::format("{}[a-z] r{}", i == 0 ? "" : " | ", i);
  for (int i = 0; i < 4200; ++i) wide += fmt::format("\nr{} ::= \"a\" [b-c]{{{}}}", i, i % 3 + 1);
  Acceptor many = grammar(wide);
  EXPECT_THROW(many("aab"), Error);
}

TEST(Gbnf, AHostileMutationIsAnErrorOrAGrammar) {
  const std::string seed =
      "root ::= \"yes\" | ( x [a-c]{1,3} )* #c\nx ::= <[3]> . [^\\n\\]-z]+ \"\\u20ac\"?\n";
  std::mt19937 rng(5);
  for (int i = 0; i < 4000; ++i) {
    std::string text = seed;
    for (int edits = 1 + static_cast<int>(rng() % 4); edits > 0; --edits) {
      const std::size_t at = rng() % text.size();
      switch (rng() % 3) {
        case 0:
          text.erase(at, 1 + rng() % 4);
          break;
        case 1:
          text.insert(at, 1, seed[rng() % seed.size()]);
          break;
        default:
          text[at] = static_cast<char>(rng());
      }
      if (text.empty()) text = "r";
    }
    try {
      grammar(text)("yes");
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
    }
  }
}

// More configurations than are kept: the answer goes on in a new machine.
TEST(Gbnf, ASmallMemoryChangesNothing) {
  Builder builder;
  const RuleId root = parse_gbnf("root ::= \"(\" root \")\" | \"x\"", builder);
  ConstraintLimits limits;
  limits.machine_bytes = 20'000;
  limits.mask_bytes = 1;
  const auto constraint = std::make_shared<Constraint>(builder, root, test::test_tokens(), limits);
  ConstraintState one(constraint), other(constraint);
  for (int i = 0; i < 20; ++i) {
    one.accept('(');
    EXPECT_TRUE(one.mask()->has('x'));
    EXPECT_FALSE(one.mask()->has(')'));
  }
  one.accept('x');
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(other.mask()->has('('));
    other.accept('(');
    EXPECT_TRUE(one.mask()->has(')'));
    one.accept(')');
  }
  EXPECT_TRUE(one.must_end());
  EXPECT_THROW(
      {
        for (int i = 0; i < 100'000; ++i) other.accept('(');
      },
      Error);
}

}  // namespace
}  // namespace conclave::infer::grammar
