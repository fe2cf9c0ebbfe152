"""The domains of the corpus: which packages, which files in them, who reads them, how much of each.

`python3 scripts/collect_corpus.py --list` prints this table. Packages are named one by one, never
"whatever is installed", so that two machines with the same release make the same corpus.
"""

import re
from dataclasses import dataclass, field

from corpus import readers
from corpus.render import CJK


@dataclass(frozen=True)
class Source:
    package: str    # names separated by '|' are alternatives for other releases
    files: str      # expression searched in the path inside the package
    reader: object  # a function of readers.py, or "man" for man pages
    share: float    # of the domain's bytes; what a source lacks the others make up
    licence: str


@dataclass(frozen=True)
class Domain:
    name: str
    about: str
    sources: list
    code: bool = False
    wanted: object = field(default=lambda paragraph: True)  # drops paragraphs in another language
    usual: bool = True  # collected when --domains is not given


# --- which paragraphs belong ----------------------------------------------------------------------

# Small words, leaving out those that another of these languages also has.
WORDS = {
    "en": "the of and to is that for with this are be if it not you your by from which can has used",
    "fr": "le la les du et en un une est que pour dans qui sur par avec ce cette pas vous au aux ou sont",
    "de": "der die das und ist nicht den von zu mit ein eine wird im f\u00fcr auf dem sie werden als oder",
}
WORDS = {language: frozenset(words.split()) for language, words in WORDS.items()}
SENTENCE = re.compile(r"[A-Z][^\n]*[.:]")


def _count(words, language):
    return sum(word in WORDS[language] for word in words)


def _words_of(language):
    """Keeps paragraphs that are not English: a translated manual leaves in English what nobody has
    translated yet. Undecided ones (commands, names) stay."""
    def wanted(paragraph):
        words = re.findall(r"[^\W\d_]+", paragraph.lower())
        english, own = _count(words, "en"), _count(words, language)
        return english <= own or (english == 1 and len(words) < 4)
    return _and_no_table(wanted)


def _script_of(characters):
    """The same for languages with a script of their own, `characters`."""
    inside = re.compile(f"[{characters}]")

    def wanted(paragraph):
        letters = len(re.findall(r"[^\W\d_]", paragraph))
        if len(inside.findall(paragraph)) >= 0.2 * letters:
            return True
        words = re.findall(r"[^\W\d_]+", paragraph.lower())
        sentence = SENTENCE.fullmatch(paragraph.split("\n")[-1].strip()) and len(words) >= 4
        return _count(words, "en") < 2 and not sentence
    return _and_no_table(wanted)


POPULARITY = re.compile(r"V:\d+, I:\d+")  # Debian's package statistics


def _and_no_table(wanted):
    """Also drops paragraphs that are mostly digits: results of examples, package statistics."""
    def both(paragraph):
        digits = sum(character.isdigit() for character in paragraph)
        return 3 * digits <= len(paragraph) and not POPULARITY.search(paragraph) and wanted(paragraph)
    return both


# --- sources that several domains share -----------------------------------------------------------

MANUAL = "GPL-3+, pages under their own free licences"
DEBIAN_DOC = "GPL-2+"


def _man(package, folder, share, licence=MANUAL):
    return Source(package, rf"share/man/{folder}/man\w+/.*\.gz$", "man", share, licence)


def _help(language, folder, share):
    return Source(f"libreoffice-help-{language}", rf"help/{folder}/text/.*\.html$",
                  readers.office_help, share, "MPL-2.0")


def _reference(language, share):
    return Source(f"debian-reference-{language}", r"/debian-reference/[^/]*\.html$", readers.html_page,
                  share, DEBIAN_DOC)


def _headers(package, share, licence):
    return Source(package, r"include/.*\.h$", readers.c_source, share, licence)


