// The methods of Python str, for methods.cc.
#pragma once

#include <string_view>

#include "text/jinja/methods.h"

namespace conclave::text::jinja {

bool has_string_method(std::string_view name);
Value call_string_method(Runtime& rt, const Value& self, std::string_view name, Args& args);

}  // namespace conclave::text::jinja
