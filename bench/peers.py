#!/usr/bin/env python3
"""The same GGUF file read and written by Conclave, by llama.cpp and, where asked for, by ik_llama.cpp
(--ik) and by PyTorch with transformers (--transformers), in turn, as ratios.

    python3 bench/peers.py MODEL.gguf --conclave build/release/conclave --prompt 64,512 --depth 0,2048

llama.cpp comes from pip (llama-cpp-python, built for this processor) and is installed into .cache/peers
when it is not there; that takes a while. PyTorch and transformers go into .cache/transformers in the same
way (6 GB); they turn all weights into f32 while loading, which takes 4 bytes of memory for each, and 2 or 4
more for those that stay: synthetic_model makes shapes of few layers.

A round measures every engine --repeat times, in a process of its own; the median of the rounds' medians
counts. Tokens are random and the same for nobody: the engines take any. Writing counts the pass and the
logits of each token; nothing is sampled."""

import argparse
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEERS = ROOT / ".cache" / "peers"
TRANSFORMERS = ROOT / ".cache" / "transformers"


def install(folder, module, *packages):
    if (folder / module).is_dir():
        return
    print(f"installing {', '.join(packages)} into {folder}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--target", folder, *packages],
                   check=True, env={**os.environ, "CMAKE_ARGS": "-DGGML_NATIVE=ON"})


def timed(body):
    begin = time.perf_counter()
    body()
    return time.perf_counter() - begin


class Engine:
    """What is measured of one that runs in this process: begin(sequences) empties the contexts of so many,
    read(n) reads n tokens of one, read_together() one token of each."""

    def prompt(self, n):
        self.begin(1)
        return n / timed(lambda: self.read(n))

    def generation(self, depth, n):
        self.begin(1)
        self.read(depth)
        self.read(1)
        return n / timed(lambda: [self.read(1) for _ in range(n)])

    def generation_together(self, sequences, n):
        self.begin(sequences)
        self.read_together()
        return n * sequences / timed(lambda: [self.read_together() for _ in range(n)])


class Llama(Engine):
    """llama.cpp through its C interface: tokens decoded as its own benchmark does."""

    def __init__(self, args):
        sys.path.insert(0, str(args.peers))
        import llama_cpp as c
        self.c, self.args, self.chunk = c, args, args.chunk
        c.llama_backend_init()
        begin = time.perf_counter()
        self.model = c.llama_model_load_from_file(args.model.encode(), c.llama_model_default_params())
        if not self.model:
            sys.exit(f"llama.cpp cannot load {args.model}")
        self.load_seconds = time.perf_counter() - begin
        self.vocabulary = c.llama_vocab_n_tokens(c.llama_model_get_vocab(self.model))
        self.context, self.sequences, self.rng = None, 0, random.Random(1)

    def begin(self, sequences):
        if sequences != self.sequences:  # several have a cache of their own: the other serves one best
            self.open(sequences)
        self.c.llama_memory_clear(self.c.llama_get_memory(self.context), True)
        self.position = 0

    def open(self, sequences):
        c, args = self.c, self.args
        if self.context:
            c.llama_free(self.context)
        options = c.llama_context_default_params()
        options.n_ctx = max([*args.prompt, *args.depth]) + args.generate + 16
        if sequences > 1:
            options.n_ctx = context_of_many(args, sequences)
        options.n_batch = options.n_ubatch = args.chunk
        options.n_seq_max, options.kv_unified = sequences, sequences == 1
        options.n_threads = options.n_threads_batch = args.threads
        self.context, self.sequences = c.llama_init_from_model(self.model, options), sequences
        if not self.context:
            sys.exit("llama.cpp cannot make a context")

    def read(self, n):
        """n tokens in chunks; logits of the last token of each."""
        while n > 0:
            count = min(n, self.chunk)
            ids = (self.c.llama_token * count)(*(self.rng.randrange(self.vocabulary)
                                                 for _ in range(count)))
            code = self.c.llama_decode(self.context, self.c.llama_batch_get_one(ids, count))
            if code != 0:
                sys.exit(f"llama_decode returned {code}")
            self.c.llama_synchronize(self.context)
            self.position += count
            n -= count

    def read_together(self):
        """One token of each sequence, with logits of all."""
        c, batch = self.c, self.c.llama_batch_init(self.sequences, 0, 1)
        batch.n_tokens = self.sequences
        for i in range(self.sequences):
            batch.token[i], batch.pos[i] = self.rng.randrange(self.vocabulary), self.position
            batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = 1, i, 1
        code = c.llama_decode(self.context, batch)
        c.llama_batch_free(batch)
        if code != 0:
            sys.exit(f"llama_decode returned {code}")
        c.llama_synchronize(self.context)
        self.position += 1


