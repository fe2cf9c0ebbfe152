#!/usr/bin/env python3
"""Checks the rules of the house that a compiler does not: who may include whom, where an
architecture may be named, how long a file may get, and that sources are ASCII.

    scripts/check_layers.py [--root DIR]

Prints one line per finding, 'FILE:LINE: what is wrong; what to do', and exits 1 if there is any.
Reads the working tree as it lies there, so it also works without git.
"""

import argparse
import os
import re
import sys

# The order of the layers: a folder may include itself and the groups before its own. Folders in
# one group are siblings and never include each other.
ORDER = [
    ["base"], ["sys"], ["tensor"], ["kernels"], ["ops"], ["moe"], ["nn"], ["io"], ["text"], ["models"],
    ["train", "infer", "quant", "edit", "inspect"], ["serve"], ["api", "cli"],
]
RANK = {layer: rank for rank, group in enumerate(ORDER) for layer in group}

# The installed API is implemented by src/api; the exception type is the one part that the layers share.
API_LAYER = "api"
SHARED_API_HEADERS = {"src/base/error.h": "conclave/error.h"}

# Folders with sources of ours; whatever else lies in the tree (build output, data) is not looked at.
SOURCE_DIRS = ["include", "src", "tests", "bench", "fuzz", "examples", "scripts", "cmake", "python"]
SOURCE_SUFFIXES = (".h", ".cc", ".cu", ".py", ".sh", ".cmake", "CMakeLists.txt")
MAX_LINES = 800

ARCHITECTURES = re.compile(
    r"mixtral|mistral|olmoe|olmo|qwen|deepseek|gpt_?oss|llama|granite|phi_?moe|phi[34]|glm_?4|dbrx|"
    r"ernie|hunyuan|kimi|jamba|switch_?transformers?|minimax|arctic|bailing|nemotron|gemma|dots_?1",
    re.IGNORECASE)
# GGUF files name their pre-tokenizer after the model that introduced it ("llama-bpe"): in text/
# these are values that a file holds, so its string literals may spell them; its identifiers may not.
LITERALS_MAY_NAME_MODELS = "src/text/"
# A router says in its traits which paper it follows and who uses it, for the generated docs.
TRAITS_MAY_NAME_MODELS = "src/moe/routers/"
TRAIT = re.compile(r"\.(\w+)\s*=(?!=)")
FREE_TRAITS = {"citation", "use_when"}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]')
TOKEN = re.compile(
    r'//[^\n]*'                                          # a comment to the end of the line
    r'|/\*.*?\*/'                                        # a block comment
    r'|R"(?P<fence>[^()\\\s]{0,16})\(.*?\)(?P=fence)"'   # a raw string
    r'|"(?:[^"\\\n]|\\.)*"'                              # a string
    r"|(?<![0-9A-Fa-f])'(?:[^'\\\n]|\\.)+'"              # a character, not a digit separator
    r'|[A-Za-z_][A-Za-z0-9_]*',                          # an identifier or keyword
    re.DOTALL)


class Findings:
    def __init__(self):
        self.lines = []

    def add(self, path, line, text):
        self.lines.append((path, line, text))

    def report(self, files):
        for path, line, text in sorted(self.lines):
            print(f"{path}:{line}: {text}")
        print(f"check_layers: {files} files, {len(self.lines)} finding(s)")
        return 1 if self.lines else 0


def source_files(root):
    for top in SOURCE_DIRS:
        for folder, subfolders, names in os.walk(os.path.join(root, top)):
            subfolders[:] = sorted(d for d in subfolders if d != "__pycache__")
            for name in sorted(names):
                if name.endswith(SOURCE_SUFFIXES):
                    yield os.path.relpath(os.path.join(folder, name), root).replace(os.sep, "/")
    for name in ("CMakeLists.txt", "Makefile", ".ci/run"):
        if os.path.exists(os.path.join(root, name)):
            yield name


def declared_dependencies(root):
    """The layers that each conclave_layer() of CMakeLists.txt links, directly or through another."""
    with open(os.path.join(root, "CMakeLists.txt"), encoding="utf-8") as file:
        text = file.read()
    direct = {}
    for body in re.findall(r"conclave_layer\(([^)]*)\)", text):
        words = body.split()
        direct[words[0]] = [w[len("conclave_"):] for w in words[1:] if w.startswith("conclave_")]
    reached = {}

    def reach(layer):
        if layer not in reached:
            reached[layer] = {layer}
            for dependency in direct.get(layer, []):
                reached[layer] |= reach(dependency)
        return reached[layer]

    for layer in direct:
        reach(layer)
    return reached


