#!/usr/bin/env python3
"""Loads for a running server, with the standard library alone. Each starts `conclave serve` itself:

    bench/serve_load.py CONCLAVE MODEL idle      [--connections 10000]
    bench/serve_load.py CONCLAVE MODEL soak      [--seconds 600] [--honest 4] [--wild 12]
    bench/serve_load.py CONCLAVE MODEL overload  [--seconds 30] [--factor 10]
    bench/serve_load.py CONCLAVE MODEL latency   [--repeats 7]
    bench/serve_load.py CONCLAVE MODEL routing

and prints one JSON object. idle: memory of connections that say nothing. soak: honest clients beside
wild ones that leave, send garbage, or read and write slowly; every honest answer must be the one that
was given alone. overload: tokens a second at capacity and at `factor` times as many requests, and how
long refusals take. latency: a request's time over that of `conclave run`, and the part of it that is
outside the engine's steps (which says more on a machine that others use, too). routing: the share of a
step's time that counting routing takes. tests/serve_limits_test.py runs short forms."""

import argparse
import asyncio
import functools
import http.client
import json
import os
import random
import re
import resource
import socket
import statistics
import subprocess
import threading
import time


class Target:
    """A server: its address, its key where it has one, its process."""

    def __init__(self, host, port, key, pid):
        self.host, self.port, self.key, self.pid = host, port, key, pid

    @functools.cached_property
    def model(self):
        return json.loads(self.request("GET", "/v1/models")[1])["data"][0]["id"]

    def headers(self):
        return {} if self.key is None else {"Authorization": f"Bearer {self.key}"}

    def request(self, method, path, body=None, timeout=120):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), self.headers())
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def complete(self, **fields):
        body = {"model": self.model, "prompt": "abc de", "ignore_eos": True, **fields}
        status, text = self.request("POST", "/v1/completions", body)
        return status, json.loads(text)

    def load(self):
        return json.loads(self.request("GET", "/v1/status")[1])["load"]

    def resident(self):
        """Bytes of memory in use."""
        with open(f"/proc/{self.pid}/status") as file:
            return int(re.search(r"VmRSS:\s+(\d+) kB", file.read()).group(1)) * 1024

    def files(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def wait_until_idle(self, seconds=30):
        end = time.time() + seconds
        while time.time() < end:
            load = self.load()
            if load["running"] == 0 and load["queued"] == 0:
                return True
            time.sleep(0.02)
        return False


def raise_file_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# Idle connections

def idle(target, connections=10000, seconds=5.0):
    raise_file_limit()
    target.complete(max_tokens=4)
    before = target.resident()
    opened = []
    for _ in range(connections):
        opened.append(socket.create_connection((target.host, target.port), timeout=30))
    time.sleep(seconds)
    begun = time.perf_counter()
    status, _ = target.complete(max_tokens=4)
    answer_ms = (time.perf_counter() - begun) * 1000
    after = target.resident()
    alive = 0
    for connection in opened:
        connection.setblocking(False)
        try:
            alive += connection.recv(1) != b""
        except BlockingIOError:
            alive += 1
        except OSError:
            pass
    for connection in opened:
        connection.close()
    return {"open": alive, "resident_before": before, "resident": after,
            "bytes_a_connection": round((after - before) / connections), "answers": status == 200,
            "answer_ms": round(answer_ms, 1)}


# Soak

class Soak:
    def __init__(self, target, tokens, seed):
        self.target, self.tokens, self.seed = target, tokens, seed
        self.end = 0.0
        self.lock = threading.Lock()
        self.counts = {"answers": 0, "lost": 0, "refused": 0, "left": 0, "garbage": 0, "slow": 0, "wild_errors": 0}
        self.losses = []
        self.expected = {}

    def count(self, name, loss=None):
        with self.lock:
            self.counts[name] += 1
            if loss is not None and len(self.losses) < 5:
                self.losses.append(loss)

    def prepare(self):
        for seed in range(8):
            _, answer = self.target.complete(max_tokens=self.tokens, seed=seed)
            self.expected[seed] = answer["choices"][0]["text"]

    def honest(self, number):
        rng = random.Random(self.seed * 1000 + number)
        while time.time() < self.end:
            seed = rng.randrange(8)
            try:
                text = self.streamed(seed) if rng.random() < 0.5 else self.whole(seed)
            except Exception as error:  # whatever an honest client does not get is a loss
                self.count("lost", repr(error))
                continue
            if text is None:
                self.count("refused")
                time.sleep(0.05)
            elif text == self.expected[seed]:
                self.count("answers")
            else:
                self.count("lost", f"another text for seed {seed}")

    def whole(self, seed):
        status, answer = self.target.complete(max_tokens=self.tokens, seed=seed)
        if status in (429, 503):
            return None
        return answer["choices"][0]["text"]

    def streamed(self, seed):
        body = {"model": self.target.model, "prompt": "abc de", "ignore_eos": True, "max_tokens": self.tokens,
                "seed": seed, "stream": True}
        status, text = self.target.request("POST", "/v1/completions", body)
        if status in (429, 503):
            return None
        events = [line[6:] for line in text.split("\n") if line.startswith("data: ")]
        if events[-1] != "[DONE]":
            raise ValueError("the stream has no end")
        return "".join(json.loads(event)["choices"][0]["text"] for event in events[:-1])

    def wild(self, number):
        rng = random.Random(self.seed * 2000 + number)
        actions = [self.leave, self.leave, self.garbage, self.slow_header, self.slow_reader]
        while time.time() < self.end:
            try:
                rng.choice(actions)(rng)
            except (OSError, http.client.HTTPException):
                self.count("wild_errors")  # the server may well have cut it first

    def connect(self):
        connection = socket.create_connection((self.target.host, self.target.port), timeout=20)
        return connection

    def post(self, connection, body):
        data = json.dumps(body).encode()
        head = "".join(f"{name}: {value}\r\n" for name, value in self.target.headers().items())
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n" + head.encode()
                           + b"Content-Length: %d\r\n\r\n" % len(data) + data)

    def leave(self, rng):
        with self.connect() as connection:
            self.post(connection, {"model": self.target.model, "prompt": "abc " * rng.randint(1, 40),
                                   "max_tokens": 300, "ignore_eos": True,
                                   "stream": rng.random() < 0.7})
            time.sleep(rng.random() * 0.05)
            if rng.random() < 0.5:
                connection.recv(rng.randint(1, 2000))
        self.count("left")

    def garbage(self, rng):
        with self.connect() as connection:
            connection.sendall(rng.choice([
                rng.randbytes(rng.randint(1, 5000)),
                b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n" + rng.randbytes(20),
                b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                b"GET /" + b"a" * rng.randint(1, 30000), b"\r\n" * 2000]))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
        self.count("garbage")

    def slow_header(self, rng):
        with self.connect() as connection:
            connection.settimeout(3)
            try:
                for byte in b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n":
                    connection.sendall(bytes([byte]))
                    if time.time() > self.end:
                        break
                    time.sleep(0.02 if rng.random() < 0.9 else 0.7)
                connection.recv(1000)
            except TimeoutError:
                pass
        self.count("slow")

    def slow_reader(self, rng):
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            connection.settimeout(20)
            connection.connect((self.target.host, self.target.port))
            self.post(connection, {"model": self.target.model, "prompt": "a", "max_tokens": 200, "ignore_eos": True,
                                   "n": 4, "stream": True,
                                   "logprobs": 10})
            for _ in range(rng.randint(1, 10)):
                connection.recv(100)
                time.sleep(0.1)
        self.count("slow")


