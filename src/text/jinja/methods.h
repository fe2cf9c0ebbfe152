// Methods of str, list, tuple, dict and of jinja2's own objects.
#pragma once

#include <cstdint>
#include <string_view>

#include "text/jinja/runtime.h"
#include "text/jinja/value.h"

namespace conclave::text::jinja {

enum class MethodAccess : std::uint8_t {
  kNo,      // no such attribute
  kYes,     // call_method takes it
  kUnsafe,  // there, but jinja2's immutable sandbox hides it: append, pop, __class__ ...
};
MethodAccess find_method(const Value& object, std::string_view name);
// Throws Error(kInvalidArgument) where the method would raise, kUnsupported for the few that are
// there in Python and not here (encode, translate).
Value call_method(Runtime& rt, const Value& object, std::string_view name, Args& args);

}  // namespace conclave::text::jinja
