#!/usr/bin/env python3
"""Training speed beside PyTorch: the demo's model (transformers' Mixtral, same shapes, same batch,
AdamW, same threads) in PyTorch's f32, bf16 and autocast, in turn with `conclave train`, on this
machine. Prints tokens a second (median of the timed steps) and ratios. Run it by hand:

    python3 -m venv V && V/bin/pip install numpy torch transformers==4.57.6
    V/bin/python bench/torch_training.py [--conclave build/release/conclave] [--rounds 3] [--steps 6]

PyTorch gets random token ids: its speed does not depend on them, except that an untrained router
balances better than a trained one, which favours it. Conclave trains on random words, through its
whole training loop (data, clipping, statistics, logging included).
"""

import argparse
import json
import pathlib
import random
import statistics
import subprocess
import tempfile
import time

import torch
from transformers import MixtralConfig, MixtralForCausalLM

SHAPE = dict(width=256, layers=4, heads=4, kv_heads=2, head_dim=64, experts=16, k=2, expert_width=384,
             vocab=4096, sequence=256, batch=32)


def make_torch(dtype):
    s = SHAPE
    config = MixtralConfig(
        vocab_size=s["vocab"], hidden_size=s["width"], intermediate_size=s["expert_width"],
        num_hidden_layers=s["layers"], num_attention_heads=s["heads"],
        num_key_value_heads=s["kv_heads"], head_dim=s["head_dim"], num_local_experts=s["experts"],
        num_experts_per_tok=s["k"], max_position_embeddings=512, sliding_window=None,
        router_aux_loss_coef=0.01, output_router_logits=True, use_cache=False)
    torch.manual_seed(1)
    model = MixtralForCausalLM(config).to(dtype)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1,
                                  fused=True)
    return model, optimizer


def torch_step(model, optimizer, micro_batch, autocast):
    s = SHAPE
    start = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    parts = s["batch"] // micro_batch
    for _ in range(parts):
        ids = torch.randint(0, s["vocab"], (micro_batch, s["sequence"]))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            loss = model(input_ids=ids, labels=ids).loss / parts
        loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return s["batch"] * s["sequence"] / (time.perf_counter() - start)


def run_torch(dtype, micro_batch, autocast, steps):
    model, optimizer = make_torch(dtype)
    rates = [torch_step(model, optimizer, micro_batch, autocast) for _ in range(steps + 1)]
    return statistics.median(rates[1:])  # the first one allocates


def run_conclave(binary, text, compute, threads, steps):
    s = SHAPE
    with tempfile.TemporaryDirectory() as out:
        keys = {"model.width": s["width"], "model.layers": s["layers"], "model.heads": s["heads"],
                "model.kv_heads": s["kv_heads"], "model.head_dim": s["head_dim"],
                "model.experts": s["experts"], "model.experts_per_token": s["k"],
                "model.expert_width": s["expert_width"], "data.vocab_size": s["vocab"],
                "train.sequence": s["sequence"], "train.batch": s["batch"],
                "train.compute": f'"{compute}"', "train.steps": 2 * steps + 1, "eval.every": 0,
                "checkpoint.every": 0, "optimizer.learning_rate": 1e-4}
        command = [binary, "train", "--out", out, "--quiet", "--threads", str(threads),
                   "--data", f"words={text}"]
        for key, value in keys.items():
            command += ["--set", f"{key}={value}"]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        lines = (pathlib.Path(out) / "history.jsonl").read_text().splitlines()
        seconds = [json.loads(line)["seconds"] for line in lines]
    return s["batch"] * s["sequence"] / statistics.median(seconds[1:])


def make_text(path):
    rng = random.Random(1)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9)))
             for _ in range(9000)]
    path.write_text("\n".join(" ".join(rng.choices(words, k=12)) for _ in range(40000)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--conclave", default="build/release/conclave")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        text = pathlib.Path(folder) / "words.txt"
        make_text(text)
        runs = {"torch f32": lambda: run_torch(torch.float32, 32, False, args.steps),
                "torch f32, micro-batch 8": lambda: run_torch(torch.float32, 8, False, args.steps),
                "torch bf16": lambda: run_torch(torch.bfloat16, 32, False, args.steps),
                "torch bf16 autocast": lambda: run_torch(torch.float32, 32, True, args.steps)}
        for compute in ("f32", "bf16"):
            runs[f"conclave {compute}"] = lambda c=compute: run_conclave(
                args.conclave, text, c, args.threads, args.steps)
        for round_index in range(args.rounds):
            for name, run in runs.items():
                rows.setdefault(name, []).append(run())
                print(f"round {round_index + 1}: {name:26s} {rows[name][-1]:9.0f} tokens/s", flush=True)
    print(f"\n{'':26s} {'median':>9s} {'min':>9s} {'max':>9s} tokens/s")
    for name, rates in rows.items():
        print(f"{name:26s} {statistics.median(rates):9.0f} {min(rates):9.0f} {max(rates):9.0f}")
    best = max((statistics.median(r), n) for n, r in rows.items() if n.startswith("torch"))
    for compute in ("f32", "bf16"):
        ours = statistics.median(rows[f"conclave {compute}"])
        print(f"conclave {compute} / best of PyTorch ({best[1]}): {ours / best[0]:.2f}")


if __name__ == "__main__":
    main()
