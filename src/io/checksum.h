// xxHash3, 64 bits, as 16 hexadecimal digits: against damage, not against an attacker.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "sys/files.h"

namespace conclave::io {

std::string checksum(std::span<const std::byte> bytes);
// Of a file's whole content, read in pieces of 1 MiB.
std::string checksum(const sys::File& file);

}  // namespace conclave::io
