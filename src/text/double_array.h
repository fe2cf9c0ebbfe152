// The double-array trie inside SentencePiece's "precompiled charsmap" (Aoe 1989, "An Efficient
// Digital Search Algorithm by Using a Double-Array Structure"; layout of the Darts library). Read
// only, with every index checked: the array comes from a file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace conclave::text {

// Maps strings to strings, for normalization.
class CharsMap {
 public:
  // The blob: size of the array in bytes (32 bits, little-endian), the array, then the replacements
  // as strings that end in a zero byte. Throws Error(kBadFile).
  explicit CharsMap(std::string_view blob);

  struct Found {
    std::size_t size = 0;  // bytes of the key; 0: none
    std::string_view replacement;
  };
  // The longest key that `text` begins with.
  Found longest(std::string_view text) const;
  // The shortest one.
  Found shortest(std::string_view text) const;

 private:
  Found search(std::string_view text, bool first) const;
  std::string_view replacement_at(std::uint32_t offset) const;

  std::vector<std::uint32_t> units_;
  std::string replacements_;
};

}  // namespace conclave::text
