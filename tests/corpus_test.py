#!/usr/bin/env python3
"""Tests of scripts/corpus/: text is extracted without markup, nothing occurs twice, the held-out part
shares nothing with the rest, and only a whole download is ever used."""

import gzip
import hashlib
import json
import os
import re
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import unittest
import unittest.mock
import zlib

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
COLLECT = os.path.join(ROOT, "scripts", "collect_corpus.py")
sys.path.insert(0, os.path.join(ROOT, "scripts"))

from corpus import clean, domains, packages, readers, render  # noqa: E402 (needs the path above)


def prose(number, sentences=8):
    """A document's worth of text that no other number gives."""
    return "\n\n".join(f"Sentence {i} of document {number} says what no other one says." for i in range(sentences))


class Html(unittest.TestCase):
    def test_text_without_markup_scripts_and_navigation(self):
        text = render.html_to_text(
            "<html><head><title>t</title><script>var a = '<p>no</p>';</script></head><body><nav>Next</nav>"
            "<h2>Heading</h2><p>One &amp;\n <b>two</b>&nbsp;three.</p><p>Four.<style>p{}</style></p></body>")
        self.assertEqual(text, "Heading\nOne & two three.\n\nFour.")

    def test_the_text_for_the_other_system_is_left_out_with_all_it_holds(self):
        text = render.html_to_text('<p>Press <span class="MAC"><span>Cmd</span> key</span><span>Ctrl</span>.</p>')
        self.assertEqual(text, "Press Ctrl.")

    def test_short_table_rows_are_lines_and_layout_tables_are_not(self):
        self.assertEqual(render.html_to_text("<table><tr><td><p>a</p></td><td>b</td></tr>"
                                             "<tr><td>c</td><td>d</td></tr></table>"), "a  b\nc  d")
        long = "word " * 40
        text = render.html_to_text(f"<table><tr><td><p>{long}</p><p>{long}</p></td></tr></table>")
        self.assertEqual(text, f"{long.strip()}\n\n{long.strip()}")

    def test_lists_stay_together_and_preformatted_lines_stay_lines(self):
        text = render.html_to_text("<ul><li><p>one</p></li><li>two</li></ul><pre>\nint  a;\n  b();\n</pre>")
        self.assertEqual(text, "- one\n- two\n\nint  a;\n  b();")

    def test_two_breaks_end_a_paragraph_and_one_does_not(self):
        self.assertEqual(render.html_to_text("one<br>two<br>\n <br>three"), "one two\n\nthree")

    def test_blanks_between_han_characters_come_from_line_ends(self):
        self.assertEqual(render.html_to_text("<p>\u6587\u4ef6\n\u540d  is\n\u6587</p>"),
                         "\u6587\u4ef6\u540d is \u6587")

    def test_osis_keeps_words_and_drops_notes(self):
        text = render.osis_to_text('<chapter sID="1"/><title>Psalm 1</title><p/><w lemma="x">Blessed</w> is '
                                   '<note>Or, happy</note>the man <hi>.</hi> &amp;')
        self.assertEqual(text, "Psalm 1\nBlessed is the man. &")


