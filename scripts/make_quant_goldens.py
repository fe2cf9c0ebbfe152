#!/usr/bin/env python3
"""Writes src/tensor/quant_goldens.h: blocks of every quantised type with the numbers that the
reference in numpy of PyPI's `gguf` package (0.19) decodes from them, and the bytes that it encodes.

    pip install numpy gguf==0.19.0
    python scripts/make_quant_goldens.py > src/tensor/quant_goldens.h
"""

import numpy as np
from gguf import GGMLQuantizationType as Type, GGML_QUANT_SIZES
from gguf.quants import dequantize, quantize

# Type -> offsets of the f16 fields in a block, which must be finite numbers.
DECODE = {
    Type.F16: [0], Type.BF16: [], Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0],
    Type.Q5_1: [0, 2], Type.Q8_0: [0], Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.Q4_K: [0, 2],
    Type.Q5_K: [0, 2], Type.Q6_K: [208], Type.IQ4_NL: [0], Type.IQ4_XS: [0], Type.MXFP4: [],
}
ENCODE = [Type.F16, Type.BF16, Type.Q4_0, Type.Q8_0, Type.MXFP4]


def random_blocks(rng, kind):
    count, size = GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, size=(256 // count, size), dtype=np.uint8)
    for at in DECODE[kind]:
        scale = (rng.normal(size=len(blocks)) * 0.02).astype(np.float16)
        blocks[:, at:at + 2] = scale.view(np.uint8).reshape(-1, 2)
    if kind == Type.MXFP4:
        blocks[:, 0] = [0, 1, 2, 119, 125, 127, 130, 250]
    if kind == Type.BF16:
        blocks[:, 1] &= 0xBF  # exponents below 128: finite
    return blocks


def sample():
    """256 numbers that quant_types_test.cc computes in the same way: exact in f32."""
    i = np.arange(256, dtype=np.uint64)
    word = (i * np.uint64(2654435761) + np.uint64(12345)) % np.uint64(1 << 32)
    unit = (word >> np.uint64(8)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)
    scale = np.float32(2.0) ** ((i // np.uint64(32)).astype(np.float32) - 5)
    values = unit * scale
    values[:32] = 0  # an empty block
    values[40] = -0.0
    return values.astype(np.float32)


def literal(data):
    text = data.tobytes().hex()
    lines = [text[i:i + 88] for i in range(0, len(text), 88)]
    return "\n".join(f'     "{line}"' for line in lines)


def main():
    rng = np.random.default_rng(1)
    print("// Made by scripts/make_quant_goldens.py from the gguf package; see there. Bytes in hexadecimal.")
    print("#pragma once\n")
    print('#include "tensor/quant_types.h"\n')
    print("namespace conclave {\n")
    print("struct QuantGolden {\n  QuantType type;\n  const char* blocks;\n  const char* values;\n};\n")
    print("// 256 numbers: their blocks, and the f32 values decoded from them.")
    print("inline constexpr QuantGolden kDecodeGoldens[] = {")
    for kind in DECODE:
        blocks = random_blocks(rng, kind)
        values = dequantize(blocks.reshape(1, -1), kind).astype(np.float32).reshape(-1)
        assert values.size == 256 and np.isfinite(values).all(), kind
        print(f"    {{QuantType::k{kind.name},\n{literal(blocks)},\n{literal(values)}}},")
    print("};\n")
    print("// The 256 numbers of the test's sample, encoded.")
    print("inline constexpr QuantGolden kEncodeGoldens[] = {")
    for kind in ENCODE:
        blocks = quantize(sample().reshape(1, -1), kind)
        print(f"    {{QuantType::k{kind.name},\n{literal(blocks)},\n     nullptr}},")
    print("};\n")
    print("}  // namespace conclave")


if __name__ == "__main__":
    main()
