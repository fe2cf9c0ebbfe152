#!/usr/bin/env python3
"""Compares ids with the reference libraries on many texts, by hand:

    pip install sentencepiece==0.2.3 tokenizers==0.22.2 tiktoken==0.14.0
    ninja -C build/release tokenize_lines
    scripts/compare_tokenizers.py build/release/tests/tokenize_lines FILE [--kind NAME --pattern REGEX]
        [--naughty naughty_strings.json] [--every N] [--texts FILE ...]

FILE is a tokenizer.json, a SentencePiece .model, or a tiktoken file (which needs the kind that
Conclave shall use, and the pattern for tiktoken). Texts: every N-th code point alone and between
letters, random mixtures, runs of one character, random bytes where the library takes them, the
lines of the files named. Prints the first differences; exits 1 if there are any.
"""

import argparse
import base64
import json
import random
import subprocess
import sys

ALPHABET = ["a", "b", "xyz", " ", "  ", "\n", "\t", "\r\n", "'s", "'LL", "\u00e9", "e\u0301", "\ufb01", "\uff21", "\u4e2d", "\u304b\u306a",
            "\U0001f600", "\u3000", "\u00a0", "\u200b", "\ud55c", "\u2581", "1", "1234", "\u00b2", "\u0967\u0968", "\0", "<s>", "</s>", "<unk>",
            "HelloWorld", "iPhone", "/", "//\n", "...", "-", "a" * 40]


def make_texts(arguments, broken):
    rng = random.Random(1)
    points = [chr(c) for c in range(0, 0x110000, arguments.every) if not 0xD800 <= c < 0xE000]
    texts = points + ["a" + c + "b" for c in points] + ["A" + c + "1" for c in points]
    texts += ["".join(rng.choice(ALPHABET) for _ in range(rng.randrange(1, 25))) for _ in range(2000)]
    texts += [c * n for c in ["a", " ", "-", "0", "\u00e9", "\u4e2d", "\n", "ab", " \n"] for n in (2, 7, 64, 1000)]
    if arguments.naughty:
        with open(arguments.naughty, encoding="utf-8") as file:
            texts += list(json.load(file))
    for name in arguments.texts:
        with open(name, encoding="utf-8", newline="") as file:
            texts += [line for line in file.read().split("\n") if line]
    texts = [text.encode("utf-8") for text in texts]
    if broken:
        texts += [bytes(rng.randrange(256) for _ in range(rng.randrange(1, 40))) for _ in range(500)]
    return texts


def reference(arguments):
    """A function from bytes to ids, and whether it takes bytes that are not UTF-8."""
    if arguments.file.endswith(".json"):
        import tokenizers
        tokenizer = tokenizers.Tokenizer.from_file(arguments.file)
        return lambda text: tokenizer.encode(text.decode("utf-8"), add_special_tokens=False).ids, False
    if arguments.kind:
        import tiktoken
        with open(arguments.file, "rb") as file:
            lines = [line.split() for line in file.read().splitlines() if line]
        ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
        encoding = tiktoken.Encoding("file", pat_str=arguments.pattern, mergeable_ranks=ranks, special_tokens={})
        return lambda text: encoding.encode_ordinary(text.decode("utf-8")), False
    import sentencepiece
    model = sentencepiece.SentencePieceProcessor(model_file=arguments.file)
    return model.encode, True


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program")
    parser.add_argument("file")
    parser.add_argument("--kind", default="")
    parser.add_argument("--pattern", default="")
    parser.add_argument("--naughty")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--texts", nargs="*", default=[])
    arguments = parser.parse_args()
    encode, broken = reference(arguments)
    texts = make_texts(arguments, broken)
    command = [arguments.program, arguments.file] + (["special"] if arguments.file.endswith(".json") else [])
    if arguments.kind:
        command.append("kind=" + arguments.kind)
    done = subprocess.run(command, input="\n".join(t.hex() for t in texts) + "\n", capture_output=True, text=True,
                          check=True)
    different = 0
    for text, line in zip(texts, done.stdout.split("\n")):
        expected = " ".join(map(str, encode(text)))
        if line.strip() != expected:
            different += 1
            if different <= 10:
                print(f"{text[:60]!r}\n  ours      {line[:100]}\n  reference {expected[:100]}")
    print(f"{arguments.file}: {len(texts)} texts, {different} different")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