class Readers(unittest.TestCase):
    def only(self, documents):
        documents = [text for _, text in documents if text]
        self.assertEqual(len(documents), 1)
        return documents[0]

    def test_licence_comments_go_and_other_comments_stay(self):
        source = b"/* SPDX-License-Identifier: MIT */\n/*\n * Copyright 2020 X\n */\n/* What it is. */\nint a;\n"
        self.assertEqual(self.only(readers.c_source("a.h", source)).strip(), "/* What it is. */\nint a;")
        source = b"#!/usr/bin/python3\n# Copyright X\n# All rights reserved.\n\n# Why.\nimport a\n"
        self.assertEqual(self.only(readers.python_source("a.py", source)).strip(), "# Why.\nimport a")

    def test_bytes_that_are_not_utf8_give_nothing(self):
        self.assertEqual([t for _, t in readers.html_page("a", b"<p>caf\xe9</p>") if t], [])
        self.assertEqual([t for _, t in readers.jargon_file("a.gz", b"not gzip") if t], [])

    def test_metamath_keeps_statements_and_steps_without_the_packed_letters(self):
        source = "$(\n#*#*#*#*\n  One\n#*#*#*#*\n$)\n  id $p |- ( ph -> ph ) $=\n ( wi ax-1 ) AABC\n DEZF $.\n"
        text = self.only(readers.metamath("set.mm", source.encode()))
        self.assertIn("id $p |- ( ph -> ph ) $= ( wi ax-1 ) ? $.", text)
        self.assertNotIn("AABC", text)

    def r_object(self, version, strings, kind=16):
        head = b"X\n" + struct.pack(">III", version, 0x40000, 0x30500)
        if version == 3:
            head += struct.pack(">I", 5) + b"UTF-8"
        body = b"".join(struct.pack(">II", 9, len(s)) + s for s in strings)
        item = head + struct.pack(">II", kind, len(strings)) + body
        return struct.pack(">I", len(item)) + zlib.compress(item)

    def test_novels_are_read_from_either_r_format_and_split_in_chapters(self):
        lines = [b"A TITLE", b"", b"Chapter 1", b"", b"It is a truth", b"acknowledged.", b"Chapter 2", b"", b"End."]
        for version in (2, 3):
            data = self.r_object(version, [], kind=19) + self.r_object(version, lines)
            texts = [text for _, text in readers.austen("Rdata.rdb", data)]
            self.assertEqual(texts, ["A TITLE", "Chapter 1\n\nIt is a truth acknowledged.", "Chapter 2\n\nEnd."])

    def test_damaged_r_data_gives_nothing(self):
        whole = self.r_object(2, [b"Chapter 1", b"text"])
        self.assertEqual(list(readers.austen("r", whole[:3] + b"\0" * 40)), [])
        torn = zlib.decompress(whole[4:])[:-3]
        torn = torn[:22] + struct.pack(">II", 9, 0x7FFFFFF0)  # a string that claims two gigabytes
        self.assertEqual(list(readers.austen("r", struct.pack(">I", len(torn)) + zlib.compress(torn))), [])

    def test_sword_modules_are_found_between_slack(self):
        chapters = [f'<chapter osisID="Ps.{n}" sID="Ps.{n}"/><p/>Verse {n}.'.encode() for n in (1, 2)]
        data = zlib.compress(chapters[0]) + b"xxx\x78yyy" + zlib.compress(chapters[1])
        texts = [text for _, text in readers.sword_module("a.czz", data) if text]
        self.assertEqual(texts, ["Verse 1.", "Verse 2."])

    def test_office_help_is_what_lies_between_navigation_and_related_links(self):
        page = b'<p>menu</p><div id="DisplayArea" x><p>Help.</p><p id="1" class="related">See</p><p>also</p>'
        self.assertEqual(self.only(readers.office_help("a", page + b'<div id="SearchFrame">')), "Help.")

    def test_man_pages(self):
        program = shutil.which("mandoc") or next(
            (os.path.join(folder, name) for folder in [os.path.join(ROOT, ".cache", "tools")]
             if os.path.isdir(folder) for name in os.listdir(folder) if name.startswith("mandoc-")), None)
        if not program:
            self.skipTest("no mandoc here; apt-get install mandoc, or run collect_corpus.py once")
        page = (b".TH LS 1 2020 x y\n.SH NAME\nls \\- list \\fBfiles\\fP\n.SH OPTIONS\n.TP\n\\-a\ndo not\nignore\n"
                b".TS\nl l.\na\tb\n.TE\n")
        text = self.only(readers.man_page(render.ManPages(program))("ls.1.gz", gzip.compress(page)))
        self.assertIn("NAME\nls - list files\n\nOPTIONS\n-a", text)
        self.assertIn("do not ignore", text)
        self.assertNotRegex(text, r"[\b\u2500-\u257f]|LS\(1\)|\.T[HPSE]")


class Languages(unittest.TestCase):
    def test_english_left_in_a_translation_is_dropped(self):
        french = domains.BY_NAME["french"].wanted
        self.assertTrue(french("Ouvre une fen\u00eatre dans laquelle vous pouvez choisir."))
        self.assertTrue(french("ls -l /usr"))
        self.assertFalse(french("Opens the dialog in which you can choose."))
        chinese = domains.BY_NAME["chinese"].wanted
        self.assertTrue(chinese("\u9009\u62e9 Insert - Table\u3002"))
        self.assertFalse(chinese("Filters the list of changes according to the type."))
        self.assertFalse(chinese("\n".join(["\u64cd\u4f5c", "Press Ctrl and click Next."]) + " "))

    def test_results_and_statistics_are_dropped(self):
        german = domains.BY_NAME["german"].wanted
        self.assertFalse(german("0,416434654153369"))
        self.assertFalse(german("tar V:920, I:999 3144 .tar das Standardwerkzeug"))


