#!/usr/bin/env bash
# Checks (or with --fix repairs) the formatting of the C++ sources that git tracks, with the rules
# of .clang-format. The result depends on clang-format's major version, so the check runs only
# with the version that formats this tree.
# Exit status: 0 clean, 1 findings, 77 (skipped) without that clang-format or outside a checkout.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=14  # Debian 12's
skipped=77

tool=
for candidate in "clang-format-$version" clang-format; do
  if command -v "$candidate" >/dev/null && "$candidate" --version | grep -q "version $version\."; then
    tool=$candidate
    break
  fi
done
if [[ -z $tool ]]; then
  echo "check_format: skipped: needs clang-format $version (apt-get install clang-format on Debian 12)"
  exit $skipped
fi
if ! git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
  echo "check_format: skipped: not a git checkout"
  exit $skipped
fi

mapfile -t files < <(git ls-files -- '*.h' '*.cc' '*.cu' | while IFS= read -r file; do
  [[ -f $file ]] && printf '%s\n' "$file"
done)
if [[ ${#files[@]} -eq 0 ]]; then
  echo "check_format: skipped: no C++ sources are tracked"
  exit $skipped
fi

if [[ ${1:-} == --fix ]]; then
  "$tool" -i "${files[@]}"
  echo "check_format: ${#files[@]} files formatted"
elif "$tool" --dry-run -Werror "${files[@]}"; then
  echo "check_format: ${#files[@]} files, all formatted"
else
  echo "check_format: the files above differ from .clang-format; 'make format' repairs them" >&2
  exit 1
fi
