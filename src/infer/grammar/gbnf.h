// Grammars as text, in the dialect of BNF that llama.cpp made common (GBNF):
//
//   # a comment
//   root   ::= "yes" | "no" reason?
//   reason ::= " because " [a-z ]{1,40} "."
//
// Rules are `name ::= body`; `root` is where an answer begins. A body has "texts" and [classes] (or
// [^negated] ones) with the escapes \n \t \r \\ \" \] \[ \- \^ \xHH \uHHHH \UHHHHHHHH, `.` for any
// character, names of rules, (groups), alternatives with |, and the repetitions * + ? {m} {m,}
// {m,n}. <[ID]> is the token with that id, for special tokens. A body goes on until the next
// `name ::=`, over any lines. Left recursion is refused.
#pragma once

#include <string_view>

#include "infer/grammar/builder.h"

namespace conclave::infer::grammar {

inline constexpr std::size_t kMostGrammarBytes = 256 * 1024;

// Adds the rules; returns `root`. Throws Error(kInvalidArgument) "grammar, line N: ...".
RuleId parse_gbnf(std::string_view text, Builder& builder);

}  // namespace conclave::infer::grammar
