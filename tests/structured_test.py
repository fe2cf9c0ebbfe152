#!/usr/bin/env python3
"""Structured output, tools and reasoning as clients meet them: python3 tests/structured_test.py
PATH_OF_CONCLAVE. The model is tiny and knows nothing, so whatever is right here is the server's doing."""

import base64
import json
import pathlib
import struct
import subprocess
import sys
import unittest

import serve_test

TEMPLATE = ("{% if tools %}<tools>{% for t in tools %}{{ t.function.name }}{% endfor %}</tools>{% endif %}"
            "{% for m in messages %}<{{ m.role }}>{{ m.content }}"
            "{% for c in m.tool_calls or [] %}<tool_call>\n{{ c.function.arguments.z }}</tool_call>{% endfor %}"
            "{% endfor %}")
POINT = {"type": "object", "properties": {"zeta": {"type": "integer", "minimum": 0, "maximum": 999},
                                          "alpha": {"enum": ["red", "gr\u00fcn", None]},
                                          "list": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
                                          "text": {"type": "string", "maxLength": 6}},
         "required": ["zeta", "alpha", "list", "text"], "additionalProperties": False}
TOOLS = [{"type": "function", "function": {"name": "set_point", "parameters": POINT}},
         {"type": "function", "function": {"name": "stop_now"}}]
USER = [{"role": "user", "content": "abc"}]


