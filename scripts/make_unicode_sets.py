#!/usr/bin/env python3
"""Writes src/text/unicode_sets.inc: sets of characters as Hugging Face `tokenizers` has them.

Its normalizers and pre-tokenizers rest on tables of different Unicode versions, some as old as 8;
token ids depend on them. The sets are asked from the library itself, character by character.
Needs Python 3.11 (for the characters that Unicode 14 decomposes or reorders but the library does
not) and tokenizers 0.22.2.

    python3 scripts/make_unicode_sets.py > src/text/unicode_sets.inc
"""
import sys
import unicodedata

import tokenizers
from tokenizers import normalizers, pre_tokenizers

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]


def bert(**changes):
    settings = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False,
                    lowercase=False)
    settings.update(changes)
    return normalizers.BertNormalizer(**settings)


def removed_by(normalizer):
    return [c for c in CODE_POINTS if normalizer.normalize_str("a" + chr(c)) == "a"]


def removed_by_splitting(pre_tokenizer):
    return [c for c in CODE_POINTS if not pre_tokenizer.pre_tokenize_str(chr(c))]


def inert():
    """Characters that the library's normal forms leave alone, but those of Unicode 14 do not."""
    forms = [(getattr(normalizers, form)(), form) for form in ("NFD", "NFKD")]
    out = []
    for c in CODE_POINTS:
        # Marks of class 232 before and 220 behind: a mark in between would be moved.
        around = "a\u0315" + chr(c) + "\u0323"
        for form, name in forms:
            if form.normalize_str(around) != unicodedata.normalize(name, around):
                out.append(c)
                break
    # The only pair that Unicode 10 to 14 learnt to compose.
    return sorted(set(out) | {0x11930, 0x11935})


def lowercase():
    """Ranges of characters with the distance to their lower case, which follows at once in half of
    them: {first, last, step, distance}."""
    lower = normalizers.Lowercase()
    rows = []
    for c in CODE_POINTS:
        low = lower.normalize_str(chr(c))
        if low == chr(c) or len(low) != 1:
            continue
        distance = ord(low) - c
        if rows and rows[-1][3] == distance and c - rows[-1][1] in (1, 2) and (
                rows[-1][2] in (0, c - rows[-1][1])):
            rows[-1][2] = c - rows[-1][1]
            rows[-1][1] = c
        else:
            rows.append([c, c, 0, distance])
    return [(a, b, step or 1, d) for a, b, step, d in rows]


def ranges(code_points):
    rows = []
    for c in code_points:
        if rows and rows[-1][1] == c - 1:
            rows[-1][1] = c
        else:
            rows.append([c, c])
    return rows


def write(declaration, items):
    print("constexpr %s[] = {" % declaration)
    line = " "
    for item in items:
        if len(line) + len(item) + 2 > 100:
            print(line)
            line = " "
        line += " " + item + ","
    print(line)
    print("};")


def write_set(name, code_points):
    write("CodeRange " + name, ["{0x%x, 0x%x}" % tuple(row) for row in ranges(code_points)])


def main():
    assert unicodedata.unidata_version == "14.0.0", "needs Python 3.11"
    assert tokenizers.__version__ == "0.22.2", "needs tokenizers 0.22.2"
    print("// Made by scripts/make_unicode_sets.py.")
    write_set("kPunctuation", removed_by_splitting(pre_tokenizers.Punctuation("removed")))
    write_set("kBertControl", removed_by(bert(clean_text=True)))
    write_set("kBertMarks", removed_by(bert(strip_accents=True)))
    write_set("kCombiningMarks", removed_by(normalizers.StripAccents()))
    write_set("kInert", inert())
    write("LowercaseRange kLowercase",
          ["{0x%x, 0x%x, %d, %d}" % row for row in lowercase()])


if __name__ == "__main__":
    sys.exit(main())
