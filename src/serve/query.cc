#include "serve/query.h"

#include <charconv>

#include "base/error.h"
#include "serve/api_error.h"

namespace conclave::serve {

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned byte = 0;
    const char* const begin = text.data() + i + 1;
    if (text[i] == '%' && text.size() - i > 2 &&
        std::from_chars(begin, begin + 2, byte, 16).ptr == begin + 2) {
      out += static_cast<char>(byte);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::optional<std::string> query_value(const std::string& query, const std::string& name) {
  std::size_t begin = 0;
  while (begin < query.size()) {
    const std::size_t end = std::min(query.find('&', begin), query.size());
    const std::string part = query.substr(begin, end - begin);
    if (part.starts_with(name) && part.size() > name.size() && part[name.size()] == '=') {
      return part.substr(name.size() + 1);
    }
    begin = end + 1;
  }
  return std::nullopt;
}

std::optional<double> query_number(const std::string& query, const std::string& name, double min,
                                   double max) {
  const std::optional<std::string> text = query_value(query, name);
  if (!text) return std::nullopt;
  double value = 0;
  const auto read = std::from_chars(text->data(), text->data() + text->size(), value);
  const bool whole = read.ec == std::errc() && read.ptr == text->data() + text->size();
  if (!whole || !(value >= min && value <= max)) {
    throw bad_request(fmt::format("'{}': expected a number from {} to {}", name, min, max), name);
  }
  return value;
}

}  // namespace conclave::serve
