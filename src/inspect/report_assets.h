// The files of web/ that the report is made of, embedded at build time (cmake/Embed.cmake).
#pragma once

#include <string_view>

namespace conclave::inspect {

// The bytes of a file by its name below web/, as listed in the build; a null view for other names.
std::string_view report_asset(std::string_view file);

}  // namespace conclave::inspect
