#!/usr/bin/env python3
"""Checks that code compiled for one instruction set cannot end up running on a machine without it.

    scripts/check_isa.py BUILD_DIR

An inline function or a template instantiation becomes a weak symbol, and the linker keeps one copy
of it for the whole program. If an object built with AVX-512 flags defines a weak function that a
plain object (or a shared library) also uses, the kept copy may be the AVX-512 one, and the program
dies of an illegal instruction on an older machine. So every weak function of such an object must
be in a namespace named after its instruction set (conclave::kernels::avx512::...): then nobody
else can define or want it. What a kernel needs from a header is local: static, in an unnamed
namespace, or always_inline.

Exit status: 0 clean, 1 findings, 77 (skipped) when nm is absent or the build has no such object.
"""

import json
import os
import re
import shlex
import subprocess
import sys

SKIPPED = 77
ISA_OBJECT = re.compile(r"_(avx2|avx512|avx512bf16|avx512vnni|amx)\.cc\.o$")
# Weak functions (W, w) and weak data (V, v), and data that is unique in the whole process (u).
WEAK = set("WwVvu")
# Written by the compiler itself, holds a pointer and no code.
HARMLESS = re.compile(r"^DW\.ref\.|^_ZT[ISV]")


def run(*command, text=None):
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


def isa_objects(build):
    """Objects of the build for one instruction set each, as (path, instruction set). The list comes
    from the build's own database, because objects of removed sources stay in the folder."""
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        commands = [shlex.split(entry["command"]) for entry in json.load(file)]
    for output in sorted({words[words.index("-o") + 1] for words in commands if "-o" in words}):
        match = ISA_OBJECT.search(output)
        path = os.path.join(build, output)
        if match and os.path.exists(path):
            yield path, match.group(1)


def weak_symbols(path):
    for line in run("nm", "--defined-only", "--format=posix", path).splitlines():
        fields = line.split()
        if len(fields) >= 2 and fields[1] in WEAK and not HARMLESS.match(fields[0]):
            yield fields[0]


def in_own_namespace(symbol, isa):
    """Whether a mangled name has the instruction set as one of its namespaces: ...6avx512..."""
    return re.search(rf"(?<!\d){len(isa)}{isa}", symbol) is not None


def main():
    if len(sys.argv) != 2 or not os.path.exists(os.path.join(sys.argv[1], "compile_commands.json")):
        print("usage: scripts/check_isa.py BUILD_DIR (a finished build, with compile_commands.json)",
              file=sys.stderr)
        return 2
    try:
        run("nm", "--version")
    except (OSError, subprocess.CalledProcessError):
        print("check_isa: skipped: no 'nm' here; install binutils")
        return SKIPPED

    checked = 0
    found = {}  # symbol -> (instruction set, objects that define it)
    for path, isa in isa_objects(sys.argv[1]):
        checked += 1
        for symbol in weak_symbols(path):
            if not in_own_namespace(symbol, isa):
                found.setdefault(symbol, (isa, []))[1].append(os.path.relpath(path, sys.argv[1]))
    if checked == 0:
        print("check_isa: skipped: the build has no object for a particular instruction set")
        return SKIPPED

    if found:
        symbols = sorted(found)
        readable = run("c++filt", text="\n".join(symbols)).splitlines()
        for symbol, name in zip(symbols, readable):
            isa, paths = found[symbol]
            print(f"{paths[0]}: defines '{name}' as a weak symbol compiled for {isa}; make it static, "
                  f"always_inline, or put it in a namespace {isa}")
    print(f"check_isa: {checked} objects, {len(found)} finding(s)")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
