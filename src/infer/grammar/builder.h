// A grammar while it is put together: rules whose bodies are expressions over the bytes of UTF-8
// text. Front ends (GBNF, JSON schema, tool calls) make one, Program compiles it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/code_points.h"

namespace conclave::infer::grammar {

using ExprId = int;
using RuleId = int;

// Special tokens have no bytes in text. Within grammars each is a byte that no UTF-8 text has, and
// three that spell its id.
std::string special_token_bytes(std::int32_t id);

struct Expr {
  enum class Op : std::uint8_t { kBytes, kChars, kSeq, kAlt, kRepeat, kCall };
  Op op = Op::kBytes;
  int min = 0, max = 0;          // kRepeat (max -1: any number)
  RuleId rule = 0;               // kCall
  std::string bytes;             // kBytes
  text::CodePoints chars;        // kChars
  std::vector<ExprId> children;  // kSeq, kAlt, kRepeat (one)
};

class Builder {
 public:
  // What the front ends may build: above it every call throws Error(kInvalidArgument).
  static constexpr int kMostExprs = 200'000;

  ExprId bytes(std::string_view text);  // as they are; empty: nothing
  ExprId chars(text::CodePoints set);   // one character of a set, surrogates left out
  ExprId seq(std::vector<ExprId> parts);
  ExprId alt(std::vector<ExprId> choices);  // none: nothing fits
  ExprId repeat(ExprId what, int min, int max);
  ExprId optional(ExprId what) { return repeat(what, 0, 1); }
  ExprId call(RuleId rule);
  ExprId special_token(std::int32_t id) { return bytes(special_token_bytes(id)); }

  // A rule without a body fits nothing.
  RuleId add_rule(std::string name);
  void define(RuleId rule, ExprId body) { rules_[static_cast<std::size_t>(rule)].body = body; }
  // Both at once, as a call.
  ExprId rule(std::string name, ExprId body);

  struct Rule {
    std::string name;
    ExprId body = -1;
  };
  const std::vector<Rule>& rules() const { return rules_; }
  // Whether any of it came from a JSON schema: for the words of an error.
  bool of_schema() const { return of_schema_; }
  void set_of_schema() { of_schema_ = true; }
  const Expr& expr(ExprId id) const { return exprs_[static_cast<std::size_t>(id)]; }

 private:
  ExprId add(Expr expr);

  std::vector<Expr> exprs_;
  std::vector<Rule> rules_;
  bool of_schema_ = false;
};

}  // namespace conclave::infer::grammar
