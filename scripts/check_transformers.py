#!/usr/bin/env python3
"""Proves that a model trained by Conclave is the same model to Hugging Face transformers: loads the
directory there, computes logits in f32, and compares them with `conclave logits`. Also compares the
tokenizer's ids. Run by hand:

    python3 -m venv V && V/bin/pip install numpy torch transformers==4.57.6 tokenizers
    V/bin/python scripts/check_transformers.py MODEL [--conclave build/release/conclave] [--text FILE]
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

LIMIT = 1e-4  # largest absolute difference of a logit, f32 against f32


def conclave_logits(binary, model, ids):
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "logits.npy"
        subprocess.run([binary, "logits", model, "--ids", ",".join(map(str, ids)), "--out", str(out),
                        "--dtype", "f32"], check=True, stderr=subprocess.DEVNULL)
        return np.load(out)


def conclave_ids(binary, model, text):
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        done = subprocess.run([binary, "tokenize", model, "--file", file.name, "--json"], check=True,
                              capture_output=True)
    return json.loads(done.stdout)["ids"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("model")
    parser.add_argument("--conclave", default="build/release/conclave")
    parser.add_argument("--text", help="UTF-8 file to take the tokens from")
    args = parser.parse_args()
    text = "In the beginning was the word, def main(): na\u00efve caf\u00e9 \u65e5\u672c\u8a9e \u4e2d\u6587\n" * 8
    if args.text:
        text = pathlib.Path(args.text).read_text(encoding="utf-8")[:20000]
    model = AutoModelForCausalLM.from_pretrained(args.model, torch_dtype=torch.float32,
                                                 attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    theirs_ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    ours_ids = conclave_ids(args.conclave, args.model, text)
    print(f"tokenizer: {len(ours_ids)} ids, {'equal' if ours_ids == theirs_ids else 'DIFFERENT'}")
    ids = ours_ids[:256]
    with torch.no_grad():
        theirs = model(torch.tensor([ids])).logits[0].numpy()
    ours = conclave_logits(args.conclave, args.model, ids)
    worst = float(np.abs(ours - theirs).max())
    print(f"{type(model).__name__}: logits {ours.shape}, largest difference {worst:.2e} "
          f"(limit {LIMIT:.0e}), best tokens equal: {(ours.argmax(1) == theirs.argmax(1)).mean():.1%}")
    sys.exit(0 if worst <= LIMIT and ours_ids == theirs_ids else 1)


if __name__ == "__main__":
    main()
