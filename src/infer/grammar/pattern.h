// A subset of ECMAScript's regular expressions (what JSON schemas call pattern) as grammar: the
// texts that match, written as the content of a JSON string.
//
// Known: alternatives, groups (capturing or not, named), classes with ranges and negation, . \d \w
// \s \D \W \S, \t \n \r \f \v \xHH \uHHHH, escaped punctuation, * + ? {m} {m,} {m,n} (lazy ones
// too), ^ at the beginning and $ at the end of the whole or of one of its outermost alternatives.
// Not known, and refused by name: look-around, back references, \b \B \p \c \k, flags.
#pragma once

#include <string_view>

#include "infer/grammar/json_parts.h"

namespace conclave::infer::grammar {

// Throws Error(kInvalidArgument) "pattern: ... at character N".
ExprId compile_pattern(std::string_view pattern, JsonParts& parts);

}  // namespace conclave::infer::grammar
