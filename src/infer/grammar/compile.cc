#include "infer/grammar/compile.h"

#include "infer/grammar/gbnf.h"
#include "infer/grammar/json_parts.h"
#include "infer/grammar/schema.h"

namespace conclave::infer::grammar {

namespace {

ConstraintPtr constrain(Builder& builder, ExprId body, TokensPtr tokens) {
  const RuleId root = builder.add_rule("root");
  builder.define(root, body);
  return std::make_shared<Constraint>(builder, root, std::move(tokens));
}

}  // namespace

ConstraintPtr constrain_to_schema(const io::JsonTree& tree, int node, TokensPtr tokens) {
  Builder builder;
  JsonParts parts(builder);
  const ExprId body = compile_schema(tree, node, parts);
  return constrain(builder, body, std::move(tokens));
}

ConstraintPtr constrain_to_json_object(TokensPtr tokens) {
  Builder builder;
  JsonParts parts(builder);
  const ExprId body = parts.any_object();
  return constrain(builder, body, std::move(tokens));
}

ConstraintPtr constrain_to_grammar(std::string_view text, TokensPtr tokens) {
  Builder builder;
  const RuleId root = parse_gbnf(text, builder);
  return std::make_shared<Constraint>(builder, root, std::move(tokens));
}

}  // namespace conclave::infer::grammar
