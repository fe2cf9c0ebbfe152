"""From documents to a corpus: one text form, no duplicates, a held-out part that shares nothing.

Everything here is decided by hashes of names and contents, so the same packages give the same
bytes, whatever order the files come in.
"""

import hashlib
import re

SEPARATOR = "\x1e"       # ASCII's record separator, alone on a line after every document
MIN_DOCUMENT = 300       # characters; shorter ones are redirections and empty pages
HELDOUT_SHARE = 0.05
MIN_HELDOUT = 150_000    # bytes, where the domain is big enough for it to be at most a tenth

# A paragraph counts as content, and so may occur only once in a domain, from this many characters
# on. In code shorter blocks are syntax ("#endif", "return result;") that would leave holes.
CONTENT_PROSE = 16
CONTENT_CODE = 64

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\ufeff]")


def rank(*parts):
    """A number that orders things at random, the same way on every run."""
    return hashlib.sha256("\0".join(parts).encode()).digest()


def normalize(text):
    """One kind of line end, no control characters, no blanks at line ends."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n\n").replace("\u00a0", " ")
    text = CONTROL.sub("", text)
    return re.sub(r"[ \t]+\n", "\n", text).strip("\n")


def paragraph_key(paragraph):
    words = " ".join(paragraph.lower().split())
    return hashlib.blake2b(words.encode(), digest_size=12).digest()


class Deduplicator:
    """Remembers the documents and paragraphs of one domain and takes out those it has seen."""

    def __init__(self, code):
        self.content = CONTENT_CODE if code else CONTENT_PROSE
        self.code = code
        self.documents, self.paragraphs = set(), set()
        self.dropped_documents = self.dropped_paragraphs = 0

    def take(self, text, wanted=lambda paragraph: True):
        """`text` without what was seen before or is not `wanted`; "" if too little of it remains."""
        text = normalize(text)
        key = hashlib.sha256(text.encode()).digest()
        if len(text) < MIN_DOCUMENT:
            return ""
        if key in self.documents or "\ufffd" in text:
            self.dropped_documents += 1
            return ""
        self.documents.add(key)
        kept = []
        for paragraph in re.split(r"\n(?:[ \t]*\n)+", text):
            if self._new(paragraph) and wanted(paragraph):
                kept.append(paragraph)
            else:
                self.dropped_paragraphs += 1
        result = "\n\n".join(kept).strip("\n")
        return result if len(result) >= MIN_DOCUMENT else ""

    def _new(self, paragraph):
        if len(paragraph) < self.content:
            return bool(paragraph.strip())
        key = paragraph_key(paragraph)
        new = key not in self.paragraphs
        self.paragraphs.add(key)
        return new


def fill(sources, target):
    """Takes documents from `sources`, a list of (share, iterator of (name, text)), until there are
    `target` bytes: first of each source its share, then of whichever has more, in their order."""
    taken = [[] for _ in sources]
    total = 0

    def draw(index, limit):
        nonlocal total
        size = 0
        while size < limit:
            document = next(sources[index][1], None)
            if document is None:
                break
            taken[index].append(document)
            size += len(document[1].encode())
        total += size

    for index, (share, _) in enumerate(sources):
        draw(index, share * target)
    for index in range(len(sources)):
        draw(index, target - total)
    return taken


def split(documents):
    """(train, heldout) of (name, text) pairs. The held-out part is a twentieth of the bytes, whole
    documents in the order of a hash of their names; one too large to fit is left to training."""
    total = sum(len(text.encode()) for _, text in documents)
    goal = max(HELDOUT_SHARE * total, min(MIN_HELDOUT, 0.1 * total))
    train, heldout, size = [], [], 0
    for name, text in sorted(documents, key=lambda d: rank("heldout", d[0])):
        bytes_ = len(text.encode())
        if size < goal and size + bytes_ <= 1.1 * goal:
            heldout.append((name, text))
            size += bytes_
        else:
            train.append((name, text))
    return train, heldout


def serialize(documents):
    """Documents as the bytes of a corpus file, in the order of a hash of their names."""
    ordered = sorted(documents, key=lambda d: rank("order", d[0]))
    return "".join(f"{text}\n{SEPARATOR}\n" for _, text in ordered).encode("utf-8")
