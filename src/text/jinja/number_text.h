// Numbers in strings, as int() and float() of Python read them.
#pragma once

#include <optional>
#include <string_view>

#include "text/jinja/big_int.h"
#include "text/jinja/runtime.h"

namespace conclave::text::jinja {

// int(text, base); nothing for what raises ValueError. base is 0 or 2 to 36.
std::optional<BigInt> read_integer(Runtime& rt, std::string_view text, int base);
std::optional<double> read_real(std::string_view text);

}  // namespace conclave::text::jinja
