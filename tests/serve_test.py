#!/usr/bin/env python3
"""The server as its clients meet it: python3 tests/serve_test.py PATH_OF_CONCLAVE. A tiny model is
trained once and served; answers, streams, errors, hostile requests, clients that leave, the drain."""

import http.client
import json
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

CONCLAVE = ""
TINY = ["model.width=24", "model.layers=2", "model.heads=2", "model.kv_heads=1", "model.head_dim=8",
        "model.context=512", "model.experts=4", "model.expert_width=20", "data.vocab_size=300",
        "train.sequence=32", "train.batch=4", "optimizer.warmup_steps=2", "eval.every=0",
        "checkpoint.every=0", "train.steps=8"]


def wait_until(condition, what, seconds=30):
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, f"not within {seconds} s: {what}"
        time.sleep(0.01)


class Server:
    """A running `conclave serve` and the requests that tests make."""

    def __init__(self, model, *args):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [CONCLAVE, "serve", str(model), "--port", "0", "--threads", "1", "--model-name", "tiny", *args],
            stdout=subprocess.PIPE, stderr=self.log)
        line = self.process.stdout.readline().decode()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        assert found, line + self.errors()
        self.port = int(found.group(1))

    def errors(self):
        if self.log.closed:
            return self.text
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def request(self, method, path, body=None, **headers):
        connection = self.connect()
        data = body if body is None or isinstance(body, (bytes, str)) else json.dumps(body)
        connection.request(method, path, data, headers)
        response = connection.getresponse()
        response.text = response.read().decode()
        connection.close()
        return response

    def post(self, path, body, **headers):
        response = self.request("POST", path, body, **headers)
        response.json = json.loads(response.text)
        return response

    def complete(self, **fields):
        body = {"model": "tiny", "prompt": "abc de", "max_tokens": 8, "seed": 1, "ignore_eos": True, **fields}
        return self.post("/v1/completions", body)

    def stream(self, path, body):
        response = self.request("POST", path, {**body, "stream": True})
        events = [line[6:] for line in response.text.split("\n") if line.startswith("data: ")]
        return response, events

    def metric(self, name):
        text = self.request("GET", "/metrics").text
        return float(re.search(rf"^{name} (\S+)$", text, re.M).group(1))

    def raw(self, data, seconds=5):
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            connection.sendall(data)
            got = b""
            try:
                while chunk := connection.recv(65536):
                    got += chunk
            except (ConnectionResetError, TimeoutError):
                pass
            return got

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self.process.stdout.close()
        self.log.seek(0)
        self.text = self.log.read().decode(errors="replace")
        self.log.close()
        return code