class Structured(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        serve_test.Serve.setUpClass.__func__(cls)
        (pathlib.Path(cls.model) / "chat_template.jinja").write_text(TEMPLATE)
        cls.plain = cls.server
        cls.server = serve_test.Server(cls.model)

    @classmethod
    def tearDownClass(cls):
        code = cls.server.stop()
        serve_test.Serve.tearDownClass.__func__(type("Plain", (), {"server": cls.plain, "temporary": cls.temporary}))
        assert code == 0, cls.server.errors()

    assert_refused = serve_test.Serve.assert_refused

    def chat(self, **fields):
        body = {"model": "tiny", "messages": USER, "max_tokens": 300, "seed": 1, "temperature": 1.5, **fields}
        return self.server.post("/v1/chat/completions", body)

    def assert_point(self, point):
        self.assertEqual(list(point), ["zeta", "alpha", "list", "text"])
        self.assertIn(point["zeta"], range(1000))
        self.assertIn(point["alpha"], POINT["properties"]["alpha"]["enum"])
        self.assertLessEqual(len(point["list"]), 3)
        self.assertTrue(all(item in (True, False) for item in point["list"]))
        self.assertLessEqual(len(point["text"]), 6)

    def test_schema(self):
        form = {"type": "json_schema", "json_schema": {"name": "point", "strict": True, "schema": POINT}}
        for seed in range(6):
            choice = self.chat(response_format=form, seed=seed).json["choices"][0]
            self.assertEqual(choice["finish_reason"], "stop", choice)
            self.assert_point(json.loads(choice["message"]["content"]))
        answer = self.plain.complete(response_format=form, max_tokens=300, ignore_eos=False).json
        self.assert_point(json.loads(answer["choices"][0]["text"]))
        several = self.chat(response_format=form, n=4).json["choices"]
        for choice in several:
            self.assert_point(json.loads(choice["message"]["content"]))

    def test_schema_in_a_stream_and_in_company(self):
        form = {"type": "json_schema", "json_schema": {"name": "point", "schema": POINT}}
        whole = self.chat(response_format=form).json["choices"][0]["message"]["content"]
        _, events = self.server.stream("/v1/chat/completions", {
            "model": "tiny", "messages": USER, "max_tokens": 300, "seed": 1, "temperature": 1.5, "response_format": form})
        deltas = [json.loads(e)["choices"][0]["delta"] for e in events[:-1]]
        self.assertEqual("".join(d.get("content") or "" for d in deltas), whole)

    def test_grammar_and_run(self):
        grammar = 'root ::= ("yes" | "no" [a-c]{2,4} "\u20ac") "."'
        text = self.chat(grammar=grammar).json["choices"][0]["message"]["content"]
        self.assertRegex(text, "^(yes|no[a-c]{2,4}\u20ac)\\.$")
        folder = pathlib.Path(self.temporary.name)
        (folder / "g.gbnf").write_text(grammar)
        (folder / "s.json").write_text(json.dumps(POINT))

        def run(*args):
            command = [serve_test.CONCLAVE, "run", str(self.model), "-p", "abc", "--json", "-n", "300", *args]
            done = subprocess.run(command, capture_output=True, timeout=60)
            return done.returncode, json.loads(done.stdout) if done.returncode == 0 else done.stderr.decode()

        code, answer = run("--grammar", folder / "g.gbnf")
        self.assertRegex(answer["text"], "^(yes|no[a-c]{2,4}\u20ac)\\.$")
        self.assertEqual(answer["finish_reason"], "stop")
        self.assert_point(json.loads(run("--json-schema", folder / "s.json")[1]["text"]))
        (folder / "bad.json").write_text('{"not": {}}')
        code, message = run("--json-schema", folder / "bad.json")
        self.assertEqual(code, 1)
        self.assertIn("bad.json", message)
        self.assertIn("'not'", message)

    def test_json_object(self):
        text = self.chat(response_format={"type": "json_object"}, max_tokens=60).json["choices"][0]["message"]["content"]
        self.assertTrue(text.startswith("{"), text)

    def test_refused_formats(self):
        def schema(value):
            return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": value}}}

        for body, word in (({"response_format": {"type": "xml"}}, "json_schema"),
                           ({"response_format": {"type": "json_schema"}}, "schema"),
                           (schema({"type": "array", "uniqueItems": True}), "uniqueItems"),
                           (schema({"properties": {"a": {"pattern": "(?=x)"}}}), "#/properties/a"),
                           (schema({"$ref": "#/nowhere"}), "nowhere"),
                           (schema({"type": "integer", "minimum": 3, "maximum": 2}), "contradict"),
                           (schema({"properties": {"a": {"$ref": "#"}}, "required": ["a"]}), "within itself"),
                           ({"grammar": "root ::= root"}, "no text fits"),
                           ({"grammar": "root ::= " + "(" * 60000}, "not closed"),
                           ({"grammar": 'root ::= (("a"{1000}){1000}){1000}'}, "too large"),
                           ({"grammar": 'root ::= "a"', "response_format": {"type": "json_object"}}, "exclude"),
                           ({"grammar": 'root ::= "a"', "ignore_eos": True}, "ignore_eos")):
            response = self.chat(**body)
            self.assert_refused(response, 400)
            self.assertIn(word, response.json["error"]["message"])

    def test_many_schemas_leave_memory_flat(self):
        def memory():
            status = pathlib.Path(f"/proc/{self.server.process.pid}/status").read_text()
            return int(status.split("VmRSS:")[1].split()[0])

        def ask(i):
            self.assertEqual(self.chat(grammar=f'root ::= "x{i}" [a-z]{{1,40}}', max_tokens=1).status, 200)

        for i in range(150):
            ask(i)
        before = memory()
        for i in range(150, 400):
            ask(i)
        self.assertLess(memory() - before, 20000)

    # Tools

    def test_required_tools(self):
        names = set()
        for seed in range(8):
            choice = self.chat(tools=TOOLS, tool_choice="required", parallel_tool_calls=False, seed=seed).json["choices"][0]
            if choice["finish_reason"] == "length":  # stop_now takes any object, which may be long
                continue
            self.assertEqual(choice["finish_reason"], "tool_calls", choice)
            call, = choice["message"]["tool_calls"]
            names.add(call["function"]["name"])
            if call["function"]["name"] == "set_point":
                self.assert_point(json.loads(call["function"]["arguments"]))
            self.assertIsNone(choice["message"]["content"])
            self.assertTrue(call["id"].startswith("call_"))
        self.assertIn("set_point", names)

    def test_named_tool_in_a_stream(self):
        body = {"model": "tiny", "messages": USER, "max_tokens": 300, "seed": 3, "temperature": 1.5, "tools": TOOLS,
                "tool_choice": {"type": "function", "function": {"name": "set_point"}}}
        whole = self.server.post("/v1/chat/completions", body).json["choices"][0]["message"]["tool_calls"]
        _, events = self.server.stream("/v1/chat/completions", body)
        chunks = [json.loads(e)["choices"][0] for e in events[:-1]]
        calls = [c for chunk in chunks for c in chunk["delta"].get("tool_calls", [])]
        self.assertEqual({c["index"] for c in calls}, {0})
        self.assertGreater(len(calls), 5)  # as they are written
        arguments = "".join(c["function"]["arguments"] for c in calls)
        self.assertEqual({"name": calls[0]["function"]["name"], "arguments": arguments}, whole[0]["function"])
        self.assertTrue(calls[0]["id"] and calls[0]["type"] == "function")
        self.assertTrue(all("id" not in c and "name" not in c["function"] for c in calls[1:]))
        self.assertEqual(chunks[-1]["finish_reason"], "tool_calls")
        self.assertEqual(chunks[0]["delta"]["role"], "assistant")
        self.assert_point(json.loads(arguments))

    # What a family's template has of the marks around its calls. The grammar makes the calls; that the
    # reader takes them apart again, whole and in a stream, shows that both mean the same form.
    FAMILIES = {"hermes": "<tool_call>", "glm": "<tool_call><arg_key><arg_value>", "qwen coder": "<tool_call><function=",
                "mistral": "[TOOL_CALLS]",
                "mistral named": "[TOOL_CALLS][ARGS]", "phi": "<|tool_call|>", "hunyuan": "<tool_calls>", "llama": "Environment: ipython",
                "deepseek": "<\uff5ctool\u2581calls\u2581begin\uff5c> ```json",
                "deepseek v3.1": "<\uff5ctool\u2581calls\u2581begin\uff5c>", "kimi": "<|tool_calls_section_begin|>",
                "gpt-oss": "<|channel|>commentary<|message|>"}

    def test_forms_of_all_families(self):
        file = pathlib.Path(self.temporary.name) / "family.jinja"
        # GLM's form writes strings without quotes and cannot keep their length.
        point = {**POINT, "properties": {**POINT["properties"], "text": {"enum": ["x", "yz"]}}}
        tools = [{"type": "function", "function": {"name": "set_point", "parameters": point}}]
        for family, marks in self.FAMILIES.items():
            file.write_text("{# " + marks + " #}{% if tools %}tools{% endif %}" +
                            "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
            server = serve_test.Server(self.model, "--chat-template", str(file))
            try:
                body = {"model": "tiny", "messages": USER, "max_tokens": 400, "seed": 2, "temperature": 1.2, "tools": tools,
                        "tool_choice": "required", "parallel_tool_calls": False}
                answer = server.post("/v1/chat/completions", body)
                self.assertEqual(answer.status, 200, (family, answer.text))
                choice = answer.json["choices"][0]
                self.assertEqual(choice["finish_reason"], "tool_calls", (family, choice))
                call, = choice["message"]["tool_calls"]
                self.assertEqual(call["function"]["name"], "set_point", family)
                self.assert_point(json.loads(call["function"]["arguments"]))
                self.assertIsNone(choice["message"]["content"], family)
                _, events = server.stream("/v1/chat/completions", body)
                parts = [c["function"] for e in events[:-1]
                         for c in json.loads(e)["choices"][0]["delta"].get("tool_calls", [])]
                self.assertEqual("".join(p.get("name", "") for p in parts), "set_point", family)
                self.assertEqual("".join(p["arguments"] for p in parts), call["function"]["arguments"], family)
            finally:
                self.assertEqual(server.stop(), 0)

    def test_a_template_without_tools(self):
        file = pathlib.Path(self.temporary.name) / "plain.jinja"
        loop = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        stern = ("{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + loop)
        call = {"id": "c", "type": "function", "function": {"name": "set_point", "arguments": '{"z": 1}'}}
        talk = USER + [{"role": "assistant", "content": None, "tool_calls": [call]},
                       {"role": "tool", "tool_call_id": "c", "content": "ok"}]
        choose = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"],
                  "additionalProperties": False}
        tools = [{"type": "function", "function": {"name": "choose", "parameters": choose}}]
        for template in (loop, stern):
            file.write_text(template)
            server = serve_test.Server(self.model, "--chat-template", str(file))
            try:
                def count(**fields):
                    answer = server.post("/v1/chat/completions", {"model": "tiny", "max_tokens": 1, **fields})
                    self.assertEqual(answer.status, 200, answer.text)
                    return answer.json["usage"]["prompt_tokens"]

                self.assertGreater(count(messages=USER, tools=tools), count(messages=USER) + 200)
                self.assertEqual(count(messages=USER, tools=tools, tool_choice="none"), count(messages=USER))
                self.assertGreater(count(messages=talk), count(messages=talk[:1]) + 60)
                choice = server.post("/v1/chat/completions", {
                    "model": "tiny", "messages": USER, "max_tokens": 120, "seed": 1, "tools": tools, "tool_choice": "required",
                    "parallel_tool_calls": False}).json["choices"][0]
                self.assertEqual(choice["finish_reason"], "tool_calls", choice)
                function = choice["message"]["tool_calls"][0]["function"]
                self.assertIn((function["name"], json.loads(function["arguments"])["a"]), [("choose", 1), ("choose", 2)])
            finally:
                self.assertEqual(server.stop(), 0)

    def test_tools_reach_the_template_in_their_order(self):
        counts = [self.chat(max_tokens=1, **more).json["usage"]["prompt_tokens"]
                  for more in ({}, {"tools": TOOLS}, {"tools": TOOLS, "tool_choice": "none"})]
        self.assertGreater(counts[1], counts[0])
        self.assertEqual(counts[2], counts[0])
        call = {"id": "c", "type": "function", "function": {"name": "set_point", "arguments": '{"z": 1}'}}
        history = USER + [{"role": "assistant", "content": None, "tool_calls": [call]},
                          {"role": "tool", "tool_call_id": "c", "content": "ok"}]
        self.assertEqual(self.chat(messages=history, max_tokens=1).status, 200)

    def test_reasoning(self):
        template = pathlib.Path(self.model) / "chat_template.jinja"
        template.write_text(TEMPLATE + "{% if think %}<think>{% endif %}")
        server = serve_test.Server(self.model)
        try:
            body = {"model": "tiny", "messages": USER, "max_tokens": 400, "seed": 1, "chat_template_kwargs": {"think": True}}
            free = server.post("/v1/chat/completions", {**body, "max_tokens": 20}).json["choices"][0]["message"]
            self.assertTrue(free["reasoning_content"])
            self.assertEqual(free["content"], "")
            for seed in range(6):  # what leads out of the reasoning is made likely, then the form holds
                bias = {str(byte): 12 for byte in b"</think>"}
                choice = server.post("/v1/chat/completions", {
                    **body, "seed": seed, "grammar": 'root ::= "ab" "."', "logit_bias": bias}).json["choices"][0]
                self.assertTrue(choice["message"]["reasoning_content"])
                if choice["finish_reason"] == "stop":
                    self.assertEqual(choice["message"]["content"], "ab.")
            _, events = server.stream("/v1/chat/completions", {**body, "max_tokens": 20})
            deltas = [json.loads(e)["choices"][0]["delta"] for e in events[:-1]]
            self.assertEqual("".join(d.get("reasoning_content", "") for d in deltas), free["reasoning_content"])
        finally:
            template.write_text(TEMPLATE)
            self.assertEqual(server.stop(), 0)

    def test_refused_tools(self):
        for more in ({"tools": 3}, {"tools": [{"type": "function"}]}, {"tools": [{"type": "web"}]},
                     {"tools": [{"type": "function", "function": {"name": "a b"}}]},
                     {"tool_choice": "required"}, {"tools": TOOLS, "tool_choice": "maybe"},
                     {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "other"}}},
                     {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"not": 1}}}],
                      "tool_choice": "required"}):
            self.assert_refused(self.chat(**more), 400)
        body = {"model": "tiny", "messages": USER, "tools": TOOLS}
        self.assert_refused(self.plain.post("/v1/chat/completions", body), 400, "unsupported_parameter", "tools")
        self.assert_refused(self.plain.complete(tools=TOOLS), 400, "unsupported_parameter", "tools")

    # Embeddings

    def test_embeddings(self):
        def embed(**fields):
            return self.server.post("/v1/embeddings", {"model": "tiny", **fields})

        answer = embed(input=["abc de", "fgh", "abc de"]).json
        vectors = [item["embedding"] for item in answer["data"]]
        self.assertEqual([item["index"] for item in answer["data"]], [0, 1, 2])
        self.assertEqual([len(v) for v in vectors], [24] * 3)
        for vector in vectors:
            self.assertAlmostEqual(sum(x * x for x in vector), 1, places=5)
        self.assertEqual(vectors[0], vectors[2])
        self.assertNotEqual(vectors[0], vectors[1])
        self.assertEqual(embed(input="abc de").json["data"][0]["embedding"], vectors[0])
        ids = self.server.post("/tokenize", {"prompt": "abc de"}).json["tokens"]
        self.assertEqual(embed(input=[ids]).json["data"][0]["embedding"], vectors[0])
        self.assertEqual(answer["usage"]["prompt_tokens"], answer["usage"]["total_tokens"])
        packed = embed(input="abc de", encoding_format="base64").json["data"][0]["embedding"]
        self.assertEqual(list(struct.unpack("<24f", base64.b64decode(packed))),
                         list(struct.unpack("<24f", struct.pack("<24f", *vectors[0]))))
        # A long text is read in several steps, beside an answer that is being written.
        long = "abc " * 400
        first = embed(input=ids * 60).json["data"][0]["embedding"]
        self.assertEqual(embed(input=ids * 60).json["data"][0]["embedding"], first)
        self.assert_refused(embed(input=long), 400, "context_length_exceeded", "input")
        self.assert_refused(embed(input="a", dimensions=8), 400, "unsupported_parameter", "dimensions")
        self.assert_refused(embed(input="a", encoding_format="int8"), 400, param="encoding_format")
        self.assert_refused(embed(), 400, param="input")
        self.assert_refused(embed(input=[]), 400, param="input")
        self.assert_refused(embed(input="a", model="other"), 404, "model_not_found")

    def test_what_is_refused_by_name(self):
        for field, value in (("echo", True), ("suffix", "x"), ("best_of", 3)):
            self.assert_refused(self.server.complete(**{field: value}), 400, "unsupported_parameter", field)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: structured_test.py PATH_OF_CONCLAVE [test names]")
    serve_test.CONCLAVE = str(pathlib.Path(sys.argv.pop(1)).resolve())
    unittest.main()
