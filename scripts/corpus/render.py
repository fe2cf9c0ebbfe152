"""Markup to plain text: HTML, OSIS (Bible study texts) and man pages.

Text comes out as paragraphs separated by one blank line, a paragraph of prose on one line. A heading
stands on the line before its paragraph, so the two stay together.
"""

import html
import html.parser
import os
import re
import subprocess

# A single blank between two of these comes from a line break of the source: neither Chinese nor
# Japanese puts spaces between words.
CJK = "\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uff00-\uffef"
CJK_SPACE = re.compile(f"(?<=[{CJK}]) (?=[{CJK}])")


def join_cjk(text):
    return CJK_SPACE.sub("", text)


class HtmlText(html.parser.HTMLParser):
    """Collects `blocks`: (kind, text) pairs, the kind being "heading", "line" (of a list or table,
    kept next to its neighbours) or "text"."""

    SKIPPED = {"script", "style", "head", "nav", "footer", "form", "button", "select", "svg", "object"}
    SKIPPED_CLASSES = {"MAC"}  # of two texts for two systems, the one for the other system
    HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6", "dt", "caption"}
    BLOCKS = HEADINGS | {"p", "div", "li", "ul", "ol", "dl", "dd", "table", "tr", "pre", "blockquote",
                         "section", "article", "header", "aside", "body", "center", "hr"}
    BREAK = "\v"   # a <br>; counts as white space
    BULLET = "- "
    LONGEST_CELL = 120  # characters; a table with longer ones is there for its layout

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.blocks = []
        self.current = []
        self.kind = "text"
        self.preformatted = 0
        self.rows = []        # where in `blocks` each open table row begins
        self.skipping = None  # the element whose content is not wanted, and how deep we are in such
        self.skip_depth = 0

    def flush(self):
        text = "".join(self.current)
        self.current = []
        if self.preformatted:
            text = text.replace(self.BREAK, "\n").strip("\n").expandtabs(8).rstrip()
        else:
            text = join_cjk(re.sub(r"\s+", " ", text).strip())
        if text.strip(" -"):
            self.blocks.append((self.kind, text))
        self.kind = "text"

    def finish_row(self):
        """Cells of a row were blocks of their own: short ones become one line."""
        start = self.rows.pop()
        cells = [text for _, text in self.blocks[start:]]
        if cells and all(len(text) <= self.LONGEST_CELL for text in cells):
            self.blocks[start:] = [("line", "  ".join(cells))]

    def handle_starttag(self, tag, attributes):
        if self.skipping:
            self.skip_depth += tag == self.skipping
            return
        if tag in self.SKIPPED or dict(attributes).get("class") in self.SKIPPED_CLASSES:
            self.skipping, self.skip_depth = tag, 1
        elif tag == "br":
            # Two of them make a paragraph in old pages, one is a line break of layout.
            if self.current[-1:] == [self.BREAK]:
                self.flush()
            else:
                self.current.append(self.BREAK)
        elif tag in self.BLOCKS:
            if self.current != [self.BULLET]:  # the first paragraph of a list item is the item
                self.flush()
            if tag == "tr":
                self.rows.append(len(self.blocks))
            elif tag == "li":
                self.current, self.kind = [self.BULLET], "line"
            elif tag in self.HEADINGS:
                self.kind = "heading"
            self.preformatted += tag == "pre"
        elif tag in ("td", "th"):
            self.flush()

    def handle_endtag(self, tag):
        if self.skipping:
            self.skip_depth -= tag == self.skipping
            if self.skip_depth == 0:
                self.skipping = None
            return
        if tag in self.BLOCKS or tag in ("td", "th"):
            self.flush()
            if tag == "pre" and self.preformatted:
                self.preformatted -= 1
            elif tag == "tr" and self.rows:
                self.finish_row()

    def handle_data(self, data):
        # White space between two breaks must not hide that they are two.
        filler = not data.strip() and self.current[-1:] in ([self.BREAK], [self.BULLET])
        if not self.skipping and not filler:
            self.current.append(data)


def html_to_text(markup):
    parser = HtmlText()
    parser.feed(markup)
    parser.close()
    parser.flush()
    return join_blocks(parser.blocks)


def join_blocks(blocks):
    """(kind, text) pairs to text. Of headings in a row only the last stays, for its paragraph; one
    that nothing follows goes. Lines that follow each other stay together."""
    paragraphs = []
    heading, last = "", ""
    for kind, text in blocks:
        if kind == "heading":
            heading = text
        elif kind == last == "line" and not heading:
            paragraphs[-1] += "\n" + text
        else:
            paragraphs.append(heading + "\n" + text if heading else text)
            heading = ""
        last = kind
    return "\n\n".join(paragraphs)


OSIS_DROPPED = re.compile(r"<note\b.*?</note>|<!--.*?-->", re.DOTALL)
OSIS_TITLE = re.compile(r"<title\b[^>]*>(.*?)</title>", re.DOTALL)
OSIS_BREAK = re.compile(r'<(?:chapter|p|lg|l|lb|div)\b[^>]*>')
TAG = re.compile(r"<[^>]*>")


def osis_to_text(markup):
    markup = OSIS_DROPPED.sub("", markup)
    markup = OSIS_TITLE.sub(lambda m: "\n\n\x01" + TAG.sub("", m.group(1)) + "\n\n", markup)
    markup = html.unescape(TAG.sub("", OSIS_BREAK.sub("\n\n", markup))).replace("\u00b6", "")
    blocks = []
    for block in re.split(r"\n\n+", markup):
        text = re.sub(r"\s+", " ", block.replace("\x01", "")).strip()
        text = re.sub(r" ([,.;:!?)])", r"\1", text)
        if text:
            blocks.append(("heading" if "\x01" in block else "text", text))
    return join_blocks(blocks)


class ManPages:
    """Man pages through mandoc, which knows man, mdoc and tables, and needs nothing but itself."""

    INDENT = 7     # mandoc's indent of a section's text
    WIDTH = 1000   # the widest it takes: a paragraph is one line unless it is longer than that

    def __init__(self, program):
        self.program = program

    def to_text(self, source):
        """Bytes of a page to text, or "" if mandoc makes nothing of it."""
        done = subprocess.run([self.program, "-T", "utf8", "-O", f"width={self.WIDTH}"], input=source,
                              capture_output=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
        text = re.sub(".\b", "", done.stdout.decode("utf-8", errors="replace"))
        lines = text.split("\n")
        while lines and not lines[-1].strip():
            lines.pop()
        # The first and the last line are the page's header and footer; tables are drawn in boxes.
        plain = [re.sub("[\u2500-\u257f]+", "  ", line) for line in lines[1:-1]]
        kept = [new for old, new in zip(lines[1:-1], plain) if new.strip(" _=+|-") or not old.strip()]
        return join_cjk("\n".join(self._join(kept)))

    def _join(self, lines):
        result = []
        last_raw = ""
        for line in lines:
            body = line.lstrip(" ")
            indent = len(line) - len(body)
            if len(last_raw) > self.WIDTH - 60 and body and result[-1]:
                result[-1] += " " + body  # mandoc broke a paragraph longer than its widest line
            else:
                # Section text is flush left; what is indented further keeps half of its indent.
                body = re.sub(r" {3,}", "  ", body)
                result.append(" " * max(0, (indent - self.INDENT) * 4 // 7) + body if body else "")
            last_raw = line
        return result
