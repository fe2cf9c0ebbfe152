#!/usr/bin/env python3
"""Collects real text in clearly different domains from Debian packages, for training and for seeing
what experts specialize in.

    scripts/collect_corpus.py --out DIR [--domains python,french] [--mb 6] [--offline]

Needs Python 3.10 or later, apt-get and dpkg-deb; installs nothing. Downloads (about 80 MB) are kept
in .cache/ of the repository, so that a second run asks nobody.

Writes, for every domain, DIR/NAME.train.txt and DIR/NAME.heldout.txt (a twentieth, whole documents,
no paragraph of one also in the other), and DIR/corpus.json with sizes, packages and licences.
The files are UTF-8. Paragraphs are separated by a blank line; every document is followed by a line
that holds only the record separator U+001E, which occurs nowhere else.

The same package versions give the same bytes. docs/corpus.md describes the sources.
"""

import argparse
import concurrent.futures
import gzip
import json
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from corpus import clean, domains, packages, readers, render  # noqa: E402 (needs the path above)

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MAX_CODE_FILE = 200_000   # bytes; larger sources are generated tables
MAX_DIGITS = 0.20         # of a source file's characters; more is a table of numbers


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0],
                                     epilog="docs/corpus.md describes the domains and their sources.")
    parser.add_argument("--out", default="demo/corpus", help="folder to write to (default demo/corpus)")
    parser.add_argument("--domains", help="comma-separated names (default: all but russian; see --list)")
    parser.add_argument("--mb", type=float, default=6.0, help="megabytes per domain (default 6)")
    parser.add_argument("--cache", default=os.path.join(ROOT, ".cache"), help="folder for downloads")
    parser.add_argument("--offline", action="store_true", help="use only what is in the cache")
    parser.add_argument("--refresh", action="store_true", help="look for newer package versions")
    parser.add_argument("--force", action="store_true", help="collect again even if nothing has changed")
    parser.add_argument("--list", action="store_true", help="print domains and their packages, and stop")
    options = parser.parse_args()
    if options.domains:
        options.domains = list(dict.fromkeys(filter(None, options.domains.split(","))))
    else:
        options.domains = [d.name for d in domains.DOMAINS if d.usual]
    for name in options.domains:
        if name not in domains.BY_NAME:
            parser.error(f"no domain '{name}'; there are {', '.join(domains.BY_NAME)}")
    if not 0.05 <= options.mb <= 100:
        parser.error(f"--mb {options.mb:g} is outside 0.05 to 100")
    if options.offline and options.refresh:
        parser.error("--offline and --refresh exclude each other")
    return options


def list_domains():
    for domain in domains.DOMAINS:
        print(f"{domain.name}: {domain.about}{'' if domain.usual else ' (only if named)'}")
        for source in domain.sources:
            print(f"  {source.share:4.0%}  {source.package}  [{source.licence}]")


def documents(source, package, mandoc, dedup, domain):
    """Yields (name, text) of a source in random but fixed order, cleaned, as far as anybody asks."""
    reader = readers.man_page(mandoc) if source.reader == "man" else source.reader
    files = list(packages.members(package, re.compile(source.files)))
    if not files:
        raise packages.PackageError(f"package {package.name} {package.version} has no file that matches "
                                    f"{source.files}; the release differs from the one this was written "
                                    "for, see scripts/corpus/domains.py")
    files.sort(key=lambda file: clean.rank("file", file[0]))
    for path, data in files:
        if domain.code and len(files) > 1 and not worth_reading(data):
            continue
        parts = [(f"{package.name}:{path}:{part}", text) for part, text in reader(path, data)]
        for name, text in sorted(parts, key=lambda part: clean.rank("file", part[0])):
            text = dedup.take(text, domain.wanted)
            if text:
                yield name, text


def worth_reading(data):
    digits = sum(data.count(d) for d in b"0123456789")
    return len(data) <= MAX_CODE_FILE and digits <= MAX_DIGITS * len(data)


def find_mandoc(archive, cache):
    """The man page renderer, taken out of its package into the cache."""
    package = archive.fetch("mandoc")
    path = os.path.join(cache, "tools", f"mandoc-{package.sha256[:16]}")
    if not os.path.exists(path):
        for _, data in packages.members(package, re.compile(r"^usr/bin/mandoc$")):
            packages.write_atomically(path, data)
            os.chmod(path, 0o755)
    return render.ManPages(path)


