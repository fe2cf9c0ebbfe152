"""Debian packages as a source of files: found by apt, downloaded once, checked, read, never installed.

A package lies in CACHE/debs/ under the name that apt gives it, and CACHE/debs/index.json records
its version, size and SHA-256 as apt's signed lists state them. A recorded file that still has that
size and hash is used without asking apt, so a second run needs neither network nor package lists.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time

MAX_MEMBER_BYTES = 256 << 20  # the largest file that is wanted has 41 MB


class PackageError(Exception):
    """A package cannot be had; the text says which, why, and what to do."""


class Package:
    def __init__(self, name, version, path, size, sha256):
        self.name, self.version, self.path = name, version, path
        self.size, self.sha256 = size, sha256


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_atomically(path, data):
    """Writes bytes so that `path` holds either its old content or all of the new."""
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".tmp-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


class Progress:
    """One line on stderr that is rewritten while a download runs, where stderr is a terminal."""

    def __init__(self):
        self.live = sys.stderr.isatty()

    def update(self, text):
        if self.live:
            sys.stderr.write("\r\x1b[K" + text)
            sys.stderr.flush()

    def done(self, text):
        sys.stderr.write(("\r\x1b[K" if self.live else "") + text + "\n")
        sys.stderr.flush()


class Archive:
    """The package cache in `folder`. `fetch` gives a verified package or raises PackageError."""

    def __init__(self, folder, offline=False, refresh=False, progress=None):
        self.debs = os.path.join(folder, "debs")
        self.offline, self.refresh = offline, refresh
        self.progress = progress or Progress()
        self.downloaded = 0
        self.updated = False  # the package lists were read again in this run
        self.index_path = os.path.join(self.debs, "index.json")
        self.index = {}
        try:
            with open(self.index_path, encoding="utf-8") as file:
                self.index = json.load(file)
        except (FileNotFoundError, ValueError):
            pass  # a lost or torn index only costs asking apt again

    def fetch(self, alternatives):
        """`alternatives`: package names separated by '|', the first that exists is taken."""
        names = alternatives.split("|")
        if not self.refresh:
            for name in names:
                package = self._cached(name, self.index.get(name))
                if package:
                    return package
        if self.offline:
            raise PackageError(f"package {names[0]} is not in {self.debs}; run once without --offline")
        for name in names:
            record = self._record(name)
            if record:
                package = self._cached(name, record) or self._download(name, record)
                self.index[name] = record
                text = json.dumps(self.index, indent=1, sort_keys=True)
                write_atomically(self.index_path, text.encode())
                return package
        raise PackageError(
            f"package {' or '.join(names)} is not in this system's package lists. It is in Debian 12's "
            "'main' archive: if that is configured, run 'apt-get update' as root and start again")

    def _cached(self, name, record):
        if not record:
            return None
        path = os.path.join(self.debs, record["file"])
        try:
            whole = os.path.getsize(path) == record["size"] and sha256_of(path) == record["sha256"]
        except OSError:
            return None
        if not whole:
            return None
        return Package(name, record["version"], path, record["size"], record["sha256"])

    def _record(self, name):
        """What apt's lists say about the newest version of `name`, or None if they do not know it."""
        record = self._ask_lists(name)
        if not record and not self.updated and self._update_lists():
            record = self._ask_lists(name)
        return record

    def _ask_lists(self, name):
        try:
            shown = subprocess.run(["apt-cache", "show", "--no-all-versions", name],
                                   capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
        except FileNotFoundError:
            raise PackageError("this system has no apt: the corpus is made of Debian packages. "
                               "Run it on Debian or Ubuntu, or copy a filled .cache/ here and "
                               "use --offline") from None
        fields = dict(re.findall(r"^(Version|Filename|Size|SHA256): (.*)$",
                                 shown.stdout.split("\n\n")[0], re.MULTILINE))
        # A package that is installed but not in any list is shown without these.
        if shown.returncode != 0 or not {"Filename", "Size", "SHA256", "Version"} <= fields.keys():
            return None
        return {"version": fields["Version"], "size": int(fields["Size"]), "sha256": fields["SHA256"],
                "file": f"{name}_{fields['SHA256'][:16]}.deb"}

    def _update_lists(self):
        """Reads the package lists again where this user may; says how where it may not."""
        self.updated = True
        if os.geteuid() != 0:
            return False
        self.progress.update("reading the package lists (apt-get update)")
        done = subprocess.run(["apt-get", "update"], capture_output=True, text=True)
        if done.returncode != 0:
            raise PackageError("apt-get update failed:\n" + done.stderr.strip())
        self.progress.done("package lists read (apt-get update)")
        return True

    def _download(self, name, record):
        os.makedirs(self.debs, exist_ok=True)
        free = shutil.disk_usage(self.debs).free
        need = record["size"] + (64 << 20)  # and room for what is made from it
        if free < need:
            raise PackageError(f"package {name} needs {need >> 20} MB in {self.debs} and only "
                               f"{free >> 20} MB are free; free some, or name another folder with --cache")
        with tempfile.TemporaryDirectory(prefix="partial-", dir=self.debs) as partial:
            error = self._apt_download(name, record, partial)
            if error and not self.updated and self._update_lists():
                # The lists were older than the archive: they are new now, ask once more.
                record.update(self._ask_lists(name) or {})
                error = self._apt_download(name, record, partial)
            if error:
                raise PackageError(f"package {name} could not be downloaded:\n{error}\nIf it says 404 or "
                                   "'not found', the package lists are old: run 'apt-get update' as root")
            found = [os.path.join(partial, f) for f in os.listdir(partial) if f.endswith(".deb")]
            if len(found) != 1 or os.path.getsize(found[0]) != record["size"] or \
                    sha256_of(found[0]) != record["sha256"]:
                raise PackageError(f"package {name}: the download is not what the package lists promise "
                                   f"({record['size']} bytes, SHA-256 {record['sha256']}); try again")
            os.replace(found[0], os.path.join(self.debs, record["file"]))
        self.downloaded += record["size"]
        self.progress.done(f"  downloaded {name} {record['version']} ({record['size'] / 1e6:.1f} MB)")
        return self._cached(name, record)

    def _apt_download(self, name, record, folder):
        """Runs apt-get download in `folder`; returns its error text, or "" if it went well."""
        command = ["apt-get", "-o", "APT::Sandbox::User=root", "download",
                   f"{name}={record['version']}"]
        with tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL,
                                       stdout=subprocess.DEVNULL, stderr=errors,
                                       env={**os.environ, "LC_ALL": "C"})
            while process.poll() is None:
                done = 0
                with contextlib.suppress(OSError):  # apt renames and removes files while we look
                    done = sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file())
                self.progress.update(f"  downloading {name}: {done / 1e6:.1f} of "
                                     f"{record['size'] / 1e6:.1f} MB")
                time.sleep(0.05)
            errors.seek(0)
            text = errors.read().strip()
        return "" if process.returncode == 0 else (text or f"apt-get exited {process.returncode}")


def members(package, pattern):
    """Yields (path, bytes) of the regular files of `package` whose path matches `pattern` (a compiled
    expression, searched in a path without a leading './'), in the order of the package."""
    command = ["dpkg-deb", "--fsys-tarfile", package.path]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
            for member in tar:
                path = member.name.removeprefix("./")
                if member.isreg() and member.size <= MAX_MEMBER_BYTES and pattern.search(path):
                    yield path, tar.extractfile(member).read()
    except (tarfile.TarError, EOFError) as error:
        detail = process.stderr.read().decode(errors="replace").strip()
        raise PackageError(f"{package.path} cannot be read ({detail or error}); delete it and run again "
                           "to have it downloaded anew") from None
    finally:
        process.stdout.close()
        process.stderr.close()
        process.wait()
