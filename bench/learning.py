#!/usr/bin/env python3
"""Learning experiments on the demo's text: mixture of experts against dense models of the same active
parameters, and ablations of the router (docs/learning.md has the tables that this made).

    scripts/collect_corpus.py --out demo/corpus
    bench/learning.py [--conclave build/release/conclave] [--corpus demo/corpus] [--out demo/learning]
                      [--steps 600] [--short 200] [EXPERIMENT...]
    bench/learning.py --curve 4900     # twenty minutes of training, and half as much again for the dense model

Every run is `conclave train recipes/demo.toml` with the overrides printed beside it, on the same
tokenizer, data order and seed; a run that is already in --out is not repeated. Prints a Markdown
table: held-out loss (nats a byte, mean of the domains), MaxVio of the worst layer, z-loss, speed.

--curve trains both at a constant rate, so that every point of the way is a result, and prints held-out
losses and how many times its tokens the dense model needs for the mixture's loss (between two of its
points in the logarithm of the tokens).
"""

import argparse
import json
import math
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


def folder(args, name):
    return pathlib.Path(args.out) / name.replace(" ", "_").replace(",", "").replace(".", "")


def train(args, name, overrides, steps):
    out = folder(args, name)
    if (out / "training.json").exists():
        return
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


def run(args, name, overrides, steps):
    train(args, name, overrides, steps)
    out = folder(args, name)
    figures = json.loads((out / "training.json").read_text())
    history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    z = statistics.mean(h["z_loss"] for h in history[-20:])
    print(f"| {name} | {figures['train_tokens'] / 1e6:.2f} M | {figures['params_total'] / 1e6:.1f} M | "
          f"{figures['params_active'] / 1e6:.2f} M | {figures['heldout_nll_per_byte']['mean']:.4f} | "
          f"{figures['maxvio']:.2f} | {z:.2f} | {figures['tokens_per_second']:.0f} |", flush=True)


CURVE = ["optimizer.final_ratio=1", "optimizer.learning_rate=1e-3", "loss.load_balance=0.01"]


def points(args, name, overrides, steps):
    """[(tokens, held-out nats a byte)] along one run."""
    every = max(1, args.curve // 20)
    train(args, name, [*CURVE, f"eval.every={every}", "eval.tokens=8192", *overrides], steps)
    history = (folder(args, name) / "history.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in history]
    return [(e["tokens"], e["heldout_per_byte"]) for e in entries if "heldout_per_byte" in e]


def tokens_for(loss, curve):
    """Tokens at which a curve passes a loss; none where it does not get there."""
    for (t0, l0), (t1, l1) in zip(curve, curve[1:]):
        if l1 <= loss < l0:
            part = (l0 - loss) / (l0 - l1)
            return math.exp(math.log(t0) + part * (math.log(t1) - math.log(t0)))
    return None


def print_curve(args):
    moe = points(args, "curve moe", [], args.curve)
    dense = points(args, "curve dense", DENSE, round(1.5 * args.curve))
    at_equal_tokens = dict(dense)
    print("| tokens | MoE | dense | dense needs |")
    print("|---:|---:|---:|---:|")
    for tokens, loss in moe:
        needed = tokens_for(loss, dense)
        times = f"{needed / tokens:.2f} x" if needed else f"over {dense[-1][0] / tokens:.2f} x"
        same = f"{at_equal_tokens[tokens]:.4f}" if tokens in at_equal_tokens else "-"
        print(f"| {tokens / 1e6:.2f} M | {loss:.4f} | {same} | {times} |")
    for tokens, loss in dense[len(moe):]:
        print(f"| {tokens / 1e6:.2f} M | - | {loss:.4f} | - |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("experiments", nargs="*", help="names; default: all")
    parser.add_argument("--conclave", default="build/release/conclave")
    parser.add_argument("--corpus", default="demo/corpus")
    parser.add_argument("--out", default="demo/learning")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--short", type=int, default=200)
    parser.add_argument("--curve", type=int, default=0, metavar="STEPS",
                        help="train both for STEPS and 1.5 x STEPS at a constant rate, and compare")
    args = parser.parse_args()
    if args.curve:
        return print_curve(args)
    print("| run | tokens | parameters | active | held-out nats/byte | MaxVio | z | tokens/s |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    plan = {name: (o, round(args.steps * m)) for name, (o, m) in LONG.items()}
    plan |= {name: (o, args.short) for name, o in SHORT.items()}
    for name in args.experiments or plan:
        run(args, name, *plan[name])


if __name__ == "__main__":
    main()
