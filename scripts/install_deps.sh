#!/usr/bin/env bash
# Installs the distribution's packages that Conclave is built from, and only those that are missing.
# Silent and quick when there is nothing to do. As root it installs, otherwise through sudo when
# that asks for no password, and if neither is possible it prints the one command to run.
#
#   scripts/install_deps.sh            install what is missing
#   scripts/install_deps.sh --list     print the package names
#   scripts/install_deps.sh --check    say what is missing, install nothing
set -euo pipefail

packages=(
  # compiler and build
  g++ cmake ninja-build make git pkg-config
  # libraries: command line, text formatting, logs, JSON, TOML, regular expressions, Unicode, hashes,
  # the server's HTTP (headers only)
  libcli11-dev libfmt-dev libspdlog-dev nlohmann-json3-dev libtomlplusplus-dev
  libpcre2-dev libutf8proc-dev libxxhash-dev libboost-dev
  # tests, benchmarks, checks, the demo's corpus
  libgtest-dev libbenchmark-dev clang-format python3
)

# What a target needs beyond that: CONCLAVE_EXTRA_PACKAGES="python3-pip" scripts/install_deps.sh
read -r -a extra <<<"${CONCLAVE_EXTRA_PACKAGES:-}"
packages+=("${extra[@]}")

mode=install
case "${1:-}" in
  "") ;;
  --list) printf '%s\n' "${packages[@]}"; exit 0 ;;
  --check) mode=check ;;
  *) echo "install_deps: unknown argument '$1' (known: --list, --check)" >&2; exit 2 ;;
esac

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "install_deps: no apt here; nothing is installed. The build needs what Debian calls:" >&2
  echo "  ${packages[*]}" >&2
  exit 0
fi

# A package counts as present when dpkg says so or when an installed package provides its name
# (pkgconf provides pkg-config on later releases).
present=" $(dpkg-query -W -f '${db:Status-Status} ${Package} ${Provides}\n' 2>/dev/null |
  sed -n 's/^installed //p' | sed 's/([^)]*)//g' | tr ',\n' '  ') "
missing=()
for package in "${packages[@]}"; do
  [[ "$present" == *" $package "* ]] || missing+=("$package")
done
[[ ${#missing[@]} -eq 0 ]] && exit 0

if [[ $mode == check ]]; then
  echo "install_deps: missing: ${missing[*]}" >&2
  exit 1
fi

as_root=()
if [[ $(id -u) -ne 0 ]]; then
  if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
  else
    {
      echo "install_deps: ${#missing[@]} package(s) are missing and this user may not install them. Run:"
      echo
      echo "  sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing[*]}"
      echo
    } >&2
    exit 1
  fi
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT

apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 "$@"; }

# apt's own text is shown only if it fails: it says what is wrong better than we could.
update() {
  echo "install_deps: reading the package lists (apt-get update)"
  apt update >"$log" 2>&1
}

install() { apt install -y --no-install-recommends "${missing[@]}" >"$log" 2>&1; }

fail() {
  cat "$log" >&2
  echo "install_deps: apt-get could not install: ${missing[*]}" >&2
  echo "install_deps: its own message is above; on Debian 12 all of them are in the 'main' archive" >&2
  exit 1
}

updated=no
if ! apt-cache show "${missing[0]}" >/dev/null 2>&1; then
  update || fail
  updated=yes
fi
echo "install_deps: installing ${missing[*]}"
if ! install; then
  # Lists that are older than the archive name files that are gone: read them again, once.
  [[ $updated == no ]] || fail
  update || fail
  install || fail
fi
echo "install_deps: done"
