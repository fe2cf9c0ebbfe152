// JSON as bytes: bounded, strict, and what is accepted survives being written and read again.
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/json.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace conclave;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  nlohmann::json document;
  try {
    document = io::parse_json(text, "fuzz");
  } catch (const Error&) {
    return 0;
  }
  if (io::parse_json(document.dump(), "again") != document) __builtin_trap();
  return 0;
}
