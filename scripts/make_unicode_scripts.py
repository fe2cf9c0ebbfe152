#!/usr/bin/env python3
"""Writes src/text/unicode_scripts.inc: which characters Hugging Face `tokenizers` takes to be of one
script. The classes are asked from its UnicodeScripts pre-tokenizer, which cuts between two scripts
and drops characters that have none. Needs tokenizers 0.22.2.

    python3 scripts/make_unicode_scripts.py > src/text/unicode_scripts.inc
"""
import sys

import tokenizers
from tokenizers import pre_tokenizers


def main():
    assert tokenizers.__version__ == "0.22.2", "needs tokenizers 0.22.2"
    scripts = pre_tokenizers.UnicodeScripts()

    def same(a, b):
        return len(scripts.pre_tokenize_str(chr(a) + chr(b))) == 1

    runs = []
    for c in range(0x110000):
        if 0xD800 <= c <= 0xDFFF or not scripts.pre_tokenize_str(chr(c)):
            continue
        if runs and runs[-1][1] == c - 1 and same(c - 1, c):
            runs[-1][1] = c
        else:
            runs.append([c, c])
    classes = []
    rows = []
    for first, last in runs:
        number = next((i for i, c in enumerate(classes) if same(c, first)), len(classes))
        if number == len(classes):
            classes.append(first)
        rows.append("{0x%x, 0x%x, %d}" % (first, last, number + 1))
    print("// Made by scripts/make_unicode_scripts.py.")
    print("constexpr ScriptRange kScripts[] = {")
    line = " "
    for row in rows:
        if len(line) + len(row) + 2 > 100:
            print(line)
            line = " "
        line += " " + row + ","
    print(line)
    print("};")


if __name__ == "__main__":
    sys.exit(main())
