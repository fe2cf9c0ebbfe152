#!/usr/bin/env python3
"""Tests of the scripts that check the tree: each rule must find what it forbids, and nothing else."""

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import textwrap
import unittest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
SCRIPTS = os.path.join(ROOT, "scripts")

CMAKE = """
    conclave_layer(base)
    conclave_layer(tensor DEPS conclave_base)
    conclave_layer(moe DEPS conclave_tensor)
    conclave_layer(io DEPS conclave_tensor)
    conclave_layer(text DEPS conclave_tensor)
    conclave_layer(models DEPS conclave_moe conclave_io)
"""


def write(root, path, text):
    target = os.path.join(root, path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "w", encoding="utf-8") as file:
        file.write(text)


class CheckLayers(unittest.TestCase):
    def check(self, files):
        """Runs the check over a small tree; returns (exit status, findings as 'path:line')."""
        with tempfile.TemporaryDirectory() as root:
            write(root, "CMakeLists.txt", textwrap.dedent(CMAKE))
            write(root, "src/base/error.h", "// errors\n")
            write(root, "src/moe/router.h", "// routers\n")
            write(root, "src/text/bpe.h", "// bpe\n")
            for path, text in files.items():
                write(root, path, text)
            done = subprocess.run(
                [sys.executable, os.path.join(SCRIPTS, "check_layers.py"), "--root", root],
                capture_output=True, text=True)
        places = [":".join(line.split(":")[:2]) for line in done.stdout.splitlines()[:-1]]
        return done.returncode, places, done.stdout

    def assert_clean(self, files):
        status, places, output = self.check(files)
        self.assertEqual((status, places), (0, []), output)

    def assert_found(self, files, *expected):
        status, places, output = self.check(files)
        self.assertEqual((status, places), (1, list(expected)), output)

    def test_including_what_comes_before_is_allowed(self):
        self.assert_clean({"src/moe/a.cc": '#include "moe/router.h"\n#include "base/error.h"\n'
                                           "#include <sys/mman.h>\n#include <fmt/core.h>\n"})

    def test_including_what_comes_after_is_found(self):
        self.assert_found({"src/base/a.cc": '#include "base/error.h"\n\n#include "moe/router.h"\n'},
                          "src/base/a.cc:3")

    def test_including_a_sibling_is_found(self):
        self.assert_found({"src/train/a.h": '#include "infer/session.h"\n'}, "src/train/a.h:1")

    def test_an_include_without_a_declared_dependency_is_found(self):
        self.assert_found({"src/io/a.h": '#include "moe/router.h"\n'}, "src/io/a.h:1")

    def test_angle_brackets_do_not_hide_an_include(self):
        self.assert_found({"src/base/a.h": "#include <moe/router.h>\n"}, "src/base/a.h:1")

    def test_a_relative_or_missing_file_is_found(self):
        self.assert_found({"src/moe/a.cc": '#include "router.h"\n#include "moe/gone.h"\n'
                                           '#include "../base/error.h"\n'},
                          "src/moe/a.cc:1", "src/moe/a.cc:2", "src/moe/a.cc:3")

    def test_an_include_in_a_comment_is_no_include(self):
        self.assert_clean({"src/base/a.h": '// see\n/*\n#include "moe/router.h"\n*/\n'})

    def test_the_installed_api_stands_alone(self):
        self.assert_clean({"include/conclave/a.h": "#include <conclave/b.h>\n#include <vector>\n"})
        self.assert_found({"include/conclave/a.h": '#include "base/error.h"\n'},
                          "include/conclave/a.h:1")

    def test_the_api_is_included_by_its_own_layer_only(self):
        self.assert_clean({"src/api/a.cc": "#include <conclave/b.h>\n",
                           "src/base/error.h": "#include <conclave/error.h>\n"})
        self.assert_found({"src/moe/a.cc": "#include <conclave/error.h>\n",
                           "src/base/error.h": '#include "conclave/model.h"\n'},
                          "src/base/error.h:1", "src/moe/a.cc:1")

    def test_an_unknown_folder_is_found(self):
        self.assert_found({"src/misc/a.h": '#include "base/error.h"\n'}, "src/misc/a.h:1")

    def test_architectures_are_named_only_in_models(self):
        self.assert_clean({"src/models/mixtral.cc": 'const char* kName = "mixtral";\n',
                           "src/moe/b.cc": "// as in Mixtral, 2024\nint experts = 1'000;\n",
                           "src/moe/b_test.cc": 'const char* kFile = "olmoe.json";\n',
                           "src/moe/routers/r.cc": '.citation = "X (Mixtral), "\n"Y (OLMoE)", .n = 1;\n',
                           "src/text/c.cc": 'const char* kBpe = "llama-bpe";\n'})
        self.assert_found({"src/moe/a.cc": "int x = 0;\nbool is_qwen3 = false;\n"}, "src/moe/a.cc:2")
        self.assert_found({"src/moe/a.cc": 'auto n = "gpt_oss";\n'}, "src/moe/a.cc:1")
        self.assert_found({"src/moe/routers/r.cc": '.citation = "X", .name = "mixtral";\n'},
                          "src/moe/routers/r.cc:1")
        self.assert_found({"src/text/a.cc": "int LlamaTokenizer();\n"}, "src/text/a.cc:1")
        self.assert_found({"src/moe/a.cc": "int a = 1'000; int jamba = 2'000;\n"}, "src/moe/a.cc:1")

    def test_long_files_and_other_alphabets_are_found(self):
        self.assert_clean({"src/base/a.h": "//\n" * 800})
        self.assert_found({"src/base/a.h": "//\n" * 801}, "src/base/a.h:801")
        self.assert_found({"src/base/a.h": "// one\n// d\u00e9j\u00e0\n"}, "src/base/a.h:2")