class Cleaning(unittest.TestCase):
    def test_repeated_paragraphs_and_documents_go(self):
        dedup = clean.Deduplicator(code=False)
        first = dedup.take(prose(1))
        self.assertEqual(first, prose(1))
        self.assertEqual(dedup.take(prose(1)), "")
        mixed = dedup.take(prose(1) + "\n\n" + prose(2).replace("\n\n", " \n \t\n"))
        self.assertEqual(mixed, prose(2))
        shouted = "  " + prose(2).upper().replace(" SAYS", "  SAYS")
        self.assertEqual(dedup.take(shouted), "", "the same words are the same paragraph")

    def test_short_blocks_of_code_may_repeat(self):
        dedup = clean.Deduplicator(code=True)
        texts = [prose(n) + "\n\n#endif" for n in (1, 2)]
        self.assertEqual([dedup.take(text) for text in texts], texts)

    def test_control_characters_and_the_separator_cannot_come_through(self):
        text = clean.Deduplicator(code=False).take("a\x1e\x00\ufeff\u200b" + prose(1) + "\r\nend\f" + prose(2))
        self.assertIsNone(re.search("[\x00-\x09\x0b-\x1f\ufeff\u200b]", text))
        self.assertIn("says.\nend\n\nSentence", text)

    def test_split_is_a_twentieth_and_does_not_depend_on_the_order(self):
        documents = [(f"d{n}", prose(n, 5 + n % 40)) for n in range(2000)]
        train, heldout = clean.split(documents)
        size = {part: sum(len(t) for _, t in docs) for part, docs in (("train", train), ("held", heldout))}
        self.assertAlmostEqual(size["held"] / (size["train"] + size["held"]), 0.05, delta=0.006)
        self.assertEqual(sorted(train + heldout), sorted(documents))
        again = clean.split(documents[::-1])
        self.assertEqual(clean.serialize(train), clean.serialize(again[0]))
        self.assertEqual(clean.serialize(heldout), clean.serialize(again[1]))

    def test_a_huge_document_is_not_held_out(self):
        documents = [("huge", "x" * 900_000)] + [(f"d{n}", prose(n)) for n in range(300)]
        _, heldout = clean.split(documents)
        self.assertNotIn("huge", [name for name, _ in heldout])
        self.assertTrue(heldout)

    def test_what_a_source_lacks_the_others_make_up(self):
        def source(letter, count):
            return iter([(f"{letter}{n}", letter * 100) for n in range(count)])
        taken = clean.fill([(0.5, source("a", 2)), (0.5, source("b", 50))], 2000)
        self.assertEqual([len(group) for group in taken], [2, 18])

    def test_file_form(self):
        data = clean.serialize([("a", "one"), ("b", "two\n\nthree")])
        self.assertEqual(sorted(data.decode().split("\n\x1e\n")), ["", "one", "two\n\nthree"])


# Stands in for apt-cache and apt-get. State lies in $FAKE_APT: the package to serve, what the lists
# say of it, whether they are up to date, and a log of the calls.
FAKE_APT = r"""#!/bin/sh
echo "$(basename "$0") $*" >>"$FAKE_APT/log"
case "$(basename "$0") $*" in
  apt-cache*) cat "$FAKE_APT/record" 2>/dev/null || exit 100 ;;
  *update*) cp "$FAKE_APT/new-record" "$FAKE_APT/record" 2>/dev/null; rm -f "$FAKE_APT/stale" ;;
  *download*) if [ -e "$FAKE_APT/stale" ]; then echo "E: 404 Not Found" >&2; exit 100; fi
              cp "$FAKE_APT/served.deb" ./p_1.0_all.deb ;;
esac
"""


