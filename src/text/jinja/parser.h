// Tokens to a tree, with the grammar of jinja2 3.1 and its loopcontrols extension, and the
// generation tag of transformers. Recursion is bounded: what nests deeper than kMaxSyntaxDepth is
// refused.
#pragma once

#include <string>
#include <string_view>

#include "text/jinja/ast.h"

namespace conclave::text::jinja {

inline constexpr int kMaxSyntaxDepth = 200;

// Throws Error(kBadFile) where jinja2 would see a syntax error, Error(kUnsupported) for tags that a
// template of one file has no use for (include, import, extends) and for what nests too deep. Both
// say "NAME, line L, column C: ...".
Ast parse(std::string_view source, const std::string& name);

}  // namespace conclave::text::jinja
