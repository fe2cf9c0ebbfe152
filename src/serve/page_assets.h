// The files of web/ that the server's page is made of, embedded at build time (cmake/Embed.cmake).
#pragma once

#include <string_view>

namespace conclave::serve {

// The bytes of a file by its name below web/, as listed in the build; a null view for other names.
std::string_view page_asset(std::string_view file);

}  // namespace conclave::serve
