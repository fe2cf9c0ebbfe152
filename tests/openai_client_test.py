#!/usr/bin/env python3
"""OpenAI's own Python client against the server: python3 tests/openai_client_test.py PATH_OF_CONCLAVE.
Exits with 77 where the package `openai` is absent; serve_test.py has the same bodies without it."""

import asyncio
import json
import pathlib
import sys
import threading
import time
import unittest

import serve_test

try:
    import openai
    import pydantic
except ImportError:
    print("the Python package openai is absent")
    sys.exit(77)

USER = [{"role": "user", "content": "abc"}]
TEMPLATE = "{# <tool_call> #}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"


class Point(pydantic.BaseModel):
    zeta: bool
    alpha: bool


class Client(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        serve_test.Serve.setUpClass.__func__(cls)
        (pathlib.Path(cls.model) / "chat_template.jinja").write_text(TEMPLATE)
        cls.plain, cls.server = cls.server, serve_test.Server(cls.model)
        cls.client = cls.client_of(cls.server)

    @classmethod
    def tearDownClass(cls):
        assert cls.server.stop() == 0 and cls.plain.stop() == 0
        cls.temporary.cleanup()

    @staticmethod
    def client_of(server, kind=openai.OpenAI, **more):
        return kind(base_url=f"http://127.0.0.1:{server.port}/v1", **{"api_key": "none", "timeout": 30, **more})

    def chat(self, **fields):
        return self.client.chat.completions.create(**{"model": "tiny", "messages": USER, "max_tokens": 9, "seed": 1,
                                                      **fields})

    def test_whole_and_streamed(self):
        whole = self.chat(n=2, logprobs=True, top_logprobs=2)
        texts, tokens, usage = ["", ""], [0, 0], None
        for chunk in self.chat(n=2, logprobs=True, top_logprobs=2, stream=True, stream_options={"include_usage": True}):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
                tokens[choice.index] += len(choice.logprobs.content) if choice.logprobs else 0
        self.assertEqual(texts, [choice.message.content for choice in whole.choices])
        self.assertEqual(tokens, [len(choice.logprobs.content) for choice in whole.choices])
        self.assertEqual(usage.total_tokens, whole.usage.total_tokens)
        self.assertEqual(self.chat(stop=texts[0][2]).choices[0].message.content, texts[0][:texts[0].index(texts[0][2])])
        words = self.client.completions.create(model="tiny", prompt=["ab", "cd"], max_tokens=4, n=2, logprobs=1)
        self.assertEqual(len(words.choices), 4)
        self.assertEqual([self.client.models.list().data[0].id, self.client.models.retrieve("tiny").id], ["tiny"] * 2)
        self.assertTrue(whole._request_id)

    def test_parsed_answers_and_tools(self):
        parsed = self.client.chat.completions.parse(model="tiny", messages=USER, max_tokens=200, response_format=Point)
        self.assertIsInstance(parsed.choices[0].message.parsed, Point)
        tools = [openai.pydantic_function_tool(Point, name="point")]
        named = {"type": "function", "function": {"name": "point"}}
        for choice in ("required", named):
            with self.client.chat.completions.stream(model="tiny", messages=USER, max_tokens=300, tools=tools, seed=1,
                                                     tool_choice=choice, parallel_tool_calls=False) as stream:
                kinds = [event.type for event in stream]
                call, = stream.get_final_completion().choices[0].message.tool_calls
            self.assertIsInstance(call.function.parsed_arguments, Point)
            self.assertGreater(kinds.count("tool_calls.function.arguments.delta"), 3)
        self.assertIsNone(self.chat(tools=tools, tool_choice="none").choices[0].message.tool_calls)

    def test_embeddings(self):  # the client asks for base64 and unpacks it
        packed = self.client.embeddings.create(model="tiny", input=["abc", "d"]).data
        plain = self.client.embeddings.create(model="tiny", input=["abc", "d"], encoding_format="float").data
        for a, b in zip(packed, plain):
            self.assertLess(max(abs(x - y) for x, y in zip(a.embedding, b.embedding)), 1e-7)

    def test_errors(self):
        for kind, code, fields in ((openai.NotFoundError, "model_not_found", {"model": "other"}),
                                   (openai.BadRequestError, "unknown_parameter", {"extra_body": {"top": 1}}),
                                   (openai.BadRequestError, None, {"temperature": 3}),
                                   (openai.BadRequestError, "context_length_exceeded", {"max_tokens": 600})):
            for stream in (False, True):
                with self.assertRaises(kind) as caught:
                    self.chat(stream=stream, **fields)
                self.assertEqual(caught.exception.code, code)
                self.assertTrue(caught.exception.param)

    def test_keys_limits_and_retries(self):
        server = serve_test.Server(self.model, "--api-key", "secret-key-1", "--client-requests", "1")
        try:
            body = {"model": "tiny", "messages": USER, "seed": 1}
            with self.assertRaises(openai.AuthenticationError) as caught:
                self.client_of(server).chat.completions.create(**body)
            self.assertEqual(caught.exception.code, "invalid_api_key")
            client = self.client_of(server, api_key="secret-key-1", max_retries=0)
            first = client.chat.completions.create(**body, max_tokens=480, stream=True, extra_body={"ignore_eos": True})
            chunks = iter(first)
            next(chunks)
            begun = time.time()
            with self.assertRaises(openai.RateLimitError):
                client.chat.completions.create(**body, max_tokens=1)
            self.assertLess(time.time() - begun, 5)
            # With retries it waits for the first one's end, as Retry-After says.
            rest = threading.Thread(target=lambda: [chunk for chunk in chunks])
            rest.start()
            patient = client.with_options(max_retries=8).chat.completions.create(**body, max_tokens=1)
            self.assertEqual(patient.usage.completion_tokens, 1)
            rest.join()
        finally:
            self.assertEqual(server.stop(), 0)

    def test_streams_that_are_cancelled(self):
        async def ask():
            client = self.client_of(self.server, openai.AsyncOpenAI)

            async def one(i):
                stream = await client.chat.completions.create(model="tiny", messages=USER, max_tokens=400, seed=i,
                                                              stream=True, extra_body={"ignore_eos": True})
                async for chunk in stream:
                    if i % 2:
                        await stream.close()
                        return None
                    reason = chunk.choices[0].finish_reason
                return reason

            cancelled = asyncio.create_task(one(0))
            ends = await asyncio.gather(*(one(i) for i in range(4)))
            cancelled.cancel()
            return ends

        self.assertEqual(asyncio.run(ask()), ["length", None, "length", None])
        end = time.time() + 10
        while self.server.metric("conclave_sequences_running") > 0 and time.time() < end:
            time.sleep(0.02)
        load = json.loads(self.server.request("GET", "/v1/status").text)["load"]
        self.assertEqual(load["running"], 0)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: openai_client_test.py PATH_OF_CONCLAVE [test names]")
    serve_test.CONCLAVE = str(pathlib.Path(sys.argv.pop(1)).resolve())
    unittest.main()
