#!/usr/bin/env python3
"""The program as a person uses it: python3 tests/cli_test.py PATH_OF_CONCLAVE. A tiny model is trained
once; every verb is then used on it, and on broken copies of it."""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

CONCLAVE = ""
ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDENS = ROOT / "tests" / "goldens" / "models"
# A published model, where there is one: scripts/smollm2.sh --fetch, or a path in the environment.
SMOLLM2 = pathlib.Path(os.environ.get("CONCLAVE_SMOLLM2") or
                       ROOT / ".cache" / "smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf")
TINY = ["model.width=24", "model.layers=2", "model.heads=2", "model.kv_heads=1", "model.head_dim=8",
        "model.context=64", "model.experts=4", "model.expert_width=20", "data.vocab_size=300",
        "train.sequence=32", "train.batch=4", "optimizer.warmup_steps=2", "eval.every=0",
        "checkpoint.every=0"]


def conclave(*args, **options):
    done = subprocess.run([CONCLAVE, *map(str, args)], capture_output=True, timeout=120, **options)
    done.out, done.err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    return done


def train_args(folder, out, steps, *more):
    args = ["train", "--out", out, "--quiet", "--data", f"low={folder}/low.txt",
            "--data", f"high={folder}/high.txt", "--set", f"train.steps={steps}"]
    for key in [*TINY, *more]:
        args += ["--set", key]
    return args


