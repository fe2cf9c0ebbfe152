// Tool calls that are written as Python's: [name(key="value", other=[1, None]), second()].
#pragma once

#include <string_view>
#include <vector>

#include "serve/tools/output_reader.h"

namespace conclave::serve {

// Empty where the text is anything else. Values are literals: numbers, strings, True, False, None
// (and JSON's words), lists, dicts with string keys.
std::vector<ToolCall> python_calls(std::string_view text);

}  // namespace conclave::serve