def tiny_model(folder):
    """A model trained for a moment, and its path."""
    rng = random.Random(1)
    words = ("".join(rng.choices("abcdefgh", k=rng.randint(2, 6))) for _ in range(4000))
    (folder / "low.txt").write_text(" ".join(words))
    args = [CONCLAVE, "train", "--out", str(folder / "model"), "--quiet", "--data", f"low={folder}/low.txt"]
    for key in TINY:
        args += ["--set", key]
    done = subprocess.run(args, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    return folder / "model"


class Serve(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="conclave-serve-")
        folder = pathlib.Path(cls.temporary.name)
        cls.model = tiny_model(folder)
        cls.server = Server(cls.model)

    @classmethod
    def tearDownClass(cls):
        code, log = cls.server.stop(), cls.server.errors()
        cls.temporary.cleanup()
        assert code == 0, log
        assert "abc de" not in log, "prompt text in the log"

    def started(self, *args):
        server = Server(self.model, *args)
        self.addCleanup(lambda: server.process.poll() is None and server.process.kill())
        return server

    def assert_refused(self, response, status, code=None, param=None):
        self.assertEqual(response.status, status, response.text)
        error = json.loads(response.text)["error"]
        self.assertTrue(error["message"])
        if code is not None:
            self.assertEqual(error["code"], code)
        if param is not None:
            self.assertEqual(error["param"], param)

    # Answers

    def test_health_version_models(self):
        for path in ("/livez", "/readyz"):
            self.assertEqual(self.server.request("GET", path).status, 200)
        self.assertIn("version", json.loads(self.server.request("GET", "/version").text))
        models = json.loads(self.server.request("GET", "/v1/models").text)
        self.assertEqual(models["data"][0]["id"], "tiny")
        self.assertEqual(models["data"][0]["max_model_len"], 512)
        one = self.server.request("GET", "/v1/models/t%69ny")
        self.assertEqual(json.loads(one.text), models["data"][0])
        for name in ("other", "%", "tiny%2", "tiny/", "%74%69%6e%79%00"):
            self.assert_refused(self.server.request("GET", "/v1/models/" + name), 404, "model_not_found")
        self.assert_refused(self.server.request("GET", "/v1/models/"), 404, "unknown_url")

    def test_head(self):
        head, get = self.server.request("HEAD", "/v1/models"), self.server.request("GET", "/v1/models")
        self.assertEqual((head.status, head.text), (200, ""))
        self.assertEqual(head.getheader("Content-Length"), get.getheader("Content-Length"))
        both = self.server.raw(b"HEAD /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
                               b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        self.assertEqual((both.count(b"HTTP/1.1 200"), both.count(b"ok\n")), (2, 1))

    def test_completion_is_what_run_says(self):
        answer = self.server.complete(temperature=0).json
        self.assertEqual(answer["object"], "text_completion")
        self.assertEqual(answer["choices"][0]["finish_reason"], "length")
        self.assertEqual(answer["usage"]["completion_tokens"], 8)
        self.assertEqual(answer["usage"]["total_tokens"], answer["usage"]["prompt_tokens"] + 8)
        for more in ({"temperature": 0}, {"temperature": 1.0, "top_p": 0.9, "top_k": 50, "seed": 5}):
            text = self.server.complete(**more).json["choices"][0]["text"]
            run = subprocess.run(
                [CONCLAVE, "run", str(self.model), "-p", "abc de", "-n", "8", "--ignore-eos", "--json",
                 "--temperature", str(more["temperature"]), "--top-p", str(more.get("top_p", 1)),
                 "--top-k", str(more.get("top_k", 0)), "--seed", str(more.get("seed", 1))],
                capture_output=True, timeout=60)
            self.assertEqual(json.loads(run.stdout)["text"], text)

    def test_chat(self):
        body = {"model": "tiny", "messages": [{"role": "user", "content": "abc"}], "max_tokens": 4}
        answer = self.server.post("/v1/chat/completions", body).json
        self.assertEqual(answer["object"], "chat.completion")
        self.assertEqual(answer["choices"][0]["message"]["role"], "assistant")
        parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "bc"}]
        same = {**body, "messages": [{"role": "user", "content": parts}]}
        self.assertEqual(self.server.post("/v1/chat/completions", same).json["usage"]["prompt_tokens"],
                         answer["usage"]["prompt_tokens"])

    def test_streams_say_the_same(self):
        whole = self.server.complete(max_tokens=20).json
        body = {"model": "tiny", "prompt": "abc de", "max_tokens": 20, "seed": 1, "ignore_eos": True,
                "stream_options": {"include_usage": True}}
        response, events = self.server.stream("/v1/completions", body)
        self.assertTrue(response.getheader("Content-Type").startswith("text/event-stream"))
        self.assertEqual(events[-1], "[DONE]")
        chunks = [json.loads(e) for e in events[:-1]]
        self.assertEqual("".join(c["choices"][0]["text"] for c in chunks[:-1]),
                         whole["choices"][0]["text"])
        self.assertEqual(chunks[-1]["usage"], whole["usage"])
        self.assertEqual(chunks[-2]["choices"][0]["finish_reason"], "length")

    def test_chat_stream(self):
        body = {"model": "tiny", "messages": [{"role": "user", "content": "abc"}], "max_tokens": 9, "seed": 2, "n": 3}
        whole = self.server.post("/v1/chat/completions", body).json
        _, events = self.server.stream("/v1/chat/completions", body)
        texts, roles, ends = ["", "", ""], [0, 0, 0], [None] * 3
        for event in events[:-1]:
            choice = json.loads(event)["choices"][0]
            texts[choice["index"]] += choice["delta"].get("content", "")
            roles[choice["index"]] += "role" in choice["delta"]
            ends[choice["index"]] = choice["finish_reason"] or ends[choice["index"]]
        self.assertEqual(texts, [c["message"]["content"] for c in whole["choices"]])
        self.assertEqual(ends, [c["finish_reason"] for c in whole["choices"]])
        self.assertEqual(roles, [1, 1, 1])
        self.assertGreater(len(set(texts)), 1)

    def test_stop(self):
        text = self.server.complete(max_tokens=40).json["choices"][0]["text"]
        stop = text[5:7]
        choice = self.server.complete(max_tokens=40, stop=[stop]).json["choices"][0]
        self.assertEqual(choice["text"], text[:text.index(stop)])
        self.assertEqual(choice["finish_reason"], "stop")

    def test_logprobs(self):
        found = self.server.complete(logprobs=3).json["choices"][0]["logprobs"]
        for key in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
            self.assertEqual(len(found[key]), 8)
        self.assertTrue(all(p <= 0 for p in found["token_logprobs"]))
        body = {"model": "tiny", "messages": [{"role": "user", "content": "abc"}], "max_tokens": 3, "logprobs": True,
                "top_logprobs": 2, "temperature": 0}
        content = self.server.post("/v1/chat/completions", body).json["choices"][0]["logprobs"]["content"]
        for token in content:
            self.assertEqual(token["token"], token["top_logprobs"][0]["token"])
            self.assertEqual(len(token["top_logprobs"]), 2)

    def test_logit_bias_and_token_prompts(self):
        answer = self.server.complete(temperature=0, logit_bias={"65": 100}).json
        text = answer["choices"][0]["text"]
        self.assertEqual(text, text[:1] * len(text))
        ids = self.server.post("/tokenize", {"prompt": "abc de"}).json["tokens"]
        self.assertEqual(self.server.complete(prompt=ids).json["choices"][0]["text"],
                         self.server.complete().json["choices"][0]["text"])
        both = self.server.complete(prompt=["abc de", ids]).json
        self.assertEqual(both["choices"][0]["text"], both["choices"][1]["text"])
        self.assertEqual(both["usage"]["prompt_tokens"], 2 * len(ids))

    def test_tokens_there_and_back(self):
        ids = self.server.post("/tokenize", {"content": "abc \u00e9", "add_special_tokens": False}).json["tokens"]
        self.assertEqual(self.server.post("/detokenize", {"tokens": ids}).json["content"], "abc \u00e9")
        chat = self.server.post("/tokenize", {"messages": [{"role": "user", "content": "abc"}]}).json
        self.assertEqual(chat["count"], len(chat["tokens"]))

    def test_cached_tokens(self):
        prompt, counts = "hgf edc " * 8, []
        for text, n in ((prompt, 1), (prompt, 1), (prompt + "abc", 3), ("dcb " + prompt, 3)):
            usage = self.server.complete(prompt=text, n=n).json["usage"]
            counts.append((usage["prompt_tokens_details"]["cached_tokens"], usage["prompt_tokens"]))
        length = counts[0][1]
        self.assertGreater(length, 32)
        self.assertEqual([cached for cached, _ in counts[:2]], [0, length - 1])
        self.assertIn(counts[2][0], range(32, length + 1))  # tokens may join where the text goes on
        self.assertEqual(counts[3][0], 0)  # read once for all three

    def test_routing(self):
        answer = self.server.complete(routing=True).json
        layers, tokens = answer["routing_layers"], answer["choices"][0]["routing"]
        width = sum(layer["k"] for layer in layers)
        self.assertEqual([layer["layer"] for layer in layers], [0, 1])
        self.assertEqual(len(tokens), 8)
        for token in tokens:
            self.assertEqual((len(token["experts"]), len(token["weights"])), (width, width))
            self.assertTrue(all(0 <= e < 4 for e in token["experts"]))
        _, events = self.server.stream("/v1/completions", {"model": "tiny", "prompt": "abc de", "max_tokens": 8, "seed": 1,
                                                           "ignore_eos": True, "routing": True})
        streamed = [t for e in events[:-1] for t in json.loads(e)["choices"][0].get("routing", [])]
        self.assertEqual(streamed, tokens)
        self.assertIn("routing_layers", json.loads(events[0]))
        statistics = json.loads(self.server.request("GET", "/v1/routing").text)
        self.assertGreater(statistics["layers"][0]["tokens"], 0)
        self.assertNotIn("routing", self.server.complete().json["choices"][0])

    def test_metrics_and_request_ids(self):
        before = self.server.metric("conclave_generated_tokens_total")
        response = self.server.request("POST", "/v1/completions", {"model": "tiny", "prompt": "a", "max_tokens": 5,
                                                                   "ignore_eos": True},
                                       **{"X-Request-Id": "my-id.7"})
        self.assertEqual(response.getheader("X-Request-Id"), "my-id.7")
        self.assertEqual(self.server.metric("conclave_generated_tokens_total"), before + 5)
        response = self.server.request("GET", "/livez", **{"X-Request-Id": "a b"})
        self.assertRegex(response.getheader("X-Request-Id"), r"^req-[0-9a-f]+$")

    def test_same_text_alone_and_in_company(self):
        alone = [self.server.complete(seed=i, max_tokens=30).text for i in range(6)]
        texts = [None] * 6

        def ask(i):
            texts[i] = self.server.complete(seed=i, max_tokens=30).text

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for a, b in zip(alone, texts):
            self.assertEqual(json.loads(a)["choices"], json.loads(b)["choices"])

    # Refusals

    def test_every_number_field_with_hostile_values(self):
        fields = ("max_tokens", "temperature", "top_p", "top_k", "min_p", "typical_p", "n", "seed",
                  "presence_penalty", "frequency_penalty", "repetition_penalty", "logprobs", "best_of")
        values = (-1, -2**31, -2**63, 2**31, 2**63, 2**64, 10**30, 1e308, -1e308, 5e-324, 1.5, "NaN", "1",
                  [], {}, [1], True, False)
        statuses = set()
        for field in fields:
            for value in values:
                response = self.server.complete(**{"max_tokens": 1, field: value})
                self.assertIn(response.status, (200, 400), (field, value))
                statuses.add(response.status)
                if response.status == 400:
                    self.assertTrue(response.json["error"]["param"], (field, value, response.text))
        self.assertEqual(statuses, {200, 400})

    def test_wrong_fields(self):
        post = self.server.post
        self.assert_refused(post("/v1/completions", {"prompt": "a", "model": "other"}), 404, "model_not_found")
        self.assert_refused(post("/v1/completions", {}), 400, param="prompt")
        for path, body in (("/v1/completions", {"prompt": "a"}), ("/v1/embeddings", {"input": "a", "model": None}),
                           ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]})):
            self.assert_refused(post(path, body), 400, param="model")
        self.assert_refused(post("/v1/completions", {"model": "tiny", "prompt": [10**6]}), 400)
        self.assert_refused(post("/v1/completions", {"model": "tiny", "prompt": ["a"] * 1000}), 400)
        self.assert_refused(post("/v1/completions", {"model": "tiny", "prompt": "a", "max_tokens": 600}), 400,
                            "context_length_exceeded")
        self.assert_refused(post("/v1/completions", {"model": "tiny", "prompt": "abc " * 3000}), 400, "context_length_exceeded")
        self.assert_refused(post("/v1/completions", {"model": "tiny", "prompt": "a", "logit_bias": {"x": 1}}), 400, param="logit_bias")
        self.assert_refused(post("/v1/completions", {"model": "tiny", "prompt": "a", "stop": [""]}), 400, param="stop")
        self.assert_refused(post("/v1/chat/completions", {"model": "tiny", "messages": []}), 400, param="messages")
        for content in (7, [{"type": "image_url"}], ["a"], {"a": 1}):
            body = {"model": "tiny", "messages": [{"role": "user", "content": content}]}
            self.assert_refused(post("/v1/chat/completions", body), 400, param="messages[0].content")
        self.assert_refused(post("/v1/chat/completions", {"model": "tiny", "messages": [{"role": "user", "content": "a"}],
                                                          "functions": [{}]}), 400, "unsupported_parameter")

    def test_field_names(self):
        post, user = self.server.post, [{"role": "user", "content": "a"}]

        def chat(**fields):
            return post("/v1/chat/completions", {"model": "tiny", "messages": user, "max_tokens": 1, **fields})

        for answer in (chat(min_tokens=1), self.server.complete(min_tokens=None), self.server.complete(messages=user),
                       post("/v1/embeddings", {"model": "tiny", "input": "a", "min_tokens": 1}), chat(prompt="a"),
                       post("/tokenize", {"prompt": "a", "min_tokens": 1}), chat(stream_options={"usage": True}),
                       post("/detokenize", {"tokens": [65], "min_tokens": 1})):
            self.assert_refused(answer, 400, "unknown_parameter")
            self.assertIn("Unrecognized request argument", answer.json["error"]["message"])
        self.assertIn("max_tokens", chat(max_token=1).json["error"]["message"])
        harmless = {"user": "u", "metadata": {"a": "b"}, "store": True, "service_tier": "auto", "prompt_cache_key": "k",
                    "safety_identifier": "s", "parallel_tool_calls": True, "modalities": ["text"], "verbosity": "medium",
                    "prediction": {"type": "content", "content": "a"}, "audio": None, "function_call": "none",
                    "functions": [], "reasoning_effort": "low", "stream_options": {"include_obfuscation": False}}
        self.assertEqual(chat(**harmless).status, 200)
        for name, value in (("audio", {"voice": "x"}), ("modalities", ["text", "audio"]), ("verbosity", "low"),
                            ("function_call", {"name": "f"}), ("functions", [{}]), ("web_search_options", {})):
            self.assert_refused(chat(**{name: value}), 400, "unsupported_parameter", name)
        for name, value in (("echo", True), ("suffix", "a"), ("best_of", 2)):
            self.assert_refused(self.server.complete(**{name: value}), 400, "unsupported_parameter", name)
        self.assert_refused(chat(reasoning_effort="much"), 400, param="reasoning_effort")

    def test_openapi(self):
        text = self.server.request("GET", "/openapi.json").text
        description = json.loads(text)
        schemas = description["components"]["schemas"]
        for name in re.findall(r'"#/components/schemas/([A-Za-z]+)"', text):
            self.assertIn(name, schemas)
        bodies = {}
        for path, methods in description["paths"].items():
            (method, operation), = methods.items()
            other = self.server.request("DELETE", path.replace("{model}", "tiny"))
            self.assert_refused(other, 405, "method_not_allowed")
            self.assertEqual(other.getheader("Allow"), method.upper())
            if method == "post":
                bodies[path] = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].split("/")[-1]
        # What it lists is all that is taken: the server's own list has no further names.
        source = (pathlib.Path(__file__).parent.parent / "src" / "serve" / "request_fields.cc").read_text()
        listed = set(re.findall(r'"(\w+)"', source[source.index("names_of("):source.index("What would change")]))
        self.assertEqual(set().union(*(schemas[s]["properties"] for s in bodies.values())), listed)
        for path, schema in bodies.items():
            for name in listed:
                code = self.server.post(path, {name: None}).json["error"]["code"]  # no body is complete with it
                self.assertEqual(code != "unknown_parameter", name in schemas[schema]["properties"], (path, name))

    def test_messages(self):
        def chat(*messages):
            return self.server.post("/v1/chat/completions", {"model": "tiny", "messages": list(messages), "max_tokens": 1})

        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        talk = [{"role": "developer", "content": "a"}, {"role": "user", "content": "b"},
                {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c", "content": "d"},
                {"role": "assistant", "function_call": call["function"]}, {"role": "function", "name": "f", "content": "d"},
                {"role": "assistant", "content": None, "refusal": "no"}, {"role": "user", "content": "e"}]
        self.assertEqual(chat(*talk).status, 200)
        for message, field in (({"role": "robot", "content": "a"}, "role"), ({"content": "a"}, "role"),
                               ({"role": 1, "content": "a"}, "role"), ({"role": "user"}, "content"),
                               ({"role": "user", "content": None}, "content"), ({"role": "user", "content": []}, "content"),
                               ({"role": "assistant", "content": None, "tool_calls": []}, "content"),
                               ({"role": "assistant", "tool_calls": "f"}, "tool_calls"),
                               ({"role": "assistant", "tool_calls": [1]}, "tool_calls[0]"),
                               ({"role": "assistant", "tool_calls": [{**call, "type": "web"}]}, "tool_calls[0].type"),
                               ({"role": "assistant", "tool_calls": [call, {"function": {"name": 3}}]},
                                "tool_calls[1].function.name"),
                               ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": [1]}}]},
                                "tool_calls[0].function.arguments"),
                               ({"role": "assistant", "function_call": "f"}, "function_call")):
            self.assert_refused(chat({"role": "user", "content": "a"}, message), 400, param="messages[1]." + field)

    def test_token_ids_and_empty_inputs(self):
        post = self.server.post
        for path, field in (("/v1/completions", "prompt"), ("/v1/embeddings", "input"), ("/detokenize", "tokens")):
            for ids in ([10**6], [-1], [2**40]):
                self.assert_refused(post(path, {"model": "tiny", field: ids}), 400, param=field)
        for value in ("", [""], ["a", ""], [[]]):
            self.assert_refused(post("/v1/embeddings", {"model": "tiny", "input": value}), 400, param="input")
        for path, field in (("/v1/completions", "prompt"), ("/v1/embeddings", "input"),
                            ("/v1/chat/completions", "messages")):
            answer = post(path, {field: []})
            self.assert_refused(answer, 400, param=field)
            self.assertIn("an empty list", answer.json["error"]["message"])
        self.assertEqual(self.server.complete(prompt="").status, 200)

    def test_too_long_in_the_words_that_clients_know(self):
        words = r"maximum context length is 512 tokens. However, you requested (\d+) tokens \((\d+) in the prompt, (\d+) in"
        for wanted in (600, 2**31, 2**62, 2**63 - 1):
            answer = self.server.complete(max_tokens=wanted)
            self.assert_refused(answer, 400, "context_length_exceeded", "prompt")
            both, prompt, rest = map(int, re.search(words, answer.json["error"]["message"]).groups())
            self.assertEqual((both, rest), (prompt + wanted, wanted))

    def test_bodies_that_are_no_request(self):
        for body in ("", "{", "[]", "null", '{"model": "tiny", "prompt": "a"} x', "\xff", '{"model": "tiny", "prompt": NaN}',
                     "[" * 100000, '{"a":' * 5000, '{"model": "tiny", "prompt": "a", "prompt": "b"}'):
            data = body.encode("latin-1")
            self.assert_refused(self.server.request("POST", "/v1/completions", data), 400)

    def test_paths_and_methods(self):
        self.assert_refused(self.server.request("GET", "/v1/nothing"), 404)
        wrong = self.server.request("GET", "/v1/completions")
        self.assert_refused(wrong, 405, "method_not_allowed")
        self.assertEqual(wrong.getheader("Allow"), "POST")
        self.assertIn("takes POST, not GET", wrong.text)
        self.assert_refused(self.server.request("OPTIONS", "/v1/completions"), 405)
        response = self.server.request("GET", "/livez", Origin="http://localhost:1")
        self.assertIsNone(response.getheader("Access-Control-Allow-Origin"))

    def test_hosts_and_origins(self):
        for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil", "[::2]", ""):
            self.assertIn(self.server.request("GET", "/livez", Host=host).status, (400, 403), host)
        for host in ("localhost", "LOCALHOST:99", "127.0.0.1:1", "[::1]:8080"):
            self.assertEqual(self.server.request("GET", "/livez", Host=host).status, 200, host)
        for origin in ("http://evil.example", "null", "https://localhost.evil", "x"):
            self.assertEqual(self.server.request("GET", "/livez", Origin=origin).status, 403, origin)
        self.assertTrue(self.server.raw(b"GET /livez HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400"))
        twice = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n"
        self.assertTrue(self.server.raw(twice).startswith(b"HTTP/1.1 400"))

    def test_bytes_that_are_no_http(self):
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
        bad = [b"\0" * 100 + b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
               head + b"Content-Length: -1\r\n\r\n", head + b"Content-Length: 99999999999999999999\r\n\r\n",
               head + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
               head + b"Transfer-Encoding: chunked\r\n\r\n-2\r\nab\r\n",
               head + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nab\r\n",
               head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"]
        for data in bad:
            self.assertRegex(self.server.raw(data), rb"^(HTTP/1\.[01] (4\d\d|505) |$)", data)
        big = head + b"X: " + b"a" * 200000 + b"\r\n\r\n"
        self.assertRegex(self.server.raw(big), rb"^(HTTP/1.1 431 |$)")
        many = head + b"".join(b"X%d: a\r\n" % i for i in range(5000)) + b"\r\n"
        self.assertRegex(self.server.raw(many), rb"^(HTTP/1.1 431 |$)")
        large = head + b"Content-Length: 9000000\r\n\r\n"
        self.assertTrue(self.server.raw(large).startswith(b"HTTP/1.1 413 "))
        chunks = head + b"Transfer-Encoding: chunked\r\n\r\n" + (b"100000\r\n" + b"a" * 0x100000 + b"\r\n") * 9
        try:
            self.assertRegex(self.server.raw(chunks), rb"^(HTTP/1.1 413 |$)")
        except (BrokenPipeError, ConnectionResetError):
            pass
        self.assertEqual(self.server.request("GET", "/readyz").status, 200)

    def test_random_bytes(self):
        rng = random.Random(3)
        body = b'{"model": "tiny", "prompt":"a","max_tokens": 1}'
        good = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        self.assertTrue(self.server.raw(good.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
                        .startswith(b"HTTP/1.1 200 "))
        for _ in range(200):
            data = bytearray(good)
            for _ in range(rng.randint(1, 4)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            with socket.create_connection(("127.0.0.1", self.server.port), timeout=5) as connection:
                connection.sendall(data[:rng.randint(1, len(data))])
                connection.shutdown(socket.SHUT_WR)
        self.assertEqual(self.server.complete().status, 200)

    # Connections

    def test_keep_alive_and_pipelined_requests(self):
        connection = self.server.connect()
        for _ in range(3):
            connection.request("GET", "/livez")
            self.assertEqual(connection.getresponse().read(), b"ok\n")
        connection.close()
        one = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
        last = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        self.assertEqual(self.server.raw(one * 4 + last).count(b"HTTP/1.1 200"), 5)

    def test_old_http_gets_streams_without_chunks(self):
        body = b'{"model": "tiny", "prompt":"a","max_tokens":3,"stream":true,"ignore_eos":true}'
        got = self.server.raw(b"POST /v1/completions HTTP/1.0\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s"
                              % (len(body), body))
        self.assertNotIn(b"chunked", got)
        self.assertTrue(got.endswith(b"data: [DONE]\n\n"))

    def test_a_client_that_leaves_stops_costing(self):
        server = self.started("--context", "100000")
        body = json.dumps({"model": "tiny", "prompt": "a", "max_tokens": 500, "ignore_eos": True, "n": 16, "stream": True})
        for stream in (True, False):
            cancelled = server.metric("conclave_sequences_cancelled_total")
            connection = server.connect()
            connection.request("POST", "/v1/completions", body if stream else body.replace("true}", "false}"))
            if stream:
                response = connection.getresponse()
                response.read(100)
            else:
                wait_until(lambda: server.metric("conclave_sequences_running") > 0, "it runs")
            if stream:
                response.close()
            connection.close()
            wait_until(lambda: server.metric("conclave_sequences_running") == 0, "it has ended")
            self.assertGreater(server.metric("conclave_sequences_cancelled_total"), cancelled)
        self.assertEqual(server.stop(), 0)

    def test_slow_clients_are_cut(self):
        server = self.started("--header-seconds", "0.5", "--read-seconds", "0.5", "--idle-seconds", "0.5")
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30\r\n"
        for data in (b"", b"POST /v1", head, head + b"\r\n{"):
            begun = time.time()
            self.assertEqual(server.raw(data, 10), b"")
            self.assertLess(time.time() - begun, 5)
        self.assertEqual(server.stop(), 0)

    def test_overload_is_refused_and_the_rest_is_served(self):
        server = self.started("--max-running", "1", "--max-queued", "2")
        statuses, headers = [], []

        def ask(i):
            response = server.request("POST", "/v1/completions", {"model": "tiny", "prompt": "abc", "max_tokens": 100,
                                                                  "ignore_eos": True, "seed": i})
            statuses.append(response.status)
            if response.status == 503:
                headers.append((response.getheader("Retry-After"), json.loads(response.text)["error"]["code"]))

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(set(statuses), {200, 503})
        for seconds, code in headers:
            self.assertGreaterEqual(int(seconds), 1)
            self.assertEqual(code, "server_is_overloaded")
        self.assertEqual(server.stop(), 0)

    def test_deadline(self):
        response = self.server.request("POST", "/v1/completions", {"model": "tiny", "prompt": "a", "max_tokens": 500,
                                                                   "ignore_eos": True, "n": 16},
                                       **{"X-Request-Timeout": "0.01"})
        self.assert_refused(response, 503, "deadline_exceeded")
        self.assertEqual(self.server.request("POST", "/v1/completions", {"model": "tiny", "prompt": "a"},
                                             **{"X-Request-Timeout": "soon"}).status, 400)

    def test_drain(self):
        server = self.started()
        got = []
        body = {"model": "tiny", "prompt": "a", "max_tokens": 500, "ignore_eos": True, "n": 16}
        thread = threading.Thread(target=lambda: got.append(server.post("/v1/completions", body)))
        thread.start()
        wait_until(lambda: server.metric("conclave_sequences_running") > 0, "it runs")
        server.process.send_signal(signal.SIGTERM)
        try:
            end = time.time() + 10  # the signal takes as long as this machine likes
            while (ready := server.request("GET", "/readyz")).status == 200 and time.time() < end:
                time.sleep(0.01)
            self.assertEqual(ready.status, 503)
            self.assert_refused(server.request("POST", "/v1/completions", {"model": "tiny", "prompt": "a"}), 503,
                                "server_is_shutting_down")
            self.assertTrue(ready.getheader("Retry-After"))
        except OSError:
            self.assertIsNotNone(server.process.wait(10))  # it was that quick
        thread.join()
        self.assertEqual(got[0].status, 200)
        self.assertEqual(len(got[0].json["choices"]), 16)
        self.assertEqual(server.stop(), 0)

    def test_drain_that_takes_too_long_ends_with_an_error_event(self):
        server = self.started("--drain-seconds", "0")
        connection = server.connect()
        connection.request("POST", "/v1/completions", json.dumps(
            {"model": "tiny", "prompt": "a", "max_tokens": 500, "ignore_eos": True, "n": 16, "stream": True}))
        response = connection.getresponse()
        first = response.read(50)
        server.process.send_signal(signal.SIGTERM)
        rest = (first + response.read()).decode()
        connection.close()
        self.assertTrue("server_is_shutting_down" in rest or "[DONE]" in rest)
        self.assertEqual(server.stop(), 0)

    # Settings

    def test_keys(self):
        server = self.started("--api-key", "secret-key-1", "--api-key", "secret-key-2")
        self.assertEqual(server.request("GET", "/livez").status, 200)
        wrong = ["", "Bearer", "Bearer ", "Bearer wrong-key", "Bearer secret-key-", "Bearer secret-key-11",
                 "Basic secret-key-1", "Bearer SECRET-KEY-1", "secret-key-1", "Bearer " + "a" * 10000]
        for path in ("/v1/models", "/metrics", "/version", "/v1/routing", "/nothing"):
            self.assert_refused(server.request("GET", path), 401, "invalid_api_key")
            for value in wrong:
                self.assertEqual(server.request("GET", path, Authorization=value).status, 401, value)
        for key in ("secret-key-1", "secret-key-2"):
            self.assertEqual(server.request("GET", "/v1/models", Authorization=f"Bearer {key}").status, 200)
        twice = (b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer secret-key-1\r\n"
                 b"Authorization: Bearer secret-key-1\r\n\r\n")
        self.assertTrue(server.raw(twice).startswith(b"HTTP/1.1 401"))
        self.assertEqual(server.stop(), 0)
        self.assertNotIn("secret-key", server.errors())

    def test_settings(self):
        def serve(*args):
            done = subprocess.run([CONCLAVE, "serve", *map(str, args)], capture_output=True, timeout=60)
            return done.returncode, done.stderr.decode()

        code, text = serve(self.model, "--host", "0.0.0.0")
        self.assertEqual(code, 1)
        self.assertIn("API key", text)
        config = pathlib.Path(self.temporary.name) / "serve.toml"
        config.write_text('port = 0\nmax_queued = 3\napi_key = ["secret-key-9"]\n')
        self.assertEqual(serve(self.model, "--check", "--config", config)[0], 0)
        kept = {}
        for kind in ("f32", "q8_0"):
            config.write_text(f'dtype = "f32"\nkv_type = "{kind}"\n')
            server = Server(self.model, "--config", str(config))
            try:
                server.complete(prompt="a long enough prompt to be kept: " * 3)
                # It is kept when the step ends that the answer was sent in.
                wait_until(lambda: server.metric("conclave_kept_kv_cache_bytes") > 0, "a kept cache")
                kept[kind] = server.metric("conclave_kept_kv_cache_bytes")
            finally:
                server.stop()
        self.assertGreater(kept["f32"], 3 * kept["q8_0"])
        config.write_text("threads = 4000\npin = true\n")
        code, message = serve(self.model, "--check", "--config", config)
        self.assertEqual(code, 1)
        self.assertIn("threads cannot be bound", message.replace("4000 threads", "threads"))
        self.assertEqual(serve(self.model, "--check", "--config", config, "--threads", "1")[0], 0)
        for text, word in (("max_qeued = 3\n", "max_queued"), ("port = 70000\n", "65535"), ("port = \n", "line 1"),
                           ('dtype = "f16"\n', "one of auto, f32, bf16"), ("threads = 5000\n", "4096"),
                           ('host = 3\n', "string"), ('api_key = ["short"]\n', "8 or more")):
            config.write_text(text)
            code, message = serve(self.model, "--check", "--config", config)
            self.assertEqual(code, 1, text)
            self.assertIn(word, message)
        self.assertEqual(serve(self.model / "nothing", "--check")[0], 1)
        self.assertEqual(serve(self.model, "--port", "70000")[0], 2)
        self.assertEqual(serve(self.model, "--port", self.server.port)[0], 1)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: serve_test.py PATH_OF_CONCLAVE [test names]")
    CONCLAVE = str(pathlib.Path(sys.argv.pop(1)).resolve())
    unittest.main()
