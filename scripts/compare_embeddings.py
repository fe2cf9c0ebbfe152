#!/usr/bin/env python3
"""/v1/embeddings beside transformers: python3 scripts/compare_embeddings.py CONCLAVE MODEL_DIRECTORY.
Prints the smallest cosine and the largest difference of an element over some texts, in float32. The
reference is the mean of the last hidden states after the final norm, made to length one."""

import json
import re
import subprocess
import sys
import urllib.request

import torch
import transformers

TEXTS = ["a", "The cat sat on the mat.", "int main(void) { return 0; }", "caf\u00e9 na\u00efve \u4f60\u597d",
         "It was a dark and stormy night; the rain fell in torrents, except at occasional intervals. " * 3]


def main():
    conclave, path = sys.argv[1:3]
    server = subprocess.Popen([conclave, "serve", path, "--port", "0", "--no-log-requests", "--dtype", "f32",
                               "--model-name", "model"], stdout=subprocess.PIPE)
    try:
        address = re.search(r"http://\S+", server.stdout.readline().decode()).group(0)

        def post(where, body):
            with urllib.request.urlopen(address + where, json.dumps(body).encode()) as answer:
                return json.load(answer)

        ids = [post("/tokenize", {"prompt": text})["tokens"] for text in TEXTS]
        ours = torch.tensor([item["embedding"] for item in post("/v1/embeddings", {"model": "model", "input": TEXTS})["data"]])
    finally:
        server.terminate()
        server.wait()
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).model.eval()
    with torch.no_grad():
        means = [model(torch.tensor([one])).last_hidden_state[0].mean(0) for one in ids]
    theirs = torch.nn.functional.normalize(torch.stack(means), dim=-1)
    cosine = torch.nn.functional.cosine_similarity(ours.double(), theirs.double(), dim=-1)
    print(f"{len(TEXTS)} texts of {min(map(len, ids))} to {max(map(len, ids))} tokens, width {ours.shape[1]}: "
          f"1 - cosine at most {1 - cosine.min().item():.1e}, largest difference {(ours - theirs).abs().max().item():.1e}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main()