class CheckIsa(unittest.TestCase):
    def check(self, source):
        """Compiles `source` as kernel_avx512.cc and checks a build that holds only that."""
        with tempfile.TemporaryDirectory() as build:
            write(build, "kernel_avx512.cc", source)
            command = "c++ -std=c++20 -O1 -fno-inline -o kernel_avx512.cc.o -c kernel_avx512.cc"
            write(build, "compile_commands.json", json.dumps([{"command": command}]))
            try:
                subprocess.run(command.split(), cwd=build, check=True)
            except FileNotFoundError:
                self.skipTest("no C++ compiler named c++")
            done = subprocess.run([sys.executable, os.path.join(SCRIPTS, "check_isa.py"), build],
                                  capture_output=True, text=True)
            if done.returncode == 77:
                self.skipTest(done.stdout.strip())
            return done.returncode, done.stdout

    def test_a_shared_inline_function_is_found(self):
        status, output = self.check("inline int shared(int x) { return x * x; }\n"
                                    "int kernel_avx512(int x) { return shared(x); }\n")
        self.assertEqual(status, 1, output)
        self.assertIn("shared(int)", output)

    def test_own_namespace_and_local_functions_are_clean(self):
        status, output = self.check("namespace avx512 { inline int own(int x) { return x * x; } }\n"
                                    "namespace { template <int N> int local(int x) { return x + N; } }\n"
                                    "int kernel(int x) { return avx512::own(x) + local<3>(x); }\n")
        self.assertEqual(status, 0, output)

    def test_the_namespace_of_another_instruction_set_is_found(self):
        status, output = self.check("namespace avx2 { inline int other(int x) { return x * x; } }\n"
                                    "int kernel(int x) { return avx2::other(x); }\n")
        self.assertEqual(status, 1, output)


