#include "infer/grammar/builder.h"

#include <utility>

#include "base/error.h"

namespace conclave::infer::grammar {

std::string special_token_bytes(std::int32_t id) {
  const auto part = [id](int shift) { return static_cast<char>((id >> shift) & 0xff); };
  return {'\xff', part(16), part(8), part(0)};
}

ExprId Builder::add(Expr expr) {
  if (exprs_.size() >= kMostExprs) {
    fail(ErrorKind::kInvalidArgument, "the grammar has more than {} parts", kMostExprs);
  }
  exprs_.push_back(std::move(expr));
  return static_cast<ExprId>(exprs_.size()) - 1;
}

ExprId Builder::bytes(std::string_view text) {
  return add({.op = Expr::Op::kBytes, .bytes = std::string(text), .chars = {}, .children = {}});
}

ExprId Builder::chars(text::CodePoints set) {
  const text::CodePoints scalars = {{0, 0xd7ff}, {0xe000, text::kLastCodePoint}};
  return add({.op = Expr::Op::kChars,
              .bytes = {},
              .chars = text::intersection(text::normalized(std::move(set)), scalars),
              .children = {}});
}

ExprId Builder::seq(std::vector<ExprId> parts) {
  if (parts.size() == 1) return parts[0];
  return add({.op = Expr::Op::kSeq, .bytes = {}, .chars = {}, .children = std::move(parts)});
}

ExprId Builder::alt(std::vector<ExprId> choices) {
  if (choices.size() == 1) return choices[0];
  return add({.op = Expr::Op::kAlt, .bytes = {}, .chars = {}, .children = std::move(choices)});
}

ExprId Builder::repeat(ExprId what, int min, int max) {
  return add({.op = Expr::Op::kRepeat,
              .min = min,
              .max = max,
              .bytes = {},
              .chars = {},
              .children = {what}});
}

ExprId Builder::call(RuleId rule) {
  return add({.op = Expr::Op::kCall, .rule = rule, .bytes = {}, .chars = {}, .children = {}});
}

RuleId Builder::add_rule(std::string name) {
  if (rules_.size() >= kMostExprs) {
    fail(ErrorKind::kInvalidArgument, "the grammar has more than {} rules", kMostExprs);
  }
  rules_.push_back({std::move(name), -1});
  return static_cast<RuleId>(rules_.size()) - 1;
}

ExprId Builder::rule(std::string name, ExprId body) {
  const RuleId id = add_rule(std::move(name));
  define(id, body);
  return call(id);
}

}  // namespace conclave::infer::grammar
