"""Files of a package to documents. A reader takes (path, bytes) of one file and yields pairs
(name, text), where `name` tells the documents of one file apart. A file that is not what the reader
expects yields nothing. Every function here is a reader unless its name starts with an underscore."""

import gzip
import re
import struct
import textwrap
import zlib

from corpus import render


def _decode(data):
    """Bytes as UTF-8 text, or "" if they are not."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return ""


def _unpack(path, data):
    if not path.endswith(".gz"):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        return b""


# --- source code ----------------------------------------------------------------------------------

LICENCE = re.compile(r"copyright|licen[cs]e|spdx|redistribut|warranty|all rights reserved", re.IGNORECASE)
C_COMMENT = re.compile(r"\s*(/\*.*?\*/|(?://[^\n]*\n)+)", re.DOTALL)
HASH_COMMENT = re.compile(r"\s*((?:#[^\n]*(?:\n|$))+)")


def _without_licence(text, comment):
    """Drops the comments that open a file as long as they are about its licence."""
    while (match := comment.match(text)) and LICENCE.search(match.group(1)):
        text = text[match.end():]
    return text


def c_source(path, data):
    yield "", _without_licence(_decode(data), C_COMMENT)


def python_source(path, data):
    text = _decode(data)
    text = re.sub(r"\A#![^\n]*\n", "", text)
    yield "", _without_licence(text, HASH_COMMENT)


# --- metamath -------------------------------------------------------------------------------------

METAMATH_HEADER = re.compile(r"\$\(\s*\n\s*([#*=.-])[#*=.-]{3,}\n\s*(.*?)\n\s*\1[#*=.-]{3,}\n", re.DOTALL)
# Theorems that were taken out stand in comments, with @ in place of $.
METAMATH_PROOF = re.compile(r"([$@])=\s*\(([^()]*)\)[\sA-Z?]*[$@]\.")


def metamath(path, data):
    """One document a section. Of a proof the steps' names stay and the packed reference letters
    (two fifths of the file, and close to random) become '?', Metamath's sign for steps left out."""
    def shorten(match):
        sign, steps = match.group(1), match.group(2).split()
        proof = f"( {' '.join(steps)} ) ? {sign}."
        first = " " if len(proof) < 40 else "\n      "
        return f"{sign}=" + first + "\n      ".join(textwrap.wrap(proof, 73))

    text = METAMATH_PROOF.sub(shorten, _decode(data))
    starts = [match.start() for match in METAMATH_HEADER.finditer(text)] + [len(text)]
    for number, (start, end) in enumerate(zip(starts, starts[1:])):
        yield f"section{number}", text[start:end]


# --- prose ----------------------------------------------------------------------------------------

NAVIGATION = re.compile("^\u2039.*\u203a$", re.MULTILINE)  # "< previous  up  next >" between quotes


def html_page(path, data):
    yield "", NAVIGATION.sub("", render.html_to_text(_decode(data)))


def office_help(path, data):
    """A page of LibreOffice's help: what is shown between the navigation and the links at the end."""
    match = re.search(r'<div id="DisplayArea"[^>]*>(.*?)(?:<div id="SearchFrame"|<p [^>]*class="related")',
                      _decode(data), re.DOTALL)
    if match:
        yield "", render.html_to_text(match.group(1))


def _paragraphs(lines):
    """Lines of hard-wrapped text to paragraphs of one line each."""
    paragraph = []
    for line in lines:
        if line.strip():
            paragraph.append(line.strip())
        elif paragraph:
            yield " ".join(paragraph)
            paragraph = []
    if paragraph:
        yield " ".join(paragraph)


def jargon_file(path, data):
    """The Jargon File: short lines are the headwords and headings of the paragraphs after them."""
    paragraphs = list(_paragraphs(_decode(_unpack(path, data)).split("\n")))
    kinds = ["heading" if len(p) < 80 and not p.endswith((".", "!", "?")) else "text" for p in paragraphs]
    for start in range(0, len(paragraphs), 60):
        part = slice(start, start + 60)
        yield f"part{start // 60}", render.join_blocks(zip(kinds[part], paragraphs[part]))


CHAPTER = re.compile(r"^(?:CHAPTER|Chapter|VOLUME) ", re.MULTILINE)


def austen(path, data):
    """The six novels of R's janeaustenr: character vectors in a lazy-load database, a line an element.
    A document is a chapter."""
    for novel, lines in enumerate(_r_character_vectors(data)):
        chapter, number = [], 0
        for line in lines + ["CHAPTER END"]:
            if CHAPTER.match(line) and chapter:
                yield f"novel{novel}-{number}", "\n\n".join(_paragraphs(chapter))
                chapter, number = [], number + 1
            chapter.append(line)


def _r_character_vectors(data):
    """The character vectors among the objects of an R .rdb file: each object is a 4-byte length of
    the unpacked bytes and a zlib stream of R's XDR serialization (R Internals, section 1.8)."""
    position = 0
    while position + 4 < len(data):
        inflater = zlib.decompressobj()
        try:
            item = inflater.decompress(data[position + 4:])
        except zlib.error:
            return
        position = len(data) - len(inflater.unused_data)
        lines = _r_strings(item)
        if lines:
            yield lines


def _r_strings(item):
    """The strings of one serialized character vector, or [] if it is another kind of object."""
    STRING_VECTOR, STRING, MISSING = 16, 9, 0xFFFFFFFF
    if item[:2] != b"X\n" or len(item) < 22:
        return []
    version, = struct.unpack_from(">I", item, 2)
    position = 14
    if version == 3:  # names its native encoding: a length and that many bytes
        position += 4 + struct.unpack_from(">I", item, position)[0]
    kind, count = struct.unpack_from(">II", item, position)
    position += 8
    strings = []
    if kind & 0xFF != STRING_VECTOR:
        return []
    for _ in range(count):
        if position + 8 > len(item):
            return []
        kind, length = struct.unpack_from(">II", item, position)
        position += 8
        if kind & 0xFF != STRING:
            return []
        if length != MISSING:
            strings.append(item[position:position + length].decode("utf-8", errors="replace"))
            position += length
    return strings


SWORD_CHAPTER = re.compile(r"(?=<chapter\b[^>]*\bsID=)")


def sword_module(path, data):
    """The .?zz file of a SWORD module without its indexes: zlib streams, each a book or a chapter in
    OSIS, with slack between them. A document is a chapter."""
    number = 0
    for stream in _zlib_streams(data):
        for chapter in SWORD_CHAPTER.split(_decode(stream)):
            yield f"chapter{number}", render.osis_to_text(chapter)
            number += 1


def _zlib_streams(data):
    """The zlib streams in `data`, found by their first byte: one that is none fails at once."""
    position = 0
    while (position := data.find(b"\x78", position)) >= 0:
        inflater = zlib.decompressobj()
        try:
            stream = inflater.decompress(data[position:])
        except zlib.error:
            stream = b""
        if inflater.eof and stream:
            yield stream
            position = len(data) - len(inflater.unused_data)
        else:
            position += 1


def man_page(mandoc):
    """A reader of man pages that renders with `mandoc`, a render.ManPages."""
    def read(path, data):
        yield "", mandoc.to_text(_unpack(path, data))
    return read