class Transformers(Engine):
    """What people fall back to: weights as --transformers says, experts one after the other."""

    def __init__(self, args):
        sys.path.insert(0, str(TRANSFORMERS))
        import gguf
        import torch
        import transformers
        self.torch, self.transformers, self.chunk = torch, transformers, args.chunk
        torch.set_num_threads(args.threads)
        torch.set_grad_enabled(False)
        # transformers 4.57.6 takes the experts' width for the published model's, whatever the file says.
        known = {}
        for name, field in gguf.GGUFReader(args.model).fields.items():
            if name.endswith(".expert_feed_forward_length"):
                known["moe_intermediate_size"] = int(field.contents())
        folder, name = os.path.split(os.path.abspath(args.model))
        begin = time.perf_counter()
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=name, dtype=getattr(torch, args.transformers), **known).eval()
        self.load_seconds = time.perf_counter() - begin

    def begin(self, sequences):
        self.cache, self.sequences = self.transformers.DynamicCache(), sequences

    def read(self, n):
        """n tokens of each sequence in chunks; logits of the last token of each."""
        while n > 0:
            count = min(n, self.chunk)
            ids = self.torch.randint(self.model.config.vocab_size, (self.sequences, count))
            self.model(input_ids=ids, past_key_values=self.cache, use_cache=True, logits_to_keep=1)
            n -= count

    def read_together(self):
        self.read(1)


def context_of_many(args, batch):
    """Positions for `batch` sequences that write side by side."""
    return batch * max(256, args.generate + 16)


WORKERS = {"llama.cpp": Llama, "transformers": Transformers}


def work(args):
    """Runs in a process of its own; prints {"load_seconds", "rates": {test: tokens/s}}."""
    engine = WORKERS[args.worker](args)
    engine.prompt(16)
    rates = {f"prompt {n}": statistics.median(engine.prompt(n) for _ in range(args.repeat))
             for n in args.prompt}
    for depth in args.depth:
        rates[f"write at {depth}"] = statistics.median(
            engine.generation(depth, args.generate) for _ in range(args.repeat))
    for batch in args.batch:
        rates[f"write {batch} together"] = statistics.median(
            engine.generation_together(batch, args.generate) for _ in range(args.repeat))
    print(json.dumps({"load_seconds": engine.load_seconds, "rates": rates}))


def joined(numbers):
    return ",".join(map(str, numbers))


