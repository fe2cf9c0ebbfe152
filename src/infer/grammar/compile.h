// From what a user asks for to a Constraint.
#pragma once

#include <memory>
#include <string_view>

#include "infer/grammar/constraint.h"
#include "io/json_tree.h"

namespace conclave::infer::grammar {

using ConstraintPtr = std::shared_ptr<Constraint>;
using TokensPtr = std::shared_ptr<const TokenTable>;

// All throw Error(kInvalidArgument) that says what is wrong with the grammar.
ConstraintPtr constrain_to_schema(const io::JsonTree& tree, int node, TokensPtr tokens);
// Any JSON object.
ConstraintPtr constrain_to_json_object(TokensPtr tokens);
// GBNF, see gbnf.h.
ConstraintPtr constrain_to_grammar(std::string_view text, TokensPtr tokens);

}  // namespace conclave::infer::grammar
