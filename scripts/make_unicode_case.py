#!/usr/bin/env python3
"""Writes src/text/jinja/unicode_case.inc: what Python's str knows about case and digits and utf8proc
does not tell. Python 3.11 (Unicode 14) made the committed file:

    python3.11 scripts/make_unicode_case.py > src/text/jinja/unicode_case.inc
"""

import sys
import unicodedata

EVERY = [chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000]


def escaped(text):
    return "".join(f"\\U{ord(c):08x}" if ord(c) > 0xFFFF else f"\\u{ord(c):04x}" for c in text)


def ascii_escaped(text):
    return '""'.join(c if c.isascii() else escaped(c) for c in text)


def mapping(name, rule):
    print(f"constexpr FullMapping {name}[] = {{")
    for c in EVERY:
        if rule(c) is not None:
            print(f'    {{0x{ord(c):05x}, "{ascii_escaped(rule(c))}"}},')
    print("};\n")


def ranges(name, rule):
    found = []
    for c in EVERY:
        if not rule(c):
            continue
        if found and found[-1][1] == ord(c) - 1:
            found[-1][1] = ord(c)
        else:
            found.append([ord(c), ord(c)])
    print(f"constexpr CodeRange {name}[] = {{")
    line = "   "
    for first, last in found:
        item = f" {{0x{first:x}, 0x{last:x}}},"
        if len(line) + len(item) > 100:
            print(line)
            line = "   "
        line += item
    print(line + "\n};\n")


print(f"// Written by scripts/make_unicode_case.py with Unicode {unicodedata.unidata_version}.\n")
mapping("kFullUpper", lambda c: c.upper() if len(c.upper()) > 1 else None)
mapping("kFullTitle", lambda c: c.title() if len(c.title()) > 1 else None)
mapping("kFold", lambda c: c.casefold() if c.casefold() != c.lower() else None)
ranges("kUppercase", str.isupper)
ranges("kLowercase", str.islower)
ranges("kOtherDigits", lambda c: c.isdigit() and not c.isdecimal())
ranges("kOtherNumbers", lambda c: c.isnumeric() and unicodedata.category(c)[0] != "N")
