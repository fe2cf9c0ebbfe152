#!/usr/bin/env python3
"""Writes src/text/unicode_recent.inc: what Unicode 16 assigned after Unicode 14.

The regular-expression library of Debian 12 and Ubuntu 22.04 knows Unicode 14, that of Hugging Face
`tokenizers` Unicode 16; token ids would differ on some 10,000 characters. The difference is taken
from the two themselves: Python 3.11 (whose unicodedata is Unicode 14) and tokenizers 0.22.2.

    python3 scripts/make_unicode_recent.py > src/text/unicode_recent.inc
"""
import sys
import unicodedata

import tokenizers
from tokenizers import Regex, pre_tokenizers

CATEGORIES = ("Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co"
              " Cn").split()
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
BLOCK = 4096


def members(pattern):
    """The code points that one character of `pattern` matches."""
    split = pre_tokenizers.Split(Regex(pattern), "removed")
    left = set()
    for begin in range(0, len(CODE_POINTS), BLOCK):
        text = "".join(map(chr, CODE_POINTS[begin:begin + BLOCK]))
        for piece, _ in split.pre_tokenize_str(text):
            left.update(map(ord, piece))
    return [c for c in CODE_POINTS if c not in left]


def main():
    assert unicodedata.unidata_version == "14.0.0", "needs Python 3.11"
    assert tokenizers.__version__ == "0.22.2", "needs tokenizers 0.22.2"
    category = {c: name for name in CATEGORIES for c in members(r"\p{%s}" % name)}
    rows = []
    for c in CODE_POINTS:
        if unicodedata.category(chr(c)) == category[c]:
            continue
        if rows and rows[-1][1] == c - 1 and rows[-1][2] == category[c]:
            rows[-1][1] = c
        else:
            rows.append([c, c, category[c]])
    print("// Made by scripts/make_unicode_recent.py: {first, last, general category} of the code")
    print("// points whose category in Unicode 16 is not that of Unicode 14.")
    line = ""
    for first, last, name in rows:
        item = '{0x%x, 0x%x, "%s"}, ' % (first, last, name)
        if len(line) + len(item) > 100:
            print(line.rstrip())
            line = ""
        line += item
    print(line.rstrip())


if __name__ == "__main__":
    sys.exit(main())
