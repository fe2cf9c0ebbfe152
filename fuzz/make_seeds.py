#!/usr/bin/env python3
"""Seeds for the fuzz programs: python3 fuzz/make_seeds.py OUT makes OUT/gguf, OUT/safetensors,
OUT/json, OUT/tokenizer and OUT/chat_template, small files that reach every type of weights and the
parts of a tokenizer. A program is then run as gguf_fuzz OUT/gguf -max_total_time=300."""

import copy
import json
import pathlib
import struct
import sys

GOLDENS = pathlib.Path(__file__).resolve().parent.parent / "tests" / "goldens" / "tokenizers"
# GGUF's number of a type: numbers and bytes of a block.
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
          10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
          20: (32, 18), 23: (256, 136), 30: (1, 2), 39: (32, 17)}
# The last 64 bytes of a tokenizer's seed are the text that it reads.
TEXT = b"Hello  the rain 12 <s> a\n\n lines, \xc3\xa9\xe4\xb8\xad".ljust(64, b".")
TEMPLATES = [
    "{% for m in messages %}{{ m.role ~ ': ' ~ (m.content or '')|trim }}"
    "{% if not loop.last %}{{ '\\n' }}{% endif %}{% endfor %}",
    "{% macro f(x, y=1) %}{{ x|upper }}{{ caller() }}{% endmacro %}{% call f('a') %}b{% endcall %}",
    "{% set ns = namespace(i=0) %}{% for k, v in messages[0].items() %}{% set ns.i = ns.i + 1 %}"
    "{{ k }}={{ v|tojson }}{% endfor %}{{ ns.i }}",
    "{{ messages[0].content[::-1].replace('a', 'b').split(' ')|join('-') }}{{ '%5.2f'|format(1.5) }}",
    "{{ messages|selectattr('role','equalto','user')|map(attribute='content')|list|first|e }}"
    "{{ 7 // 2 ** 3 % 4 }}{{ (1, 2, 'x') }}{{ messages|groupby('role') }}",
    "{{ messages[1].tool_calls[0].function.arguments|tojson(indent=2) }}"
    "{{ strftime_now('%Y-%m-%d') }}{{ '{0}{a!r:>5}'.format(1, a=messages) }}"]


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def key(name, kind, data):
    return text(name) + struct.pack("<I", kind) + data


def gguf(keys, tensors, data):
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys)
    for name, dims, kind, offset in tensors:
        out += text(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims)
        out += struct.pack("<IQ", kind, offset)
    return out + bytes(-len(out) % 32) + data


def gguf_seeds():
    keys = [key("general.architecture", 8, text("llama")),
            key("general.alignment", 4, struct.pack("<I", 32)), key("a.real", 6, bytes(4)),
            key("a.flag", 7, b"\1"), key("a.byte", 0, b"\7"), key("a.long", 11, bytes(8)),
            key("a.double", 12, bytes(8)),
            key("words", 9, struct.pack("<IQ", 8, 3) + text("a") + text("b") + text("")),
            key("numbers", 9, struct.pack("<IQ3i", 5, 3, 1, 2, 3)),
            key("lists", 9, struct.pack("<IQIQ", 9, 1, 0, 2) + b"ab")]
    for kind, (count, size) in BLOCKS.items():
        data = bytes((i * 37 + 11) % 251 for i in range(2 * size))
        data += bytes(-len(data) % 32)
        yield gguf(keys, [("w", [count, 2], kind, 0), ("v", [2], 0, len(data))], data + bytes(32))
    yield gguf([], [], b"")


def safetensors_seeds():
    for header, size in (({}, 0), ({"__metadata__": {"format": "pt"},
                                    "w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
                                    "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]},
                                    "e": {"dtype": "F8_E4M3", "shape": [0],
                                          "data_offsets": [32, 32]}}, 32)):
        data = json.dumps(header).encode()
        yield struct.pack("<Q", len(data)) + data + bytes(size)


def json_seeds():
    yield b'{"a":[1,2.5e3,-0,null,true,"\\u00e9\\ud83d\\ude00"],"b":{}}'
    yield from (b"[[[[]]]]", b"1e308", b'{"a":1,"a":2}')


def tokenizer_seeds():
    for file in sorted(GOLDENS.iterdir()):
        if file.name.endswith((".model", ".tokenizer.json", ".tiktoken")):
            yield file.read_bytes() + TEXT
    vocab = {**{c: i for i, c in enumerate("abcdefghi jklmnop")}, "ab": 20, "<s>": 21}
    split = {"type": "Split", "behavior": "MergedWithNext", "invert": True,
             "pattern": {"Regex": r"(?i:'s)|\p{L}+|\p{N}{1,3}|[^\s]+(?!\S)"}}
    bpe = {
        "version": "1.0",
        "added_tokens": [{"id": 21, "content": "<s>", "special": True, "normalized": False,
                          "lstrip": True, "rstrip": True, "single_word": True}],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFKC"}, {"type": "Lowercase"}, {"type": "Prepend", "prepend": "_"},
            {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
            {"type": "Strip", "strip_left": True, "strip_right": True}]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            split, {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}]},
        "post_processor": {"type": "TemplateProcessing",
                           "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                                      {"Sequence": {"id": "A", "type_id": 0}}],
                           "special_tokens": {"<s>": {"id": "<s>", "ids": [21], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "vocab": vocab, "merges": ["a b"], "unk_token": "a",
                  "fuse_unk": True, "byte_fallback": True, "ignore_merges": True}}
    unigram = copy.deepcopy(bpe)
    unigram["model"] = {"type": "Unigram", "unk_id": 0, "byte_fallback": True,
                        "vocab": [["<unk>", 0.0], ["a", -1.5], ["ab", -2], ["<0x41>", -3]]}
    unigram["pre_tokenizer"] = unigram["decoder"] = {
        "type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": True}
    for file in (bpe, unigram):
        yield json.dumps(file).encode() + TEXT


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for name, seeds in (("gguf", gguf_seeds()), ("safetensors", safetensors_seeds()),
                        ("json", json_seeds()), ("tokenizer", tokenizer_seeds()),
                        ("chat_template", (t.encode() for t in TEMPLATES))):
        folder = pathlib.Path(sys.argv[1]) / name
        folder.mkdir(parents=True, exist_ok=True)
        for i, seed in enumerate(seeds):
            (folder / f"seed{i}").write_bytes(seed)


if __name__ == "__main__":
    main()
