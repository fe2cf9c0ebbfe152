#include "text/double_array.h"

#include "base/error.h"

namespace conclave::text {
namespace {

std::uint32_t read_u32(std::string_view bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    value |= static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[at + i])) << 8 * i;
  }
  return value;
}

// A unit of the array: bit 31 says that it is a value, bit 8 that its key ends here; bits 0..7 are
// the label, bits 10..30 the offset to the children, in units of 256 if bit 9 is set.
bool has_leaf(std::uint32_t unit) { return (unit >> 8 & 1u) == 1u; }
std::uint32_t value_of(std::uint32_t unit) { return unit & 0x7fffffffu; }
std::uint32_t label_of(std::uint32_t unit) { return unit & 0x800000ffu; }
std::uint32_t offset_of(std::uint32_t unit) { return (unit >> 10) << ((unit & 0x200u) >> 6); }

}  // namespace

CharsMap::CharsMap(std::string_view blob) {
  const std::uint32_t bytes = blob.size() >= 4 ? read_u32(blob, 0) : 0;
  if (blob.size() <= 4 || bytes == 0 || bytes % 4 != 0 || bytes > blob.size() - 4) {
    fail(ErrorKind::kBadFile, "precompiled charsmap: its array has {} bytes, but the whole only {}",
         bytes, blob.size());
  }
  for (std::size_t at = 4; at < 4 + std::size_t{bytes}; at += 4)
    units_.push_back(read_u32(blob, at));
  replacements_ = blob.substr(4 + std::size_t{bytes});
}

std::string_view CharsMap::replacement_at(std::uint32_t offset) const {
  if (offset >= replacements_.size()) return {};
  const std::string_view rest = std::string_view(replacements_).substr(offset);
  return rest.substr(0, rest.find('\0'));
}

CharsMap::Found CharsMap::search(std::string_view text, bool first) const {
  Found found;
  std::uint32_t node = offset_of(units_[0]);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte == 0) break;
    node ^= byte;
    if (node >= units_.size() || label_of(units_[node]) != byte) break;
    const std::uint32_t unit = units_[node];
    node ^= offset_of(unit);
    if (!has_leaf(unit)) continue;
    if (node >= units_.size()) break;
    found = {i + 1, replacement_at(value_of(units_[node]))};
    if (first) break;
  }
  return found;
}

CharsMap::Found CharsMap::longest(std::string_view text) const { return search(text, false); }
CharsMap::Found CharsMap::shortest(std::string_view text) const { return search(text, true); }

}  // namespace conclave::text
