// A GGUF file as bytes: parsed, every tensor inside the file, and every block decoded.
#include <vector>

#include "io/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace conclave;
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    io::BoundedReader reader(bytes, "fuzz");
    const io::GgufHeader header = io::parse_gguf(reader);
    std::vector<float> values;
    for (const io::GgufTensor& tensor : header.tensors) {
      if (tensor.offset > size || tensor.bytes > size - tensor.offset) __builtin_trap();
      if (!tensor.type->quant) continue;
      values.resize(static_cast<std::size_t>(tensor.count()));
      dequantize(*tensor.type->quant, bytes.data() + tensor.offset, tensor.count(), values.data());
    }
  } catch (const Error&) {
  }
  return 0;
}
