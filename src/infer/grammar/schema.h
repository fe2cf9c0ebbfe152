// JSON Schema (draft 2020-12, and what older drafts share with it) as grammar: every text of the
// grammar is JSON that is valid against the schema. The grammar may be narrower than the schema:
// properties come in the order in which the schema has them, numbers and white space are bounded,
// objects with `properties` have others only where additionalProperties says so. It is never wider:
// what cannot be kept is an error that names the keyword.
//
// Keywords: type, enum, const, properties, required, additionalProperties, items, prefixItems,
// minItems, maxItems, minLength, maxLength, pattern (pattern.h), format (date, time, date-time,
// uuid, ipv4, email), minimum, maximum, exclusiveMinimum, exclusiveMaximum, anyOf, oneOf (where its
// choices exclude one another at sight), allOf, $ref within the document, $defs, definitions;
// annotations (title, description, default, ...) say nothing.
#pragma once

#include <string>

#include "infer/grammar/json_parts.h"
#include "io/json_tree.h"

namespace conclave::infer::grammar {

struct SchemaLimits {
  int rules = 20'000;
  int merged = 64;  // schemas that hold for one value together
};

// Compiles the schema at `node`; $ref counts from there. Throws Error(kInvalidArgument) that names
// where in the schema ("#/properties/a") and the keyword.
ExprId compile_schema(const io::JsonTree& tree, int node, JsonParts& parts,
                      const SchemaLimits& limits = {});

}  // namespace conclave::infer::grammar