class Demo(unittest.TestCase):
    def test_only_the_domains_of_the_collection_are_used(self):
        """demo.sh in a tree of its own, with a collection, files of an older one, and a program that
        writes down what it is asked to do."""
        with tempfile.TemporaryDirectory() as root:
            with open(os.path.join(SCRIPTS, "demo.sh"), encoding="utf-8") as script:
                write(root, "scripts/demo.sh", script.read())
            write(root, "scripts/collect_corpus.py", "#!/bin/sh\n")
            write(root, "conclave", '#!/bin/sh\necho "$@" >> asked\n')
            for name in ("scripts/demo.sh", "scripts/collect_corpus.py", "conclave"):
                os.chmod(os.path.join(root, name), 0o755)
            write(root, "demo/corpus/corpus.json", json.dumps({"domains": [{"name": "french"}, {"name": "c"}]}))
            for name in ("french", "c", "stale"):
                for part in ("train", "heldout"):
                    write(root, f"demo/corpus/{name}.{part}.txt", "x")
            done = subprocess.run(["scripts/demo.sh"], cwd=root, capture_output=True, text=True,
                                  env={**os.environ, "CONCLAVE": "./conclave", "DEMO_OUT": "demo"})
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(os.path.join(root, "asked"), encoding="utf-8") as asked:
                train, inspect = asked.read().splitlines()
            self.assertIn("--data french=demo/corpus/french.train.txt", train)
            self.assertIn("--heldout c=demo/corpus/c.heldout.txt", train)
            self.assertIn("--data c=demo/corpus/c.heldout.txt", inspect)
            self.assertNotIn("stale", train + inspect)


class Peers(unittest.TestCase):
    """The parts of bench/peers.py that need no peer."""

    def run_it(self, *args):
        return subprocess.run([sys.executable, "-B", os.path.join(ROOT, "bench/peers.py"), *args],
                              capture_output=True, text=True)

    def test_arguments_are_refused_before_anything_is_measured(self):
        for args in (["--prompt", "0"], ["--prompt", "8,"], ["--depth", "-1"], ["--generate", "0"],
                     ["--threads", "x"], ["--ik", "/nowhere/llama-bench"], ["--transformers", "int3"],
                     ["--peers", "/nowhere"]):
            done = self.run_it(__file__, "--conclave", sys.executable, *args)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(args[0].lstrip("-") if args[0] != "--peers" else "/nowhere", done.stderr)
        self.assertIn("no such file", self.run_it("/nowhere.gguf", "--conclave", sys.executable).stderr)

    def test_only_what_both_measured_has_a_ratio(self):
        sys.path.insert(0, os.path.join(ROOT, "bench"))
        import peers
        found = {"conclave": [{"rates": {"prompt 8": 30.0, "write at 0": 9.0}, "load_seconds": 2.0,
                               "limits": {"read_gbps": 40.0}},
                              {"rates": {"prompt 8": 10.0, "write at 0": 9.0}, "load_seconds": 2.0,
                               "limits": {"read_gbps": 30.0}}],
                 "llama.cpp": [{"rates": {"prompt 8": 5.0, "write at 0": 6.0, "write 4 together": 7.0},
                                "load_seconds": 3.0}],
                 "ik": [{"rates": {"prompt 8": 8.0}}]}
        with contextlib.redirect_stdout(io.StringIO()) as out:
            peers.print_table("m", found)
        lines = [line.split() for line in out.getvalue().splitlines()]
        self.assertIn("median of 2 rounds; the machine read 30.0 to 40.0 GB/s", out.getvalue())
        self.assertEqual(lines[2][2:], ["20.0", "[10.0,", "30.0]", "5.0", "[5.0,", "5.0]", "4.00",
                                        "8.0", "[8.0,", "8.0]", "2.50"])
        self.assertEqual(lines[3][3:], ["9.0", "[9.0,", "9.0]", "6.0", "[6.0,", "6.0]", "1.50", "-"])
        self.assertEqual(lines[4][3:], ["-", "7.0", "[7.0,", "7.0]", "-", "-"])
        self.assertEqual(lines[5], ["load,", "seconds", "2.00", "3.00", "1.50", "-"])
        self.assertIn("differ by more than half", out.getvalue())


if __name__ == "__main__":
    unittest.main(verbosity=1)
