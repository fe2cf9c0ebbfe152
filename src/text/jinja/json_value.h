// JSON text to values, keys in the order in which they stand, as Python's json.loads has it:
// integers of any size, the last of equal keys counts.
#pragma once

#include <string>
#include <string_view>

#include "text/jinja/value.h"

namespace conclave::text::jinja {

// All strings of the value have `origin`. Throws Error(kBadFile) "NAME: ..." for text that is not
// JSON and for more than 80 levels.
Value parse_json_value(std::string_view text, const std::string& name, Origin origin);

}  // namespace conclave::text::jinja
