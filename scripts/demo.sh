#!/usr/bin/env bash
# The demo, after the build: collects text in eight domains, trains a small mixture of experts on it
# for about three minutes, and shows what each expert does. Takes up to ten minutes the first time.
#
#   scripts/demo.sh [--minutes M] [any other option of `conclave train`, e.g. --set model.experts=8]
#
# Writes demo/corpus/, demo/model/, demo/report.html, demo/summary.json, demo/routing.json.
# An interrupted training goes on where it stopped when the demo is run again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

CONCLAVE=${CONCLAVE:-build/release/conclave}
OUT=${DEMO_OUT:-demo}
MINUTES=3
EXTRA=()
while [ $# -gt 0 ]; do
  case "$1" in
    --minutes) MINUTES=$2; shift 2 ;;
    *) EXTRA+=("$1"); shift ;;
  esac
done
[ -x "$CONCLAVE" ] || { echo "demo: $CONCLAVE is missing: run make build" >&2; exit 1; }
started=$(date +%s)

echo "== 1. Text in eight domains from Debian packages (downloads about 90 MB, once)"
scripts/collect_corpus.py --out "$OUT/corpus"

train=() heldout=() data=()
# The domains of this collection: an earlier one may have left files of others behind.
names=$(python3 -c 'import json, sys
for domain in json.load(open(sys.argv[1]))["domains"]: print(domain["name"])' "$OUT/corpus/corpus.json")
for name in $names; do
  train+=(--data "$name=$OUT/corpus/$name.train.txt")
  heldout+=(--heldout "$name=$OUT/corpus/$name.heldout.txt")
  data+=(--data "$name=$OUT/corpus/$name.heldout.txt")
done

echo
echo "== 2. Training for about $MINUTES minutes (Ctrl-C ends it cleanly)"
resume=()
if [ -f "$OUT/model/training.json" ] && [ ! -f "$OUT/model/.interrupted" ]; then
  rm -rf "$OUT/model"  # a finished model of an earlier demo: this one starts anew
elif [ -d "$OUT/model/checkpoints" ]; then
  resume=(--resume)
fi
status=0
"$CONCLAVE" train recipes/demo.toml --out "$OUT/model" "${train[@]}" "${heldout[@]}" \
  --set "train.minutes=$MINUTES" ${resume[@]+"${resume[@]}"} ${EXTRA[@]+"${EXTRA[@]}"} || status=$?
if [ "$status" -eq 130 ]; then
  [ -f "$OUT/model/model.safetensors" ] || exit "$status"  # stopped before there was a model
  touch "$OUT/model/.interrupted"
elif [ "$status" -ne 0 ]; then
  exit "$status"
else
  rm -f "$OUT/model/.interrupted"
fi

echo
echo "== 3. What the experts do, on text that was not trained on"
"$CONCLAVE" inspect "$OUT/model" "${data[@]}" --samples --title "Conclave demo" \
  --out "$OUT/report.html" --json "$OUT/routing.json" --summary "$OUT/summary.json"

finished=$(date +%s)
cat <<EOF

Done in $((finished - started)) seconds. The report is $OUT/report.html: open it in a browser.

What to try next:
  $CONCLAVE run $OUT/model --prompt "In the beginning"
  $CONCLAVE run $OUT/model --prompt "def main(" --temperature 0.5 --json
  $CONCLAVE info $OUT/model
  $CONCLAVE eval $OUT/model --text english=$OUT/corpus/english.heldout.txt
  scripts/demo.sh --minutes 20                       # a better model
  scripts/demo.sh --set router.kind=sigmoid_bias --set router.bias_rate=0.001   # another router
  $CONCLAVE train --keys                             # everything that a recipe can say
EOF
exit "$status"
