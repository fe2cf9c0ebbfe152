// The filters and tests of jinja2 3.1, with tojson as transformers defines it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/runtime.h"
#include "text/jinja/value.h"

namespace conclave::text::jinja {

bool has_filter(std::string_view name);
bool has_test(std::string_view name);
// Throw Error(kInvalidArgument) for an unknown name and where jinja2 raises, kUnsupported for
// filters that are left out (random, urlize, ...).
Value apply_filter(Runtime& rt, std::string_view name, const Value& input, const Args& args);
bool apply_test(Runtime& rt, std::string_view name, const Value& input, const Args& args);

}  // namespace conclave::text::jinja