DOMAINS = [
    Domain("c_headers", "C headers of the kernel, the C library and common libraries", code=True, sources=[
        _headers("linux-libc-dev", 0.30, "GPL-2 with Linux syscall note"),
        _headers("libc6-dev", 0.17, "LGPL-2.1+"),
        _headers("libglib2.0-dev", 0.20, "LGPL-2.1+"),
        _headers("libgtk-3-dev", 0.13, "LGPL-2+"),
        _headers("libssl-dev", 0.10, "Apache-2.0"),
        _headers("libsdl2-dev", 0.05, "Zlib"),
        _headers("libxml2-dev", 0.05, "MIT"),
    ]),
    Domain("python", "Python: the standard library, Django, SymPy", code=True, sources=[
        # Tables of character sets and generated help texts are data, not programs.
        Source("libpython3.11-stdlib|libpython3.13-stdlib|libpython3.12-stdlib|libpython3.10-stdlib",
               r"python3\.\d+/(?!encodings/|pydoc_data/|lib2to3/tests/|_sysconfigdata).*\.py$",
               readers.python_source, 0.55, "PSF-2.0"),
        Source("python3-django", r"/django/(?!conf/locale/).*\.py$", readers.python_source, 0.25,
               "BSD-3-Clause"),
        Source("python3-sympy", r"/sympy/(?!integrals/rubi/|.*/tests/|polys/numberfields/resolvent)"
               r".*\.py$", readers.python_source, 0.20, "BSD-3-Clause"),
    ]),
    Domain("formal_math", "theorems of set theory and mathematics in Metamath", code=True, sources=[
        Source("metamath-databases", r"/set\.mm$", readers.metamath, 1.0, "CC0-1.0"),
    ]),
    Domain("english", "novels, essays, scripture and commentary, 1611 to 2003", sources=[
        Source("r-cran-janeaustenr", r"/data/Rdata\.rdb$", readers.austen, 0.34, "MIT; text public domain"),
        Source("anarchism", r"/html/(?:sec|append|vol)[^/]*\.html$", readers.html_page, 0.24, DEBIAN_DOC),
        Source("sword-comm-tdavid", r"\.[bc]zz$", readers.sword_module, 0.20, "public domain"),
        Source("sword-text-kjv", r"\.[bc]zz$", readers.sword_module, 0.09, "public domain"),
        Source("cfi-en", r"/html/[^/]*\.html?$", readers.html_page, 0.07, "public domain"),
        Source("jargon-text", r"/jargon\.txt\.gz$", readers.jargon_file, 0.06, "public domain"),
    ]),
    Domain("french", "French: office help, manuals, guides", wanted=_words_of("fr"), sources=[
        _help("fr", "fr", 0.50), _reference("fr", 0.12),
        _man("manpages-fr", "fr", 0.20), _man("manpages-fr-dev", "fr", 0.18),
    ]),
    Domain("german", "German: office help, manuals, guides", wanted=_words_of("de"), sources=[
        _help("de", "de", 0.50), _reference("de", 0.12),
        _man("manpages-de", "de", 0.28), _man("manpages-de-dev", "de", 0.10),
    ]),
    Domain("japanese", "Japanese: manuals, office help, guides", wanted=_script_of(CJK), sources=[
        _help("ja", "ja", 0.40), _reference("ja", 0.10),
        _man("manpages-ja", "ja", 0.28, "the free licences of the pages"),
        _man("manpages-ja-dev", "ja", 0.22, "the free licences of the pages"),
    ]),
    Domain("chinese", "Chinese: manuals, office help, guides", wanted=_script_of(CJK), sources=[
        _help("zh-cn", "zh-CN", 0.40), _reference("zh-cn", 0.12),
        _man("manpages-zh", "zh_CN", 0.48, "GFDL-1.2+"),
    ]),
    # Not collected unless named: a domain to teach to a model that has never seen it.
    Domain("russian", "Russian: office help, manuals", wanted=_script_of("\u0400-\u04ff"),
           usual=False, sources=[_help("ru", "ru", 0.60), _man("manpages-ru", "ru", 0.40)]),
]
BY_NAME = {domain.name: domain for domain in DOMAINS}
