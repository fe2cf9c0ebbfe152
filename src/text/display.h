// How text from files and users is shown in messages.
#pragma once

#include <string>
#include <string_view>

namespace conclave::text {

// At most some 60 bytes, control characters and bytes that are not UTF-8 as \xHH.
std::string display_text(std::string_view text);

}  // namespace conclave::text