class Packages(unittest.TestCase):
    def setUp(self):
        if not shutil.which("dpkg-deb"):
            self.skipTest("no dpkg-deb here")
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.cache = os.path.join(self.folder, "cache")
        os.makedirs(os.path.join(self.folder, "bin"))
        for name in ("apt-cache", "apt-get"):
            path = os.path.join(self.folder, "bin", name)
            self.write(path, FAKE_APT)
            os.chmod(path, stat.S_IRWXU)
        environment = {"PATH": os.path.join(self.folder, "bin") + ":" + os.environ["PATH"],
                       "FAKE_APT": self.folder}
        patch = unittest.mock.patch.dict(os.environ, environment)
        patch.start()
        self.addCleanup(patch.stop)
        root = unittest.mock.patch("os.geteuid", return_value=0)
        root.start()
        self.addCleanup(root.stop)
        self.serve("Hello.\n")

    def write(self, path, text):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def serve(self, content):
        """Builds the package that the fake archive serves, and the record that describes it."""
        tree = os.path.join(self.folder, "tree")
        self.write(os.path.join(tree, "DEBIAN/control"), "Package: p\nVersion: 1.0\nArchitecture: all\n"
                   "Maintainer: Nobody <nobody@example.org>\nDescription: a test\n")
        self.write(os.path.join(tree, "usr/share/p/a.txt"), content)
        os.chmod(os.path.join(tree, "DEBIAN"), 0o755)
        deb = os.path.join(self.folder, "served.deb")
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", tree, deb], check=True,
                       capture_output=True)
        with open(deb, "rb") as file:
            data = file.read()
        self.write(os.path.join(self.folder, "record"), "Package: p\nVersion: 1.0\nFilename: pool/p.deb\n"
                   f"Size: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n\n")

    def archive(self, **options):
        progress = packages.Progress()
        progress.live, progress.done = False, lambda text: None
        return packages.Archive(self.cache, progress=progress, **options)

    def calls(self):
        try:
            with open(os.path.join(self.folder, "log"), encoding="utf-8") as file:
                return [line.split()[0] for line in file]
        except FileNotFoundError:
            return []

    def read(self, package, pattern="txt$"):
        return list(packages.members(package, re.compile(pattern)))

    def test_a_package_is_downloaded_once(self):
        package = self.archive().fetch("p")
        self.assertEqual(self.read(package), [("usr/share/p/a.txt", b"Hello.\n")])
        self.assertEqual(self.calls(), ["apt-cache", "apt-get"])
        again = self.archive(offline=True).fetch("nothing|p")
        self.assertEqual(again.sha256, package.sha256)
        self.assertEqual(self.calls(), ["apt-cache", "apt-get"])

    def test_a_partial_download_is_refused_and_not_kept(self):
        with open(os.path.join(self.folder, "served.deb"), "r+b") as file:
            file.truncate(300)
        with self.assertRaisesRegex(packages.PackageError, "package p: .*not what the package lists promise"):
            self.archive().fetch("p")
        self.assertEqual([f for f in os.listdir(os.path.join(self.cache, "debs")) if "deb" in f], [])

    def test_a_damaged_cache_is_noticed(self):
        path = self.archive().fetch("p").path
        with open(path, "r+b") as file:
            file.seek(100)
            file.write(b"XXXX")
        with self.assertRaisesRegex(packages.PackageError, "package p .*without --offline"):
            self.archive(offline=True).fetch("p")
        self.assertEqual(self.read(self.archive().fetch("p")), [("usr/share/p/a.txt", b"Hello.\n")])

    def test_old_lists_are_read_again_once(self):
        self.write(os.path.join(self.folder, "stale"), "")
        self.archive().fetch("p")
        self.assertEqual(self.calls(), ["apt-cache", "apt-get", "apt-get", "apt-cache", "apt-get"])

    def test_missing_lists_are_read_by_root_and_reported_to_others(self):
        record = os.path.join(self.folder, "record")
        os.rename(record, os.path.join(self.folder, "new-record"))
        with unittest.mock.patch("os.geteuid", return_value=1000):
            with self.assertRaisesRegex(packages.PackageError, "package p .*'apt-get update' as root"):
                self.archive().fetch("p")
        self.archive().fetch("p")
        os.remove(os.path.join(self.folder, "new-record"))
        self.write(record, "Package: q\nStatus: install ok installed\nVersion: 1\n")
        with self.assertRaisesRegex(packages.PackageError, "package q or r is not in"):
            self.archive().fetch("q|r")

    def test_an_unreadable_package_names_its_file(self):
        broken = os.path.join(self.folder, "broken.deb")
        self.write(broken, "no archive")
        with self.assertRaisesRegex(packages.PackageError, "broken.deb cannot be read"):
            self.read(packages.Package("b", "1", broken, 10, ""))


class CommandLine(unittest.TestCase):
    def collect(self, *arguments):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([sys.executable, "-B", COLLECT, "--out", "out", "--cache", "cache", *arguments],
                                  cwd=folder, capture_output=True, text=True)
        return done.returncode, done.stderr

    def test_offline_without_a_cache_says_what_to_do(self):
        status, error = self.collect("--offline", "--domains", "formal_math")
        self.assertEqual(status, 1)
        self.assertIn("package metamath-databases", error)
        self.assertIn("without --offline", error)

    def test_bad_arguments_are_refused(self):
        for arguments in (["--domains", "klingon"], ["--mb", "0"], ["--mb", "nan"], ["--offline", "--refresh"]):
            self.assertEqual(self.collect(*arguments)[0], 2, arguments)

    def test_every_domain_has_shares_that_add_up(self):
        self.assertGreaterEqual(sum(domain.usual for domain in domains.DOMAINS), 8)
        for domain in domains.DOMAINS:
            self.assertAlmostEqual(sum(source.share for source in domain.sources), 1.0, msg=domain.name)


if __name__ == "__main__":
    unittest.main(verbosity=1)