class Cli(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="conclave-cli-")
        cls.folder = pathlib.Path(cls.temporary.name)
        rng = random.Random(1)
        for name, letters in (("low", "abcdefgh"), ("high", "pqrstuvw")):
            words = ("".join(rng.choices(letters, k=rng.randint(2, 6))) for _ in range(4000))
            (cls.folder / f"{name}.txt").write_text(" ".join(words))
        cls.model = cls.folder / "model"
        done = conclave(*train_args(cls.folder, cls.model, 12))
        assert done.returncode == 0, done.err

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def copy(self, name):
        target = self.folder / name
        shutil.copytree(self.model, target, dirs_exist_ok=True)
        return target

    def assert_refused(self, done, *words):
        self.assertEqual(done.returncode, 1, done.out + done.err)
        self.assertTrue(done.err.startswith("conclave: "), done.err)
        for word in words:
            self.assertIn(word, done.err)

    def test_version_and_help(self):
        self.assertRegex(conclave("--version").out, r"conclave \d+\.\d+\.\d+")
        self.assertEqual(conclave().returncode, 2)
        for word, answer in (("nonsense", "unknown verb 'nonsense'"),
                             ("trian", "unknown verb 'trian' (did you mean 'train'?)")):
            done = conclave(word)
            self.assertEqual(done.returncode, 2)
            self.assertIn(answer, done.err)
        for verb in ("train", "run", "eval", "inspect", "info", "logits", "tokenize", "template",
                     "chat", "convert", "quantize", "completion"):
            done = conclave(verb, "--help")
            self.assertEqual(done.returncode, 0)
            self.assertIn("Example", done.out, verb)
            self.assertIn(verb, conclave("completion", "bash").out)

    def test_a_path_that_is_no_model_is_named(self):
        file = self.folder / "weights.gguf.part"
        file.write_bytes(b"GGUF")
        for verb in (("run", "-p", "a"), ("info",), ("convert", self.folder / "never.gguf")):
            self.assert_refused(conclave(verb[0], file, *verb[1:]), ".gguf.part", "ends in .gguf")
            self.assert_refused(conclave(verb[0], self.folder / "nowhere", *verb[1:]),
                                "nowhere: no such file or directory")

    def test_an_unknown_option_names_the_one_that_was_meant(self):
        for words, *answers in (
                (("bench", self.model, "--repetitions", 3), "'--repetitions'", "'--repeat'"),
                (("run", self.model, "--promt=x"), "'--promt'", "'--prompt'"),
                (("info", self.model, "--contxt", "9"), "'--contxt'", "'--context'"),
                (("info", self.model, "more"), "unexpected word 'more'", "info --help"),
                (("info", "--qqqq"), "unknown option '--qqqq'\n", "info --help")):
            done = conclave(*words)
            self.assertEqual(done.returncode, 2, words)
            for answer in answers:
                self.assertIn(answer, done.err)
        self.assertIn("required", conclave("info").err)

    def test_info_refuses_a_context_that_the_model_does_not_have(self):
        self.assert_refused(conclave("info", self.model, "--context", 65), "--context 65", "64 tokens")
        done = conclave("info", self.model, "--context", 64, "--no-measure", "--json")
        self.assertEqual(json.loads(done.out)["kv_cache_context"], 64)

    def test_a_model_that_cannot_fit_is_refused_at_once(self):
        start = time.time()
        done = conclave(*train_args(self.folder, self.folder / "huge", 1, "model.width=1000000",
                                    "model.expert_width=100000"))
        self.assert_refused(done, "memory", "model.width")
        self.assertLess(time.time() - start, 5)

    def test_every_key_is_explained_and_typos_are_answered(self):
        keys = conclave("train", "--keys").out
        self.assertIn("experts_per_token", keys)
        done = conclave(*train_args(self.folder, self.folder / "x", 1, "model.exprts=8"))
        self.assert_refused(done, "model.exprts", "model.experts")
        recipe = self.folder / "bad.toml"
        recipe.write_text("[model]\nwidth = 8\nwdith = 9\n")
        self.assert_refused(conclave("train", recipe, "--out", self.folder / "x"), "bad.toml:3", "wdith")

    def test_values_of_the_wrong_type_and_keys_of_another_section(self):
        for key, *words in (("model.width=abc", "invalid argument", "found abc, expected an integer"),
                            ("train.learning_rate=1", "'optimizer.learning_rate'"),
                            ("model.router=hash", "'router.kind'")):
            self.assert_refused(conclave(*train_args(self.folder, self.folder / "x", 1, key)), *words)
        self.assert_refused(conclave("train", "--out", self.folder / "x"), "--data LABEL=FILE")
        self.assertEqual(conclave("run", self.model, "-p", "a", "-n", 2**31).returncode, 2)
        # The example of the help, as bash would read it.
        example = next(line for line in conclave("run", "--help").out.splitlines() if "--stop $" in line)
        stop = subprocess.run(["bash", "-c", "printf %s " + example.split("--stop ")[1]],
                              capture_output=True).stdout
        self.assertEqual(stop, b"\n\n")

    def test_texts_and_labels_are_checked_before_the_tokenizer_is_learnt(self):
        out = self.folder / "unlearnt"
        low, high = self.folder / "low.txt", self.folder / "high.txt"
        (self.folder / "latin1.txt").write_bytes(b"caf\xe9 " * 100)
        for heldout, words in ((f"low={self.folder}/nowhere.txt", ["nowhere.txt"]),
                               (f"low={self.folder}/latin1.txt", ["latin1.txt", "UTF-8"]),
                               (f"lwo={low}2", ["data.heldout", "'low'"]),
                               (f"mean={low}2", ["reserved"])):
            done = conclave(*train_args(self.folder, out, 1), "--heldout", heldout)
            self.assert_refused(done, *words)
            self.assertFalse((out / "tokenizer.json").exists(), heldout)
        self.assert_refused(conclave(*train_args(self.folder, out, 1), "--data", f"low={high}"),
                            "'low' is given twice")
        self.assertFalse((out / "tokenizer.json").exists())
        self.assert_refused(conclave("inspect", self.model, "--data", f"mean={low}"), "reserved")
        shutil.copy(low, self.folder / "held.txt")
        args = [a for a in train_args(self.folder, out, 1) if a != "--quiet"]
        done = conclave(*args, "--heldout", f"low={self.folder}/held.txt")
        self.assertEqual(done.returncode, 0, done.err)
        self.assertIn("warning: no held-out text for 'high'", done.err)

    def test_one_of_a_thing_is_named_so(self):
        out = self.folder / "dense"
        args = ["train", "--out", out, "--data", f"low={self.folder}/low.txt"]
        for key in [*TINY, "train.steps=1", "model.experts=1"]:
            args += ["--set", key]
        done = conclave(*args)
        self.assertEqual(done.returncode, 0, done.err)
        self.assertIn("data: 1 text, ", done.err)
        self.assertIn("1 expert of width", conclave("info", out).out)

    def test_making_the_weights_can_be_interrupted(self):
        out = self.folder / "stopped"
        args = train_args(self.folder, out, 1, "model.width=1024", "model.layers=4",
                          "model.experts=8", "model.expert_width=1024")  # 0.1 G weights
        process = subprocess.Popen([CONCLAVE, *map(str, args)], stderr=subprocess.PIPE)
        deadline = time.time() + 60
        while not (out / "recipe.toml").exists() and time.time() < deadline:
            time.sleep(0.01)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        start = time.time()
        _, err = process.communicate(timeout=60)
        if process.returncode == 1 and b"memory" in err:
            self.skipTest("not enough memory")
        self.assertEqual(process.returncode, 130, err)
        self.assertIn(b"stopped while", err)
        self.assertLess(time.time() - start, 3)

    def test_run_is_the_same_on_any_threads_and_follows_its_options(self):
        args = ["run", self.model, "--prompt", "abc", "--max-tokens", 20, "--seed", 7, "--json"]
        one = json.loads(conclave(*args, "--threads", 1).out)
        two = json.loads(conclave(*args, "--threads", 2).out)
        self.assertEqual(one["ids"], two["ids"])
        self.assertEqual(one["generated_tokens"], 20)
        self.assertEqual(one["finish_reason"], "length")
        streamed = conclave(*args[:-1]).out
        self.assertEqual(streamed, "abc" + one["text"] + "\n")
        stop = one["text"][3:5]
        cut = json.loads(conclave(*args, "--stop", stop).out)
        self.assertEqual(cut["text"], one["text"][:one["text"].index(stop)])
        self.assertEqual(cut["finish_reason"], "stop")
        greedy = [json.loads(conclave("run", self.model, "-p", "abc", "--json", "--temperature", 0,
                                      "--seed", s, "-n", 8).out)["ids"] for s in (1, 2)]
        self.assertEqual(greedy[0], greedy[1])
        layers = one["routing"]["layers"]
        self.assertEqual(len(layers), 2)
        self.assert_refused(conclave("run", self.model, "-p", "a", "--top-p", 2), "top-p")
        self.assert_refused(conclave("run", self.model, "-p", "a " * 400), "context")

    def test_eval_inspect_info_logits_tokenize(self):
        low = self.folder / "low.txt"
        j = json.loads(conclave("eval", self.model, "--text", f"low={low}", "--json").out)
        self.assertGreater(j["all"]["tokens"], 1000)
        self.assertLess(j["all"]["nll_per_token"], 6)
        report, routing = self.folder / "r.html", self.folder / "r.json"
        done = conclave("inspect", self.model, "--data", f"low={low}", "--data",
                        f"high={self.folder}/high.txt", "--out", report, "--json", routing,
                        "--summary", self.folder / "s.json", "--samples", "--sample-tokens", 8)
        self.assertEqual(done.returncode, 0, done.err)
        self.assertIn("<html", report.read_text())
        figures = json.loads(routing.read_text())
        chosen = sum(sum(row) for row in figures["layers"][0]["label_expert"])
        self.assertEqual(chosen, 2 * figures["tokens"])  # two experts a token
        summary = json.loads((self.folder / "s.json").read_text())
        for key in ("train_tokens", "tokens_per_second", "heldout_nll_per_byte", "maxvio",
                    "specialization_nmi", "params_total", "params_active"):
            self.assertIn(key, summary)
        info = json.loads(conclave("info", self.model, "--json").out)
        self.assertEqual([layer["experts"] for layer in info["per_layer"]], [4, 4])
        self.assertEqual(conclave("logits", self.model, "--ids", "1,2,3", "--out",
                                  self.folder / "l.npy").returncode, 0)
        self.assert_refused(conclave("logits", self.model, "--ids", "1,999999", "--out",
                                     self.folder / "l.npy"), "999999")
        ids = json.loads(conclave("tokenize", self.model, "--text", "caf\u00e9 abc", "--json").out)["ids"]
        back = conclave("tokenize", self.model, "--decode", ",".join(map(str, ids))).out
        self.assertEqual(back, "caf\u00e9 abc\n")

    def test_bench_measures_what_was_asked(self):
        args = ["bench", self.model, "--limit-seconds", 0.02, "--repeat", 3, "--threads", 2]
        plan = ["--prompt", "5,24", "--depth", "0,20", "--batch", "1,3", "--generate", 4]
        j = json.loads(conclave(*args, *plan, "--json").out)
        rows = [(r["test"], r["tokens"], r["depth"], r["batch"]) for r in j["rows"]]
        self.assertEqual(rows, [("prompt", 5, 0, 1), ("prompt", 24, 0, 1),
                                ("generation", 4, 0, 1), ("generation", 4, 0, 3),
                                ("generation", 4, 20, 1), ("generation", 4, 20, 3)])
        info = json.loads(conclave("info", self.model, "--json").out)
        for row in j["rows"]:
            self.assertEqual(row["seconds"], sorted(row["seconds"]))
            self.assertEqual(len(row["seconds"]), 3)
            tokens = row["tokens"] * row["batch"]
            self.assertAlmostEqual(row["tokens_per_second"] * row["seconds"][1] / tokens, 1, 6)
            self.assertAlmostEqual(sum(row["share_of_time"].values()), 1, 6)
            self.assertGreater(row["share_of_time"]["experts"], 0)
            self.assertGreaterEqual(row["busiest_expert"], 1)
            self.assertLessEqual(row["busiest_expert"], 4)  # of 4 experts
        # Every token of the answer multiplies by all matrices of its experts, and by the head.
        width, layers, vocabulary = 24, 2, info["vocab_size"]
        weights = layers * (width * 8 * (2 + 1 + 1) + 8 * 2 * width + 4 * width
                            + 2 * 3 * 20 * width) + vocabulary * width
        row = j["rows"][2]
        self.assertAlmostEqual(row["gops"] * 1e9 * row["seconds"][1] / (2 * 4 * weights), 1, 2)
        self.assertGreater(j["peak_memory_bytes"], j["weight_bytes"])
        self.assertEqual(j["kv_type"], "f32")
        self.assertTrue(j["complete"])
        j = json.loads(conclave(*args, "--prompt", 8, "--generate", 0, "--kv-type", "q8_0", "--dtype", "bf16",
                                "--json").out)
        self.assertEqual(j["kv_type"], "q8_0")
        self.assertEqual(j["peak_of_products"], "bf16" if j["limits"]["bf16_gflops"] > 0 else "f32")
        with open("/dev/full", "w") as full:
            done = subprocess.run([CONCLAVE, *map(str, args), "--prompt", "8"], stdout=full,
                                  stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot write the results", done.stderr)
        table = conclave(*args, "--prompt", 8, "--generate", 2).out
        for word in ("prompt 8", "generate 2", "tokens/s", "router"):
            self.assertIn(word, table)
        self.assert_refused(conclave(*args, "--prompt", 5000), "5000")
        self.assertEqual(conclave(*args, "--limit-seconds", "nan").returncode, 2)
        self.assertEqual(conclave("convert", self.model, "x.gguf", "--shard-gb", "nan").returncode, 2)
        for option, value in (("--prompt", 0), ("--depth", -1), ("--batch", 0), ("--repeat", 0)):
            done = conclave("bench", self.folder / "nowhere", option, value)  # before it looks for it
            self.assertEqual(done.returncode, 2)
            self.assertIn(f"{option}: Value {value} not in range", done.err)
        self.assert_refused(conclave(*args, "--prompt", 8, "--depth", 63, "--generate", 4), "63")

    def test_an_interrupted_bench_prints_what_it_has_measured(self):
        plan = ["--prompt", 1, "--batch", 1024, "--generate", 50, "--repeat", 1000, "--limit-seconds", 0.02]
        rows, wait = [], 0.5
        while not rows and wait < 60:  # until the prompt is measured; the sequences take minutes
            process = subprocess.Popen([CONCLAVE, *map(str, ["bench", self.model, *plan, "--json"])],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self.addCleanup(process.kill)
            time.sleep(wait)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
            # The second where the signal came before anybody listened.
            self.assertIn(process.returncode, (130, -signal.SIGINT), err)
            j = json.loads(out) if out else {"complete": False, "rows": []}  # stopped while loading
            self.assertFalse(j["complete"])
            rows, wait = j["rows"], 2 * wait
        self.assertEqual([(r["test"], r["tokens"]) for r in rows], [("prompt", 1)])

    def test_interrupted_training_resumes_with_the_same_bytes(self):
        whole, cut = self.folder / "whole", self.folder / "cut"
        self.assertEqual(conclave(*train_args(self.folder, whole, 400)).returncode, 0)
        process = subprocess.Popen([CONCLAVE, *map(str, train_args(self.folder, cut, 400))],
                                   stderr=subprocess.DEVNULL)
        deadline = time.time() + 60
        while not (cut / "recipe.toml").exists() and time.time() < deadline:
            time.sleep(0.01)
        time.sleep(0.8)
        process.send_signal(signal.SIGINT)
        status = process.wait(60)
        if status == 130:  # else it was done before the signal came: equal all the same
            self.assertTrue((cut / "model.safetensors").exists())
            again = conclave("train", "--resume", "--quiet", "--out", cut)
            self.assertEqual(again.returncode, 0, again.err)
        self.assertEqual((cut / "model.safetensors").read_bytes(),
                         (whole / "model.safetensors").read_bytes())

    def test_broken_models_are_refused_by_file_and_name(self):
        self.assert_refused(conclave("info", self.folder / "nowhere"), "nowhere")
        m = self.copy("truncated")
        data = (m / "model.safetensors").read_bytes()
        for size in (0, 7, 8, 100, len(data) // 2, len(data) - 1):
            (m / "model.safetensors").write_bytes(data[:size])
            self.assert_refused(conclave("run", m, "-p", "a"), "model.safetensors")
        m = self.copy("config")
        config = json.loads((m / "config.json").read_text())
        for change, word in (({"num_local_experts": 5}, "gate.weight"), ({"hidden_size": 0}, "hidden_size"),
                             ({"model_type": "alien"}, "alien"), ({"rope_scaling": {"rope_type": "x"}}, "rope"),
                             ({"num_hidden_layers": 10**9}, "num_hidden_layers"), ({"surprise": 1}, "surprise"),
                             ({"num_experts_per_tok": 9}, "k = 9"), ({"hidden_act": "gelu"}, "gelu")):
            (m / "config.json").write_text(json.dumps({**config, **change}))
            self.assert_refused(conclave("run", m, "-p", "a"), word)
        (m / "config.json").write_text("[" * 100000)
        self.assert_refused(conclave("info", m), "config.json")

    def test_no_room_and_no_permission(self):
        full = pathlib.Path("/dev/full")
        if full.exists():
            done = conclave("inspect", self.model, "--data", f"x={self.folder}/low.txt", "--max-tokens",
                            50, "--json", "/dev/full/x.json")
            self.assertEqual(done.returncode, 1)
            self.assertIn("/dev/full/x.json", done.err)
            with open(full, "w") as output:
                done = subprocess.run([CONCLAVE, "info", self.model, "--no-measure"], stdout=output,
                                      stderr=subprocess.PIPE, timeout=120, env={**os.environ, "LC_ALL": "C"})
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"the output could not be written: No space left", done.stderr)
        out = self.folder / "limited"
        limited = f"ulimit -f 40; exec {CONCLAVE} " + " ".join(
            f"'{a}'" for a in train_args(self.folder, out, 3))
        done = subprocess.run(["bash", "-c", limited], capture_output=True, timeout=120,
                              env={**os.environ, "LC_ALL": "C"})
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(b"File too large", done.stderr)
        self.assertFalse((out / "model.safetensors").exists())


TEMPLATE = ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
            "{% if add_generation_prompt %}assistant:{% endif %}")


class OpenModels(unittest.TestCase):
    """Models in the forms in which they are published: small random checkpoints, and a real one."""

    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="conclave-open-")
        cls.folder = pathlib.Path(cls.temporary.name)
        # Weights of a checkpoint with a small tokenizer and a template: it talks, if only nonsense.
        cls.model = cls.folder / "talks"
        cls.model.mkdir()
        for name in ("config.json", "model.safetensors"):
            shutil.copy(GOLDENS / "mixtral" / name, cls.model)
        tokenizer = {"version": "1.0", "added_tokens": [],
                     "model": {"type": "BPE", "vocab": {c: i for i, c in enumerate(
                         [chr(0x100 + 10), chr(0x100 + 32), *map(chr, range(33, 127))])} | {"\u00ac": 96},
                         "merges": []},
                     "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
                     "decoder": {"type": "ByteLevel"}}
        (cls.model / "tokenizer.json").write_text(json.dumps(tokenizer))
        (cls.model / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    assert_refused = Cli.assert_refused

    def works(self, *args, **options):
        done = conclave(*args, **options)
        self.assertEqual(done.returncode, 0, done.err)
        return done

    def logits(self, model):
        out = self.folder / "logits.npy"
        self.works("logits", model, "--ids", "1,7,3,9,4", "--out", out, "--dtype", "f32")
        return out.read_bytes()

    def test_info_of_every_architecture(self):
        names = sorted(path.parent.name for path in GOLDENS.glob("*/config.json"))
        self.assertGreater(len(names), 20)
        for name in names:
            info = json.loads(self.works("info", GOLDENS / name, "--json", "--no-measure").out)
            self.assertGreaterEqual(info["params_total"], info["params_active"], name)
            self.assertGreater(info["params_active"], 0, name)
            self.assertEqual(len(info["per_layer"]), info["layers"], name)
            self.assertTrue(info["machine"]["fits"], name)

    def test_conversion_there_and_back_changes_no_bit(self):
        gguf, back = self.folder / "m.gguf", self.folder / "back"
        self.works("convert", self.model, gguf)
        self.works("convert", gguf, back)
        self.assertEqual(sorted(p.name for p in back.iterdir() if not p.name.startswith("token")),
                         ["config.json", "model.safetensors"])
        expected = self.logits(self.model)
        self.assertEqual(self.logits(gguf), expected)
        self.assertEqual(self.logits(back), expected)
        ids = [self.works("tokenize", m, "--text", "Hello, you!", "--json").out for m in (self.model, gguf)]
        self.assertEqual(ids[0], ids[1])
        shards = json.loads(self.works("convert", self.model, self.folder / "s.gguf", "--json",
                                       "--shard-gb", 0.0001).out)["files"]
        self.assertGreater(len(shards), 2)
        self.assertEqual(self.logits(shards[0]), expected)

    def test_what_exists_is_not_overwritten_and_nothing_is_left_half_written(self):
        here = self.folder / "here"
        here.mkdir()
        (here / "notes").write_text("mine")
        self.assert_refused(conclave("convert", self.model, here), "--force")
        self.assertEqual([p.name for p in here.iterdir()], ["notes"])
        self.works("convert", self.model, here, "--force")
        self.assertEqual((here / "notes").read_text(), "mine")
        self.assertEqual(self.logits(here), self.logits(self.model))
        file = self.folder / "file.gguf"
        file.write_text("mine")
        self.assert_refused(conclave("quantize", self.model, file, "--type", "Q8_0"), "--force")
        self.assertEqual(file.read_text(), "mine")
        self.assert_refused(conclave("quantize", self.model, self.folder / "q.gguf", "--type", "Q9"),
                            "Q9", "Q4_K")
        self.assert_refused(conclave("quantize", self.model, self.folder / "q", "--type", "Q8_0"), ".gguf")
        self.assert_refused(conclave("convert", self.model, self.model), "same")
        for out in ("cut", "cut.gguf"):
            done = subprocess.run(["bash", "-c", f"ulimit -f 20; exec '{CONCLAVE}' convert '{self.model}' "
                                   f"'{self.folder}/{out}'"], capture_output=True, timeout=60)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertEqual([p for p in self.folder.iterdir() if "cut" in p.name], [])

    def test_quantize_reports_errors_and_perplexity(self):
        text = self.folder / "text.txt"
        text.write_text("The quick brown fox jumps over the lazy dog. " * 20)
        report = json.loads(self.works("quantize", self.model, self.folder / "q8.gguf", "--type", "Q8_0",
                                       "--text", text, "--json").out)
        by_name = {t["name"]: t for t in report["tensors"]}
        self.assertEqual(by_name["blk.0.attn_q.weight"]["to"], "Q8_0")
        self.assertLess(by_name["blk.0.attn_q.weight"]["relative_error"], 0.01)
        self.assertGreater(by_name["blk.0.attn_q.weight"]["relative_error"], 0.001)
        self.assertEqual(by_name["blk.0.ffn_gate_inp.weight"]["to"], "F32")  # the router
        change = report["perplexity"]["after"] / report["perplexity"]["before"]
        self.assertAlmostEqual(change, 1, delta=0.05)
        self.assert_refused(conclave("quantize", self.model, self.folder / "n.gguf", "--type", "Q8_0",
                                     "--text", self.folder / "nowhere.txt"), "nowhere.txt")
        self.assertFalse((self.folder / "n.gguf").exists())

    def test_chat_speaks_through_the_template_and_obeys_commands(self):
        saved = self.folder / "talk.json"
        script = f'/system Short.\nHello\n"""\ntwo\nlines\n"""\none \\\nmore\n/undo\n/retry\n/save {saved}\n/quit\nnever\n'
        chat = ("chat", self.model, "--temperature", 0, "-n", 8, "--context", 128)
        done = self.works(*chat, input=script.encode())
        talk = json.loads(saved.read_text())
        self.assertEqual([m["role"] for m in talk], ["system"] + ["user", "assistant"] * 2)
        self.assertEqual([m["content"] for m in talk][:2], ["Short.", "Hello"])
        self.assertEqual(talk[3]["content"], "two\nlines\n")
        # The answer is what the rendered prompt continues with.
        messages = self.folder / "messages.json"
        messages.write_text(json.dumps(talk[:2]))
        prompt = self.works("template", self.model, "--messages", messages).out
        self.assertEqual(prompt, "system: Short.\nuser: Hello\nassistant:")
        run = json.loads(self.works("run", self.model, "-p", prompt, "-n", 8, "--temperature", 0, "--json").out)
        self.assertEqual(talk[2]["content"], run["text"])
        self.assertTrue(done.out.startswith(run["text"] + "\n"))
        again = self.works(*chat, "--load", saved, input=b"/history\n").out
        self.assertIn("user: Hello", again)
        for words, answer in ((b"/nonsense\n", "/nonsense"), (b"a\xffb\n", "UTF-8"), (b"/retry\n", "nothing"),
                              (b"/load nowhere.json\n", "nowhere.json"), (b"/set heat 3\n", "heat"),
                              (b"/save\n", "/save"), (b"x" * 200 + b"\n", "context")):
            self.assert_refused(conclave(*chat, input=words), answer)
        saved.write_text('[1, "x"]')
        self.assert_refused(conclave(*chat, "--load", saved, input=b""), "talk.json", "role")
        self.assert_refused(conclave("chat", GOLDENS / "mixtral"), "chat template")

    def test_wrong_files_and_options_are_named_before_anything_is_printed(self):
        text = self.folder / "words.gguf"
        text.write_text("these are words")
        empty = self.folder / "empty"
        empty.mkdir()
        for verb in (["run", "-p", "a"], ["chat"], ["info"], ["eval", "--text", text],
                     ["logits", "--ids", "1", "--out", self.folder / "x.npy"]):
            self.assert_refused(conclave(verb[0], text, *verb[1:]), "words.gguf", "GGUF")
            if verb[0] != "chat":
                self.assert_refused(conclave(verb[0], empty, *verb[1:]), "config.json")
        self.assert_refused(conclave("convert", empty, self.folder / "e.gguf"), "config.json")
        shards = self.folder / "shards"
        shutil.copytree(GOLDENS / "qwen3_moe_shards", shards)
        (shards / "model-00002-of-00002.safetensors").unlink()
        self.assert_refused(conclave("info", shards), "model-00002-of-00002.safetensors")
        for args, word in ((["-p", "a", "--logit-bias", "97=1"], "97"), (["-p", "a", "--temperature", -1], "temperature"),
                           (["-p", "a" * 300], "context")):
            done = conclave("run", self.model, *args)
            self.assert_refused(done, word)
            self.assertEqual(done.out, "")
        self.assert_refused(conclave("run", GOLDENS / "mixtral", "-p", "a"), "tokenizer")
        self.assert_refused(conclave("tokenize", self.model), "--text")
        self.assert_refused(conclave("tokenize", self.model, "--decode", "1,97"), "97")
        self.assertEqual(conclave("logits", self.model, "--ids", "", "--out", "x").returncode, 2)
        wrong = {**os.environ, "CONCLAVE_ISA": "mmx"}
        self.assert_refused(conclave("info", self.model, env=wrong), "CONCLAVE_ISA=mmx")
        done = self.works("run", self.model, "-p", "-", "-n", 2, "--json", input=b"ab\xffcd")
        self.assertEqual(json.loads(done.out)["generated_tokens"], 2)

    @unittest.skipUnless(SMOLLM2.exists(), "no SmolLM2: scripts/smollm2.sh --fetch")
    def test_a_published_model_chats_sensibly(self):
        talk = "What is the capital of France?\nName three fruits.\n"
        out = self.works("chat", SMOLLM2, "--temperature", 0, "-n", 24, "--dtype", "f32", input=talk.encode()).out
        self.assertIn("Paris", out)
        out = self.works("chat", SMOLLM2, "--temperature", 0, "-n", 24, input=b"What is 2+2?\n").out
        self.assertIn("4", out)

    @unittest.skipUnless(SMOLLM2.exists(), "no SmolLM2: scripts/smollm2.sh --fetch")
    def test_an_interrupt_ends_an_answer(self):
        process = subprocess.Popen([CONCLAVE, "run", SMOLLM2, "-p", "Once", "-n", "4000", "--ignore-eos"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.read(12)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        self.assertEqual(process.returncode, 130)


if __name__ == "__main__":
    CONCLAVE = os.path.abspath(sys.argv.pop(1))
    unittest.main(argv=[sys.argv[0], "-b"] + sys.argv[1:])
