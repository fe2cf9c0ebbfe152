// The parts of a URL. After '?': "a=1&b=2", without escapes: the values that paths here take have
// none.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace conclave::serve {

// Of a path: %41 is A. What is no such number stays as it is.
std::string percent_decoded(std::string_view text);
// The value of the first `name=`; nothing where it is not there.
std::optional<std::string> query_value(const std::string& query, const std::string& name);
// The value as a number from min to max, or nothing. Throws ApiError 400 naming it where it is
// something else.
std::optional<double> query_number(const std::string& query, const std::string& name, double min,
                                   double max);

}  // namespace conclave::serve