def soak(target, honest=4, wild=12, seconds=600.0, tokens=32, seed=1):
    run = Soak(target, tokens, seed)
    run.prepare()
    files = target.files()
    run.end = time.time() + seconds
    threads = [threading.Thread(target=run.honest, args=(i,)) for i in range(honest)]
    threads += [threading.Thread(target=run.wild, args=(i,)) for i in range(wild)]
    for thread in threads:
        thread.start()
    memory = []
    while time.time() < run.end:
        memory.append(target.resident())
        time.sleep(min(1.0, seconds / 40))
    for thread in threads:
        thread.join()
    idle_again = target.wait_until_idle()
    quarter = max(1, len(memory) // 4)
    return {"seconds": seconds, **run.counts, "losses": run.losses,
            "resident_second_quarter": max(memory[quarter:2 * quarter] or memory),
            "resident_last_quarter": max(memory[-quarter:]), "resident_at_end": target.resident(),
            "running_at_end": 0 if idle_again else target.load()["running"],
            "files_at_begin": files, "files_at_end": target.files()}


# Overload

class Overload:
    """Requests at a steady rate, each on a connection of its own, however many are still open."""

    def __init__(self, target, tokens):
        self.target = target
        data = json.dumps({"model": target.model, "prompt": "abc de", "max_tokens": tokens, "ignore_eos": True}).encode()
        head = "".join(f"{name}: {value}\r\n" for name, value in target.headers().items())
        self.request = (f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{head}"
                        f"Content-Length: {len(data)}\r\n\r\n").encode() + data
        self.answered = self.other = 0
        self.refusals = []  # seconds
        self.stopping = False

    async def ask(self):
        begun = time.perf_counter()
        try:
            reader, writer = await asyncio.open_connection(self.target.host, self.target.port)
            writer.write(self.request)
            status = int((await reader.readline()).split()[1])
            if status in (429, 503):
                self.refusals.append(time.perf_counter() - begun)
            await reader.read()
            self.answered += status == 200
            self.other += status not in (200, 429, 503)
            writer.close()
        except (OSError, IndexError, ValueError):
            self.other += 1

    async def closed(self):
        while not self.stopping:
            await self.ask()

    async def measure(self, seconds):
        """Tokens a second that the server writes."""
        loop = asyncio.get_running_loop()
        begin, at = await loop.run_in_executor(None, self.target.load), time.perf_counter()
        await asyncio.sleep(seconds)
        end = await loop.run_in_executor(None, self.target.load)
        return (end["generated_tokens"] - begin["generated_tokens"]) / (time.perf_counter() - at)

    async def peak(self, clients, seconds):
        tasks = [asyncio.create_task(self.closed()) for _ in range(clients)]
        await asyncio.sleep(seconds / 4)
        before = self.answered
        begun = time.perf_counter()
        speed = await self.measure(seconds)
        rate = (self.answered - before) / (time.perf_counter() - begun)
        self.stopping = True
        await asyncio.gather(*tasks)
        return speed, rate

    async def flood(self, rate, seconds):
        tasks = set()
        end = time.perf_counter() + seconds * 1.25

        async def spawn():
            due = time.perf_counter()
            while time.perf_counter() < end:
                task = asyncio.create_task(self.ask())
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                due += 1 / rate
                await asyncio.sleep(max(0, due - time.perf_counter()))

        spawning = asyncio.create_task(spawn())
        await asyncio.sleep(seconds / 4)
        speed = await self.measure(seconds)
        await spawning
        await asyncio.gather(*list(tasks))
        return speed


def overload(target, seconds=30.0, tokens=64, running=16, factor=10, most_rate=500):
    raise_file_limit()
    quiet = Overload(target, tokens)
    peak, rate = asyncio.run(quiet.peak(running * 2, seconds))
    target.wait_until_idle()
    loud = Overload(target, tokens)
    offered = min(rate * factor, most_rate)  # more is beyond a client in Python
    speed = asyncio.run(loud.flood(offered, seconds))
    refusals = sorted(loud.refusals) or [0.0]
    return {"peak_tokens_a_second": round(peak, 1), "tokens_a_second": round(speed, 1),
            "goodput": round(speed / peak, 3) if peak else 0, "offered_times_capacity": round(offered / rate, 1) if rate else 0,
            "offered_a_second": round(offered, 1), "answered": loud.answered, "refused": len(loud.refusals),
            "other_answers": loud.other + quiet.other,
            "refusal_ms_median": round(statistics.median(refusals) * 1000, 2),
            "refusal_ms_99": round(refusals[int(len(refusals) * 0.99)] * 1000, 2),
            "refusal_ms_max": round(refusals[-1] * 1000, 2)}


# What the server adds to `conclave run`

def latency(target, conclave, model, threads, tokens=200, repeats=7):
    prompt = "Once upon a time there was a"
    ours, theirs, first, outside = [], [], [], []
    for i in range(repeats):
        before = target.load()["step_seconds"]
        begun = time.perf_counter()
        status, text = target.request("POST", "/v1/completions", {
            "model": target.model, "prompt": prompt, "max_tokens": tokens, "ignore_eos": True, "seed": i,
            "temperature": 0.8})
        ours.append(time.perf_counter() - begun)
        outside.append(ours[-1] / (target.load()["step_seconds"] - before) - 1)
        done = subprocess.run([conclave, "run", model, "-p", prompt, "-n", str(tokens), "--ignore-eos", "--json",
                               "--temperature", "0.8", "--top-p", "1", "--top-k", "0", "--seed", str(i), "--threads",
                               str(threads)],
                              capture_output=True, check=True)
        run = json.loads(done.stdout)
        assert status == 200 and json.loads(text)["choices"][0]["text"] == run["text"], "the texts differ"
        theirs.append(run["prompt_tokens"] / run["prefill_tokens_per_second"]
                      + run["generated_tokens"] / run["decode_tokens_per_second"])
        begun = time.perf_counter()
        target.complete(prompt=prompt, max_tokens=1)
        first.append(time.perf_counter() - begun)
    ratios = [a / b for a, b in zip(ours, theirs)]
    return {"tokens": tokens, "server_seconds": round(statistics.median(ours), 4),
            "run_seconds": round(statistics.median(theirs), 4), "ratio_median": round(statistics.median(ratios), 4),
            "ratios": [round(r, 3) for r in ratios],
            "outside_steps": round(statistics.median(outside), 4), "first_token_ms": round(statistics.median(first) * 1000, 2)}


def routing(target, tokens=200, running=8):
    threads = [threading.Thread(target=target.complete, kwargs={"max_tokens": tokens, "seed": i, "n": 2})
               for i in range(running // 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = target.request("GET", "/metrics")[1]
    value = {name: float(re.search(rf"^conclave_{name}_seconds_total (\S+)$", text, re.M).group(1))
             for name in ("routing", "step")}
    return {"routing_seconds": value["routing"], "step_seconds": value["step"],
            "share": round(value["routing"] / value["step"], 5)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("conclave")
    parser.add_argument("model")
    parser.add_argument("load", choices=["idle", "soak", "overload", "latency", "routing"])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--connections", type=int, default=10000)
    parser.add_argument("--honest", type=int, default=4)
    parser.add_argument("--wild", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--running", type=int, default=16)
    parser.add_argument("--factor", type=float, default=10)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--serve", action="append", default=[], help="further argument of conclave serve, repeated: --serve=--read-seconds --serve=2")
    args = parser.parse_args()
    process = subprocess.Popen(
        [args.conclave, "serve", args.model, "--port", "0", "--threads", str(args.threads), "--no-log-requests",
         "--max-running", str(args.running), *args.serve], stdout=subprocess.PIPE)
    port = int(re.search(rb":(\d+)$", process.stdout.readline().strip()).group(1))
    target = Target("127.0.0.1", port, None, process.pid)
    try:
        if args.load == "idle":
            result = idle(target, args.connections, args.seconds or 5)
        elif args.load == "soak":
            result = soak(target, args.honest, args.wild, args.seconds or 600, args.tokens)
        elif args.load == "overload":
            result = overload(target, args.seconds or 30, args.tokens, args.running, args.factor)
        elif args.load == "latency":
            result = latency(target, args.conclave, args.model, args.threads, args.tokens, args.repeats)
        else:
            result = routing(target, args.tokens)
        target.wait_until_idle()
    finally:
        process.terminate()
        code = process.wait(60)
    print(json.dumps({"load": args.load, **result, "exit_code": code}, indent=1))


if __name__ == "__main__":
    main()