def check_shape(path, data, findings):
    lines = data.count(b"\n") + (0 if data.endswith(b"\n") or not data else 1)
    if lines > MAX_LINES:
        findings.add(path, lines, f"{lines} lines, the limit is {MAX_LINES}; split the file by what it does")
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.isascii():
            findings.add(path, number, "not ASCII; use an ASCII spelling or an escape (\\u00e9)")


def check_public_include(path, number, target, findings):
    if not target.startswith("conclave/"):
        findings.add(path, number, f'the installed API includes "{target}"; it may include only '
                     "<conclave/...> and the standard library")


def check_src_include(root, reached, path, number, target, findings):
    layer, other = path.split("/")[1], target.split("/")[0]
    if layer not in RANK:
        findings.add(path, number, f"src/{layer} is not in the order of the layers; add it to ORDER")
    elif other == "conclave":
        if layer != API_LAYER and SHARED_API_HEADERS.get(path) != target:
            findings.add(path, number, f"{layer}/ includes the installed API; only src/api does, the "
                         "layers use each other's headers")
    elif other not in RANK:
        findings.add(path, number, f'"{target}" does not start with a layer; write "{layer}/..." or '
                     "use <...> for a library")
    elif not os.path.exists(os.path.join(root, "src", target)):
        findings.add(path, number, f'"{target}" is not a file of src/')
    elif other != layer and RANK[other] == RANK[layer]:
        findings.add(path, number, f"{layer}/ and {other}/ are siblings and may not include each "
                     "other; move what both need to a layer before them")
    elif RANK[other] > RANK[layer]:
        findings.add(path, number, f"{layer}/ comes before {other}/ and may not include it; turn the "
                     "dependency around")
    elif layer in reached and other not in reached[layer]:
        findings.add(path, number, f"{layer}/ includes {other}/ but conclave_{layer} does not link "
                     f"conclave_{other} in CMakeLists.txt; name it under DEPS or drop the include")


def check_includes(root, reached, path, text, findings):
    # Comments go first (an #include inside one is no include); their line breaks stay, to count.
    def blank(match):
        token = match.group(0)
        return re.sub(r"[^\n]", " ", token) if token.startswith(("//", "/*")) else token

    for number, line in enumerate(TOKEN.sub(blank, text).split("\n"), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        quoted, target = match.group(1) == '"', match.group(2)
        if ".." in target.split("/"):
            findings.add(path, number, f'"{target}" climbs out of its folder; name the file from src/')
        elif path.startswith("include/conclave/"):
            if quoted or target.split("/")[0] in RANK:
                check_public_include(path, number, target, findings)
        elif path.startswith("src/") and (quoted or target.split("/")[0] in [*RANK, "conclave"]):
            # <sys/mman.h> and its like belong to the system: only a file of ours counts.
            if quoted or target.startswith("conclave/") or os.path.exists(os.path.join(root, "src", target)):
                check_src_include(root, reached, path, number, target, findings)


def may_name_models(path, before):
    """Whether a string literal that follows `before` in this file may name an architecture."""
    if path.startswith(TRAITS_MAY_NAME_MODELS):
        return any(trait in FREE_TRAITS for trait in TRAIT.findall(before)[-1:])
    return path.startswith(LITERALS_MAY_NAME_MODELS)


def check_names(path, text, findings):
    parts = path.split("/")
    if parts[0] != "src" or parts[1] == "models" or re.search(r"_(test|bench)\.cc$", path):
        return
    for match in TOKEN.finditer(text):
        token = match.group(0)
        if token.startswith(("//", "/*")):
            continue
        name = ARCHITECTURES.search(token)
        literal = token[0] in "\"'" or token.startswith('R"')
        if name and not (literal and may_name_models(path, text[:match.start()])):
            number = text.count("\n", 0, match.start() + name.start()) + 1
            findings.add(path, number, f"names the architecture '{name.group(0)}' outside src/models/; "
                         "say what it does instead, or move it there")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--root", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    root = os.path.abspath(parser.parse_args().root)
    reached = declared_dependencies(root)
    findings = Findings()
    files = 0
    for path in source_files(root):
        files += 1
        with open(os.path.join(root, path), "rb") as file:
            data = file.read()
        check_shape(path, data, findings)
        if path.endswith((".h", ".cc", ".cu")):
            text = data.decode("utf-8", errors="replace")
            check_includes(root, reached, path, text, findings)
            check_names(path, text, findings)
    if files == 0:
        print(f"check_layers: no sources under {root}; is --root the repository?", file=sys.stderr)
        return 2
    return findings.report(files)


if __name__ == "__main__":
    sys.exit(main())
