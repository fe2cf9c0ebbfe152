// "Did you mean": the known name nearest to one that is not known.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace conclave::io {

// The nearest of `names` by edit distance (insertions, deletions, replacements and swaps of
// neighbours), or "" where even that is too far: more than a third of the name's length.
std::string nearest_name(std::string_view name, const std::vector<std::string>& names);

// " (did you mean 'NAME'?)", or "".
std::string did_you_mean(std::string_view name, const std::vector<std::string>& names);

}  // namespace conclave::io
