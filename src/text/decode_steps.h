// The kinds of decoders, by the names that files use.
#pragma once

#include <memory>
#include <string>

#include "text/decoder.h"

namespace conclave::text {

// Null for a type that is not known. Throws Error(kBadFile).
std::unique_ptr<DecodeStep> make_decode_step(const std::string& type, const JsonView& config);

}  // namespace conclave::text
