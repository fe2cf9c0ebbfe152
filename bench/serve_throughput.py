#!/usr/bin/env python3
"""Many requests at once on one model, here and in llama.cpp's server, in turn, as ratios.

    bench/serve_throughput.py CONCLAVE MODEL.gguf [--llama-server BINARY] [--clients 1,4,8,16] [--prompt 64,512]

Every client sends its requests one after the other over /v1/completions as a stream: a prompt of random
tokens, different for each, and an answer of --answer tokens (greedy; the end of text is ignored). Written
are tokens of answers a second over the whole load, from the first request to the last byte, and the time
to the first token: median and slowest. Both servers are given the same threads, room for as many sequences
as there are clients, and no prompt twice. With --llama-server both are started afresh in every round."""

import argparse
import asyncio
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request


class Server:
    """A process that listens on `port`, stopped at the end of a with block."""

    def __init__(self, name, command, port):
        self.name, self.command, self.port = name, command, port

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if self.port == 0:
            self.port = int(re.search(rb":(\d+)$", self.process.stdout.readline().strip()).group(1))
        end = time.time() + 300
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v1/models", timeout=5):
                    return self
            except (urllib.error.URLError, OSError):
                if self.process.poll() is not None or time.time() > end:
                    sys.exit(f"{self.name} does not answer: {' '.join(self.command)}")
                time.sleep(0.2)

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


async def one(port, prompt, answer):
    """One streamed request: seconds to the first token, tokens that came."""
    body = json.dumps({"model": "model", "prompt": prompt, "max_tokens": answer, "temperature": 0,
                       "ignore_eos": True, "stream": True, "stream_options": {"include_usage": True}}).encode()
    begun = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                 b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    status = await reader.readline()
    if b" 200 " not in status:
        sys.exit(f"{status.decode().strip()}: {(await reader.read(2000)).decode()}")
    first, tokens = None, 0
    while line := await reader.readline():
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        if event.get("choices") and first is None:
            first = time.perf_counter() - begun
        if event.get("usage"):
            tokens = event["usage"]["completion_tokens"]
    writer.close()
    return first, tokens


async def load(port, clients, requests, length, answer, rng, vocabulary):
    prompts = [[[rng.randrange(3, vocabulary) for _ in range(length)] for _ in range(requests)]
               for _ in range(clients)]

    async def client(mine):
        return [await one(port, prompt, answer) for prompt in mine]

    begun = time.perf_counter()
    done = [r for results in await asyncio.gather(*map(client, prompts)) for r in results]
    seconds = time.perf_counter() - begun
    tokens = sum(count for _, count in done)
    if tokens != clients * requests * answer:
        sys.exit(f"{tokens} tokens of {clients * requests * answer} were written")
    firsts = [first for first, _ in done]
    return {"tokens_a_second": tokens / seconds, "first_median": statistics.median(firsts), "first_max": max(firsts)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("conclave")
    parser.add_argument("model")
    parser.add_argument("--llama-server", metavar="BINARY")
    numbers = lambda text: [int(n) for n in text.split(",")]
    parser.add_argument("--clients", type=numbers, default=[1, 4, 8, 16])
    parser.add_argument("--prompt", type=numbers, default=[64, 512])
    parser.add_argument("--answer", type=int, default=64)
    parser.add_argument("--requests", type=int, default=1, help="of each client, one after the other")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--vocabulary", type=int, default=30000, help="tokens are drawn below this")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    most = max(args.clients)
    longest = max(args.prompt) + args.answer + 16
    servers = [("conclave", [args.conclave, "serve", args.model, "--model-name", "model", "--port", "0",
                             "--threads", str(args.threads), "--no-log-requests", "--max-running", str(most)], 0)]
    if args.llama_server:
        port = random.Random(os.getpid()).randrange(20000, 30000)
        servers.append(("llama-server", [args.llama_server, "-m", args.model, "--host", "127.0.0.1", "--port", str(port),
                                         "-t", str(args.threads), "-tb", str(args.threads), "-np", str(most),
                                         "-c", str(most * longest), "-fa", "on"], port))
    found = {}
    for number in range(args.rounds):
        for name, command, port in servers:
            with Server(name, command, port) as server:
                asyncio.run(load(server.port, 1, 1, 8, 4, random.Random(1), args.vocabulary))
                for length in args.prompt:
                    for clients in args.clients:
                        rng = random.Random(f"{number} {length} {clients}")
                        result = asyncio.run(load(server.port, clients, args.requests, length, args.answer, rng,
                                                  args.vocabulary))
                        found.setdefault((length, clients), {}).setdefault(name, []).append(result)
                        print(f"round {number + 1}, {name}, prompts of {length}, {clients} clients: "
                              f"{result['tokens_a_second']:.1f} tokens/s, first token {result['first_median']:.2f} s "
                              f"(slowest {result['first_max']:.2f})", file=sys.stderr)
    rows = []
    for (length, clients), by_name in found.items():
        row = {"prompt": length, "clients": clients}
        for name, results in by_name.items():
            row[name] = {key: statistics.median(r[key] for r in results) for key in results[0]}
        if len(row) == 4:
            ours, theirs = row["conclave"], row["llama-server"]
            row["throughput_ratio"] = ours["tokens_a_second"] / theirs["tokens_a_second"]
            row["first_token_ratio"] = ours["first_median"] / theirs["first_median"]
        rows.append(row)
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    print("| prompt | clients | tokens/s | llama-server | ratio | first token, s | llama-server | ratio |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|")
    for row in rows:
        ours, theirs = row["conclave"], row.get("llama-server")
        cells = [f"{row['prompt']}", f"{row['clients']}", f"{ours['tokens_a_second']:.1f}",
                 f"{theirs['tokens_a_second']:.1f}" if theirs else "", f"{row['throughput_ratio']:.2f}" if theirs else "",
                 f"{ours['first_median']:.2f} ({ours['first_max']:.2f})",
                 f"{theirs['first_median']:.2f} ({theirs['first_max']:.2f})" if theirs else "",
                 f"{row['first_token_ratio']:.2f}" if theirs else ""]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