def collect(name, fetched, mandoc, target, out):
    """Writes the two files of a domain; returns its entry in corpus.json."""
    domain = domains.BY_NAME[name]
    dedup = clean.Deduplicator(domain.code)
    sources = [(source.share, documents(source, package, mandoc, dedup, domain))
               for source, package in zip(domain.sources, fetched)]
    taken = clean.fill(sources, target)
    train, heldout = clean.split([document for group in taken for document in group])
    entry = {"name": domain.name, "about": domain.about,
             "dropped_documents": dedup.dropped_documents,
             "dropped_paragraphs": dedup.dropped_paragraphs, "sources": []}
    whole = b""
    for part, chosen in (("train", train), ("heldout", heldout)):
        data = clean.serialize(chosen)
        packages.write_atomically(os.path.join(out, f"{domain.name}.{part}.txt"), data)
        entry[part] = {"documents": len(chosen), "bytes": len(data)}
        whole += data
    entry["gzip_bytes"] = len(gzip.compress(whole, compresslevel=6, mtime=0))
    for source, package, group in zip(domain.sources, fetched, taken):
        entry["sources"].append({
            "package": package.name, "version": package.version, "sha256": package.sha256,
            "licence": source.licence, "documents": len(group),
            "bytes": sum(len(text.encode()) for _, text in group)})
    return entry


def fingerprint(options, fetched):
    """What the corpus depends on: this code, the packages and the size."""
    folder = os.path.join(ROOT, "scripts", "corpus")
    code = [os.path.abspath(__file__)]
    code += [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(".py")]
    parts = [packages.sha256_of(path) for path in code] + [f"{options.mb:g}"]
    for name in options.domains:
        parts += [name] + [package.sha256 for package in fetched[name]]
    return clean.rank(*parts).hex()[:32]


def up_to_date(out, mark):
    try:
        with open(os.path.join(out, "corpus.json"), encoding="utf-8") as file:
            corpus = json.load(file)
        return corpus["fingerprint"] == mark and all(
            os.path.getsize(os.path.join(out, f"{domain['name']}.{part}.txt")) == domain[part]["bytes"]
            for domain in corpus["domains"] for part in ("train", "heldout"))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def report(entries):
    print(f"{'domain':<12} {'documents':>9} {'train MB':>9} {'held-out MB':>12} {'gzip MB':>8}")
    for e in entries:
        print(f"{e['name']:<12} {e['train']['documents'] + e['heldout']['documents']:>9} "
              f"{e['train']['bytes'] / 1e6:>9.2f} {e['heldout']['bytes'] / 1e6:>12.3f} "
              f"{e['gzip_bytes'] / 1e6:>8.2f}")


def workers():
    """A pool with a process per core; where the system lacks what that needs (shared memory, in some
    containers), one thread."""
    try:
        return concurrent.futures.ProcessPoolExecutor(min(8, os.cpu_count() or 1))
    except OSError:
        return concurrent.futures.ThreadPoolExecutor(1)


def collect_all(options, fetched, mandoc, progress):
    """Collects every chosen domain, several at a time: they do not touch each other."""
    with workers() as pool:
        running = [pool.submit(collect, name, fetched[name], mandoc, options.mb * 1e6, options.out)
                   for name in options.domains]
        try:
            for number, done in enumerate(concurrent.futures.as_completed(running), 1):
                entry = done.result()
                size = (entry["train"]["bytes"] + entry["heldout"]["bytes"]) / 1e6
                note = "" if size >= 0.8 * options.mb else f" of {options.mb:g}: its packages hold no more"
                progress.done(f"[{number}/{len(running)}] {entry['name']}: {size:.2f} MB{note}")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [done.result() for done in running]


def run(options):
    progress = packages.Progress()
    archive = packages.Archive(options.cache, options.offline, options.refresh, progress)
    chosen = [domains.BY_NAME[name] for name in options.domains]
    fetched = {d.name: [archive.fetch(source.package) for source in d.sources] for d in chosen}
    needs_mandoc = any(source.reader == "man" for d in chosen for source in d.sources)
    mandoc = find_mandoc(archive, options.cache) if needs_mandoc else None
    if archive.downloaded:
        progress.done(f"downloaded {archive.downloaded / 1e6:.1f} MB to {archive.debs}")

    mark = fingerprint(options, fetched)
    if not options.force and up_to_date(options.out, mark):
        print(f"{options.out} is up to date")
        return
    entries = collect_all(options, fetched, mandoc, progress)
    corpus = {"format": 1, "separator": clean.SEPARATOR, "fingerprint": mark, "domains": entries}
    packages.write_atomically(os.path.join(options.out, "corpus.json"),
                              (json.dumps(corpus, indent=1) + "\n").encode())
    report(entries)


def main():
    options = arguments()
    if options.list:
        list_domains()
        return 0
    try:
        run(options)
    except packages.PackageError as error:
        print(f"\ncollect_corpus: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"\ncollect_corpus: {where}{error.strerror or error}; name other folders with --out and "
              "--cache, or make room", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ncollect_corpus: interrupted; what was downloaded is kept", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
