#!/usr/bin/env python3
"""Learning experiments on the demo's text: mixture of experts against dense models of the same active
parameters, and ablations of the router (docs/learning.md has the tables that this made).

    scripts/collect_corpus.py --out demo/corpus
    bench/learning.py [--conclave build/release/conclave] [--corpus demo/corpus] [--out demo/learning]
                      [--steps 600] [--short 200] [EXPERIMENT...]

Every run is `conclave train recipes/demo.toml` with the overrides printed beside it, on the same
tokenizer, data order and seed; a run that is already in --out is not repeated. Prints a Markdown
table: held-out loss (nats a byte, mean of the domains), MaxVio of the worst layer, z-loss, speed.
"""

import argparse
import json
import pathlib
import statistics
import subprocess

DENSE = ["model.experts=1", "model.expert_width=768"]
LONG = {  # name: (overrides, multiple of --steps)
    "moe": ([], 1),
    "dense": (DENSE, 1),
    "dense 1.5x tokens": (DENSE, 1.5),
    "dense 2x tokens": (DENSE, 2),
}
SHORT = {
    "balance 0.05, z 0.001 (demo)": [],
    "balance 0": ["loss.load_balance=0"],
    "balance 0.001": ["loss.load_balance=0.001"],
    "balance 0.01": ["loss.load_balance=0.01"],
    "balance 0.2": ["loss.load_balance=0.2"],
    "z 0": ["loss.z=0"],
    "loss-free bias, sigmoid": ["router.kind=sigmoid_bias", "router.bias_rate=0.001",
                                "loss.load_balance=0"],
    "8 experts of 768, 1 a token (Switch)": ["router.kind=switch_top1", "model.experts=8",
                                             "model.experts_per_token=1", "model.expert_width=768"],
    "32 experts of 192, 4 a token": ["model.experts=32", "model.experts_per_token=4",
                                     "model.expert_width=192"],
    "hash routing": ["router.kind=hash"],
}


def run(args, name, overrides, steps):
    out = pathlib.Path(args.out) / name.replace(" ", "_").replace(",", "").replace(".", "")
    if not (out / "training.json").exists():
        command = [args.conclave, "train", "recipes/demo.toml", "--out", str(out), "--quiet"]
        for path in sorted(pathlib.Path(args.corpus).glob("*.train.txt")):
            label = path.name.split(".")[0]
            held = path.with_name(label + ".heldout.txt")
            command += ["--data", f"{label}={path}", "--heldout", f"{label}={held}"]
        shared = pathlib.Path(args.out) / "tokenizer.json"
        settings = [f"train.steps={steps}", "checkpoint.every=0", "eval.every=0", *overrides]
        if shared.exists():
            settings.append(f'data.tokenizer="{shared}"')
        for setting in settings:
            command += ["--set", setting]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        if not shared.exists():
            shared.write_bytes((out / "tokenizer.json").read_bytes())
    figures = json.loads((out / "training.json").read_text())
    history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    z = statistics.mean(h["z_loss"] for h in history[-20:])
    print(f"| {name} | {figures['train_tokens'] / 1e6:.2f} M | {figures['params_total'] / 1e6:.1f} M | "
          f"{figures['params_active'] / 1e6:.2f} M | {figures['heldout_nll_per_byte']['mean']:.4f} | "
          f"{figures['maxvio']:.2f} | {z:.2f} | {figures['tokens_per_second']:.0f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("experiments", nargs="*", help="names; default: all")
    parser.add_argument("--conclave", default="build/release/conclave")
    parser.add_argument("--corpus", default="demo/corpus")
    parser.add_argument("--out", default="demo/learning")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--short", type=int, default=200)
    args = parser.parse_args()
    print("| run | tokens | parameters | active | held-out nats/byte | MaxVio | z | tokens/s |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    plan = {name: (o, round(args.steps * m)) for name, (o, m) in LONG.items()}
    plan |= {name: (o, args.short) for name, o in SHORT.items()}
    for name in args.experiments or plan:
        run(args, name, *plan[name])


if __name__ == "__main__":
    main()
