#!/usr/bin/env python3
"""Makes the goldens of tests/goldens/models: small random checkpoints and what the reference
implementation computes with them. A step by hand; no test needs it.

    python3 -m venv V && V/bin/pip install numpy torch transformers==4.57.6 safetensors
    V/bin/python scripts/make_model_goldens.py [--out DIRECTORY] [CASE...]

Made with: Python 3.11, transformers 4.57.6, torch 2.x (CPU, f32, eager attention, eval mode).

A case is a directory with config.json and safetensors as transformers saves them (or as published
files store them: golden_cases.py says which), and golden.safetensors:
  ids [B, S] i64, logits [B, S, V], hidden.{l} [B, S, D] (input of layer l; the last one: after the
  final norm), topk.{l} [B*S, K] i64 (sorted ids of chosen experts, for routed layers), and for
  cases with gradients loss [1] (mean cross-entropy of next tokens) and grad.NAME of every weight
  for that loss, without auxiliary losses.
Weights are drawn wide so that routing is decided; seeds where any decision (experts, groups of
experts, thresholds) is closer than 1e-3 are skipped: routing near a tie is not a property of an
engine.
"""

import argparse
import json
import pathlib

import torch
import transformers
from golden_cases import CASES, POSTPROCESS
from golden_routers import MARGIN, find_routers
from safetensors.torch import load_file, save_file

ROOT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "goldens" / "models"


def randomise(model, generator, case):
    named = list(model.named_parameters()) + [
        (n, b) for n, b in model.named_buffers() if n.endswith("e_score_correction_bias")]
    low, high = case.get("bias_range", (-0.3, 0.3))
    for name, p in named:
        if name.endswith("e_score_correction_bias"):
            p.data.uniform_(low, high, generator=generator)
        elif name.endswith("sinks"):
            p.data.normal_(0, 1, generator=generator)
        elif "bias" in name.rsplit(".", 1)[-1]:
            p.data.normal_(0, 0.2, generator=generator)
        elif p.dim() == 1:
            p.data.uniform_(0.5, 1.5, generator=generator)
        else:
            p.data.normal_(0, case.get("spread", {}).get(name.rsplit(".", 1)[-1], 0.2),
                           generator=generator)


def round_weights(model, case):
    """Weights become what the stored type can hold; returns the tensors as they are stored."""
    stored = case.get("stored", "f32")
    if stored in ("bf16", "f16"):
        kind = torch.bfloat16 if stored == "bf16" else torch.float16
        for p in model.parameters():
            p.data = p.data.to(kind).to(torch.float32)
    elif stored in POSTPROCESS:
        return POSTPROCESS[stored](model)
    return None


def watch(model):
    """Inputs of every decoder layer, then the output of the final norm."""
    inner = getattr(model, "model", None) or model.transformer
    layers = inner.layers if hasattr(inner, "layers") else inner.blocks
    norm = inner.norm if hasattr(inner, "norm") else inner.norm_f
    seen = []

    def before(module, args, kwargs):
        seen.append((args[0] if args else kwargs["hidden_states"]).detach().clone())

    hooks = [layer.register_forward_pre_hook(before, with_kwargs=True) for layer in layers]
    hooks.append(norm.register_forward_hook(lambda m, i, o: seen.append(o.detach().clone())))
    return seen, hooks


def run(case, seed):
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    config = getattr(transformers, case["config"])(**case["kwargs"])
    config._attn_implementation = "eager"
    model = getattr(transformers, case["model"])(config).to(torch.float32).eval()
    randomise(model, generator, case)
    stored = round_weights(model, case)
    decisions, hooks = find_routers(model)
    hidden, more = watch(model)
    ids = torch.randint(3, config.vocab_size, (case["batch"], case["length"]), generator=generator)
    logits = model(input_ids=ids, use_cache=False).logits
    for hook in hooks + more:
        hook.remove()
    golden = {"ids": ids, "logits": logits.detach()}
    for i, h in enumerate(hidden):
        golden[f"hidden.{i}"] = h.reshape(*ids.shape, -1)
    margin = float("inf")
    for layer, (chosen, distance) in decisions.items():
        margin = min(margin, distance)
        golden[f"topk.{layer}"] = torch.sort(chosen, dim=-1).values
    if case.get("gradients"):
        loss = torch.nn.functional.cross_entropy(
            logits[:, :-1].reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1))
        loss.backward()
        golden["loss"] = loss.detach().reshape(1)
        for name, p in model.named_parameters():
            if p.requires_grad:  # an expert that no token chose has no gradient at all
                golden["grad." + name] = torch.zeros_like(p) if p.grad is None else p.grad.detach()
    return model, stored, golden, margin


def save_model(model, stored, case, directory):
    kind = {"bf16": torch.bfloat16, "f16": torch.float16}.get(case.get("stored"))
    if kind is not None:
        model = model.to(kind)
    model.save_pretrained(directory, safe_serialization=True,
                          max_shard_size=case.get("shards", "1GB"))
    (directory / "generation_config.json").unlink(missing_ok=True)
    if stored is not None:
        save_file(stored, directory / "model.safetensors", metadata={"format": "pt"})
    if "extra" in case or "prefix" in case:
        tensors = load_file(directory / "model.safetensors")
        tensors = {case.get("prefix", "") + name: t for name, t in tensors.items()}
        tensors.update({name: torch.ones(shape) for name, shape in case.get("extra", {}).items()})
        save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    path = directory / "config.json"
    config = json.loads(path.read_text())
    if "edit" in case:
        config = case["edit"](config)
    path.write_text(json.dumps(config, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, default=ROOT)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("cases", nargs="*")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name in options.cases or CASES:
        case = CASES[name]
        for seed in range(options.first_seed, options.first_seed + 2000):
            model, stored, golden, margin = run(case, seed)
            if margin > MARGIN:
                break
        else:
            raise SystemExit(f"{name}: no seed decides all routing")
        directory = options.out / name
        directory.mkdir(parents=True, exist_ok=True)
        for old in directory.glob("*.safetensors*"):
            old.unlink()
        save_file({k: v.contiguous() for k, v in golden.items()}, directory / "golden.safetensors")
        save_model(model, stored, case, directory)
        size = sum(f.stat().st_size for f in directory.iterdir()) // 1024
        print(f"{name}: seed {seed}, smallest margin {margin:.4f}, {size} KiB", flush=True)


if __name__ == "__main__":
    main()
