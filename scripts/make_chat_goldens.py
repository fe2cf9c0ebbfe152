#!/usr/bin/env python3
"""Makes the goldens of the chat templates with transformers 4.57.6 and jinja2 3.1.6.

    pip install transformers==4.57.6 jinja2==3.1.6
    scripts/make_chat_goldens.py --templates ../shared/data/chat_templates

Writes tests/goldens/chat/features.json: the small templates of tests/goldens/chat/features.txt with
what jinja2 makes of them, and, where --templates names a folder, tests/goldens/chat/published.json:
a checksum of what each template there makes of each conversation of
tests/goldens/chat/conversations.json. Where jinja2 raises, the golden says so.

The clock of strftime_now stands at 2024-07-26 13:05:09.
"""

import argparse
import datetime
import json
import pathlib
import re

import jinja2
import transformers
from transformers.utils import chat_template_utils

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "goldens" / "chat"
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26, 13, 5, 9)


def compiled(source):
    return chat_template_utils._compile_jinja_template.__wrapped__(source)


def render(source, variables):
    """The text, or None where jinja2 raises; and the error."""
    try:
        template = compiled(source) if isinstance(source, str) else source
        return template.render(**variables), None
    except Exception as error:  # whatever Python raises: a template may provoke anything
        return None, f"{type(error).__name__}: {error}"


def digest(text):
    """Size and FNV-1a."""
    value = 0xCBF29CE484222325
    for byte in text:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{len(text)} {value:016x}"


def features():
    """Cases are separated by lines of ====; JSON of the variables may follow a line of ----."""
    cases = []
    text = (FOLDER / "features.txt").read_text(encoding="utf-8")
    for block in re.split(r"^====.*\n", text, flags=re.M)[1:]:
        source, _, variables = block.partition("\n----\n")
        source = source.rstrip("\n") if variables else source[:-1]
        variables = json.loads(variables) if variables else {}
        result, error = render(source, TOKENS | variables)
        case = {"template": source, "variables": variables}
        case |= {"error": error} if result is None else {"text": result}
        cases.append(case)
    return cases


def published(folder):
    conversations = json.loads((FOLDER / "conversations.json").read_text(encoding="utf-8"))
    out = {}
    for path in sorted(folder.glob("*.jinja")):
        source = compiled(path.read_text(encoding="utf-8"))
        results = {}
        for name, conversation in conversations.items():
            for prompt in (False, True):
                variables = {"tools": None, "documents": None} | TOKENS | conversation
                variables["add_generation_prompt"] = prompt
                result, _ = render(source, variables)
                key = name + ("+prompt" if prompt else "")
                results[key] = None if result is None else digest(result.encode())
        out[path.name] = results
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--templates", type=pathlib.Path)
    arguments = parser.parse_args()
    assert transformers.__version__ == "4.57.6" and jinja2.__version__ == "3.1.6"
    chat_template_utils.datetime = Clock
    cases = features()
    (FOLDER / "features.json").write_text(
        json.dumps(cases, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(f"{len(cases)} features, {sum('error' in c for c in cases)} of them errors")
    if arguments.templates:
        found = published(arguments.templates)
        (FOLDER / "published.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        results = [digest for one in found.values() for digest in one.values()]
        print(f"{len(found)} templates, {len(results)} results, "
              f"{results.count(None)} of them errors")


if __name__ == "__main__":
    main()