def bench_conclave(args, prompts, depths, batches):
    command = [args.conclave, "bench", args.model, "--json", "--repeat", args.repeat, "--threads", args.threads,
               "--generate", args.generate, "--chunk", args.chunk, "--limit-seconds", "0.2",
               "--prompt", joined(prompts), "--depth", joined(depths), "--batch", joined(batches)]
    done = subprocess.run([*map(str, command)], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def measure_conclave(args):
    names = ([f"prompt {n}" for n in args.prompt] + [f"write at {depth}" for depth in args.depth]
             + [f"write {batch} together" for batch in args.batch])
    if args.depth == [0] or not args.batch:
        found = bench_conclave(args, args.prompt, args.depth, [1, *args.batch])
        rows = found["rows"]
    else:  # a run would measure every batch at every depth
        found = bench_conclave(args, args.prompt, args.depth, [1])
        rows = found["rows"] + bench_conclave(args, [1], [0], args.batch)["rows"][1:]
    rates = {name: row["tokens_per_second"] for name, row in zip(names, rows)}
    return {"load_seconds": found["load_seconds"], "rates": rates, "limits": found["limits"]}


def run_worker(args, name):
    done = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--worker", name], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE if args.quiet else None)
    if done.returncode != 0:
        why = (done.stderr or "").strip().splitlines()
        sys.exit(f"{name}: {why[-1] if why else f'exit status {done.returncode}'}")
    return json.loads(done.stdout.splitlines()[-1])


def measure_ik(args, repack):
    """A benchmark program of ik_llama.cpp, built elsewhere, with weights as they are in the file or
    repacked while loading."""
    rates = {}
    command = [args.ik, "-m", args.model, "-t", args.threads, "-r", args.repeat, "-fa", 1, "-fmoe", 1,
               "-rtr", int(repack), "-ub", args.chunk, "-o", "json",
               "-p", joined(args.prompt),
               "-n", args.generate if 0 in args.depth else 0]
    for depth in args.depth:
        command += ["-gp", f"{depth},{args.generate}"] if depth else []
    done = subprocess.run([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          check=True)
    for row in json.loads(done.stdout):
        name = f"write at {row['n_prompt']}" if row["n_gen"] else f"prompt {row['n_prompt']}"
        rates[name] = statistics.median(row["samples_ts"])
    for batch in args.batch if args.ik_batched else []:
        command = [args.ik_batched, "-m", args.model, "-t", args.threads, "-ub", args.chunk,
                   "-c", context_of_many(args, batch), "-npp", 1, "-ntg", args.generate, "-npl", batch,
                   *(["-rtr"] if repack else [])]
        done = subprocess.run([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              check=True, text=True)
        # | prompt | written | sequences | cache | s | tokens/s | s | tokens/s written | s | tokens/s |
        rows = [line.split("|") for line in done.stdout.splitlines() if line.count("|") == 11]
        rates[f"write {batch} together"] = float(rows[-1][8])
    return {"rates": rates}


def number(least):
    def parse(text):
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"'{text}': expected a number from {least} on")
        return int(text)
    return parse


def numbers(least):
    return lambda text: [number(least)(one) for one in text.split(",")]


def program(text):
    found = shutil.which(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text}: no such program")
    return found


def print_table(title, found):
    """found: {engine: [{"rates": {test: tokens/s}, "load_seconds" (but for ik)} of each round]}."""
    bandwidth = [r["limits"]["read_gbps"] for r in found["conclave"]]
    print(f"{title}, median of {len(found['conclave'])} rounds; the machine read "
          f"{min(bandwidth):.1f} to {max(bandwidth):.1f} GB/s")
    peers = [name for name in found if name != "conclave"]
    print(f"{'':18} {'conclave':>22}" + "".join(f"{name:>22}  ratio" for name in peers))
    uneven = False
    for test in found["llama.cpp"][0]["rates"]:
        line, ours = f"{test:18}", None
        for name, runs in found.items():
            rates = [r["rates"][test] for r in runs if test in r["rates"]]
            if not rates:
                line += f"{'-':>22}{'':7}"
                continue
            middle = statistics.median(rates)
            cell = f"{middle:8.1f} [{min(rates):.1f}, {max(rates):.1f}]"
            if name == "conclave":
                ours = middle
                line += f" {cell:>22}"
            else:
                line += f"{cell:>22}  " + (f"{ours / middle:5.2f}" if ours else f"{'-':>5}")
            uneven = uneven or max(rates) > 1.5 * min(rates)
        print(line)
    line = f"{'load, seconds':18}"
    ours = statistics.median(r["load_seconds"] for r in found["conclave"])
    for name, runs in found.items():
        seconds = [r["load_seconds"] for r in runs if "load_seconds" in r]
        if name == "conclave":
            line += f" {ours:>22.2f}"
        elif seconds:
            line += f"{statistics.median(seconds):>22.2f}  {statistics.median(seconds) / ours:5.2f}"
        else:
            line += f"{'-':>22}{'':7}"
    print(line)
    if uneven:
        print("Rounds of the same work differ by more than half: the machine was busy with something else.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--conclave", type=program, default=str(ROOT / "build/release/conclave"),
                        help="the program (default: %(default)s)")
    parser.add_argument("--peers", type=pathlib.Path, default=PEERS, help="where llama_cpp lies (default: %(default)s)")
    parser.add_argument("--ik", type=program, help="llama-bench of an ik_llama.cpp, measured too")
    parser.add_argument("--ik-batched", type=program,
                        help="its llama-batched-bench, for --batch; its sequences must not be given equal tokens, "
                        "as it does by itself: they would share their experts")
    parser.add_argument("--transformers", choices=["float32", "bfloat16"],
                        help="PyTorch with weights of this type, measured too")
    parser.add_argument("--prompt", type=numbers(1), default=[64, 512], help="lengths of prompts (default: 64,512)")
    parser.add_argument("--depth", type=numbers(0), default=[0],
                        help="tokens of context before those written (default: 0)")
    parser.add_argument("--batch", type=numbers(1), default=[],
                        help="sequences that write side by side from empty contexts (default: none)")
    parser.add_argument("--generate", type=number(1), default=32, help="tokens written (default: %(default)s)")
    parser.add_argument("--chunk", type=number(1), default=512,
                        help="prompt tokens computed together (default: %(default)s)")
    parser.add_argument("--threads", type=number(1), default=len(os.sched_getaffinity(0)),
                        help="default: %(default)s")
    parser.add_argument("--rounds", type=number(1), default=3, help="times that all take turns (default: %(default)s)")
    parser.add_argument("--repeat", type=number(1), default=3,
                        help="times in a round; their median counts (default: %(default)s)")
    parser.add_argument("--quiet", action="store_true", help="hide the peers' own messages")
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.ik_batched and not args.ik:
        parser.error("--ik-batched needs --ik")
    if not os.path.isfile(args.model):
        parser.error(f"{args.model}: no such file")
    if args.worker:
        return work(args)
    if args.peers == PEERS:
        install(PEERS, "llama_cpp", "llama-cpp-python")
    if args.transformers:
        install(TRANSFORMERS, "transformers", "torch", "transformers==4.57.6", "gguf", "accelerate")
    if not (args.peers / "llama_cpp").is_dir():
        parser.error(f"{args.peers}: no llama_cpp there")
    measure = {"conclave": measure_conclave, "llama.cpp": lambda args: run_worker(args, "llama.cpp")}
    if args.ik:
        measure |= {"ik": lambda args: measure_ik(args, repack=False),
                    "ik repacked": lambda args: measure_ik(args, repack=True)}
    if args.transformers:
        measure["transformers"] = lambda args: run_worker(args, "transformers")
    with open(args.model, "rb") as file:  # into the page cache, lest the first engine loads it for all
        while file.read(1 << 24):
            pass
    found = {name: [] for name in measure}
    try:
        for turn in range(args.rounds):
            for name, runs in found.items():
                runs.append(measure[name](args))
                print(f"round {turn + 1} of {args.rounds}, {name}: "
                      + ", ".join(f"{test} {rate:.1f}" for test, rate in runs[-1]["rates"].items()),
                      file=sys.stderr, flush=True)
    finally:  # what is measured stays, whatever ends the rounds
        if all(found.values()):
            print_table(f"{args.model}, {args.threads} threads", found)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error.cmd[0]} failed with exit status {error.returncode}")
    except KeyboardInterrupt:
        sys.exit("stopped")
