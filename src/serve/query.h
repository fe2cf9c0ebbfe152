// The part of a URL after '?': "a=1&b=2". No escapes: the values that paths here take have none.
#pragma once

#include <optional>
#include <string>

namespace conclave::serve {

// The value of the first `name=`; nothing where it is not there.
std::optional<std::string> query_value(const std::string& query, const std::string& name);
// The value as a number from min to max, or nothing. Throws ApiError 400 naming it where it is
// something else.
std::optional<double> query_number(const std::string& query, const std::string& name, double min,
                                   double max);

}  // namespace conclave::serve
