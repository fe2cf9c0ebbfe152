// A safetensors file as bytes: the header parser, and the promise that no tensor leaves the file.
#include <cstring>

#include "io/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace conclave;
  std::uint64_t length = 0;
  if (size < sizeof(length)) return 0;
  std::memcpy(&length, data, sizeof(length));
  if (length > size - sizeof(length)) length = size - sizeof(length);
  const std::string_view json(reinterpret_cast<const char*>(data) + sizeof(length), length);
  try {
    const io::SafetensorsHeader header = io::parse_safetensors_header(json, size, "fuzz");
    std::uint64_t sum = 0;
    for (const io::TensorInfo& info : header.tensors) {
      const bool inside = info.offset <= size && info.bytes <= size - info.offset;
      if (!inside || __builtin_add_overflow(sum, info.bytes, &sum) || info.count() < 0) {
        __builtin_trap();
      }
    }
    if (sum > size) __builtin_trap();
  } catch (const Error&) {
  }
  return 0;
}
