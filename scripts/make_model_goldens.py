#!/usr/bin/env python3
"""Makes the goldens of tests/goldens/models: small random checkpoints and what the reference
implementation computes with them. A step by hand; no test needs it.

    python3 -m venv V && V/bin/pip install numpy torch transformers==4.57.6 safetensors
    V/bin/python scripts/make_model_goldens.py [CASE...]

Made with: Python 3.11, transformers 4.57.6, torch 2.x (CPU, f32, eager attention).

A case is a directory with config.json and model.safetensors as transformers saves them, and
golden.safetensors:
  ids [B, S] i64, logits [B, S, V], hidden.{l} [B, S, D] (input of layer l; the last one: after the
  final norm), topk.{l} [B*S, K] i64 (sorted ids of chosen experts), loss [1] (mean cross-entropy of
  next tokens) and grad.NAME of every weight for that loss, without auxiliary losses.
Weights are drawn wide so that routing is decided; seeds whose k-th and (k+1)-th router scores are
closer than 1e-3 anywhere are skipped (moe routing near a tie is not a property of an engine).
"""

import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

ROOT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "goldens" / "models"
COMMON = dict(vocab_size=97, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
              num_key_value_heads=2, max_position_embeddings=128, hidden_act="silu",
              pad_token_id=0, bos_token_id=1, eos_token_id=2, attention_dropout=0.0)
MIXTRAL = dict(COMMON, intermediate_size=48, num_local_experts=8, num_experts_per_tok=2,
               router_jitter_noise=0.0, rope_theta=1e4)
CASES = {
    "mixtral": (MixtralConfig, MixtralForCausalLM, dict(MIXTRAL, sliding_window=None), 2, 24),
    "mixtral_window": (MixtralConfig, MixtralForCausalLM,
                       dict(MIXTRAL, sliding_window=8, num_experts_per_tok=3, rope_theta=1e6), 1, 40),
    "mixtral_heads": (MixtralConfig, MixtralForCausalLM,
                      dict(MIXTRAL, sliding_window=None, head_dim=10, num_attention_heads=6,
                           num_key_value_heads=3, hidden_size=36, intermediate_size=20,
                           num_local_experts=5, num_experts_per_tok=1, tie_word_embeddings=True), 2, 19),
    "llama": (LlamaConfig, LlamaForCausalLM,
              dict(COMMON, intermediate_size=56, num_key_value_heads=4, rms_norm_eps=1e-5), 2, 17),
}
MARGIN = 1e-3


def randomise(model, generator):
    for name, p in model.named_parameters():
        if p.dim() > 1:
            p.data.normal_(0, 0.2, generator=generator)
        else:
            p.data.uniform_(0.5, 1.5, generator=generator)


def routers(model):
    return [m for n, m in model.named_modules() if n.endswith("block_sparse_moe.gate")]


def run(config_class, model_class, kwargs, batch, length, seed):
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    config = config_class(**kwargs)
    config._attn_implementation = "eager"
    model = model_class(config).to(torch.float32)
    randomise(model, generator)
    model.train()  # no dropout, no jitter: gradients are the same, and so are the outputs
    seen = []
    hooks = [r.register_forward_hook(lambda m, i, o: seen.append(o.detach())) for r in routers(model)]
    ids = torch.randint(3, config.vocab_size, (batch, length), generator=generator)
    out = model(input_ids=ids, output_hidden_states=True)
    logits = out.logits
    loss = torch.nn.functional.cross_entropy(
        logits[:, :-1].reshape(-1, config.vocab_size), ids[:, 1:].reshape(-1))
    loss.backward()
    for hook in hooks:
        hook.remove()
    golden = {"ids": ids, "logits": logits.detach(), "loss": loss.detach().reshape(1)}
    for i, h in enumerate(out.hidden_states):
        golden[f"hidden.{i}"] = h.detach()
    margin = float("inf")
    for i, scores in enumerate(seen):
        k = config.num_experts_per_tok
        p = torch.softmax(scores.float(), dim=-1)
        top = torch.topk(p, k + 1, dim=-1)
        margin = min(margin, (top.values[:, k - 1] - top.values[:, k]).min().item())
        golden[f"topk.{i}"] = torch.sort(top.indices[:, :k], dim=-1).values
    for name, p in model.named_parameters():
        golden["grad." + name] = p.grad.detach()
    return model, golden, margin


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name in sys.argv[1:] or CASES:
        config_class, model_class, kwargs, batch, length = CASES[name]
        for seed in range(1000):
            model, golden, margin = run(config_class, model_class, kwargs, batch, length, seed)
            if margin > MARGIN:
                break
        directory = ROOT / name
        directory.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(directory, safe_serialization=True)
        (directory / "generation_config.json").unlink(missing_ok=True)
        save_file({k: v.contiguous() for k, v in golden.items()}, directory / "golden.safetensors")
        print(f"{name}: seed {seed}, smallest router margin {margin:.4f}")


if __name__ == "__main__":
    main()
