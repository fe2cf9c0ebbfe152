#!/usr/bin/env python3
"""Makes tests/goldens/tokenizers: small tokenizers of every kind, and the ids that the reference
libraries give. A step by hand:

    pip install sentencepiece==0.2.3 tokenizers==0.22.2 tiktoken==0.14.0
    scripts/make_tokenizer_goldens.py tests/goldens/tokenizers

Each NAME.json holds the texts as hexadecimal bytes and their ids, and names the file they belong to.
"""

import base64
import collections
import json
import os
import random
import sys

import sentencepiece
import tiktoken
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

VERSIONS = {"sentencepiece": "0.2.3", "tokenizers": "0.22.2", "tiktoken": "0.14.0"}

CORPUS = [
    "the quick brown fox jumps over the lazy dog", "the rain in Spain stays mainly in the plain",
    "she sells sea shells by the sea shore", "for (int i = 0; i < 10; ++i) { sum += x[i]; }",
    "experts are addressed, not owned", "a routing decision is a value", "HelloWorld iPhone 12 1234",
    "na\u00efve caf\u00e9 r\u00e9sum\u00e9 \ufb01ne \uff21\uff22\uff23", "\u4e2d\u6587\u6d4b\u8bd5 \u4e2d\u6587", "\ud55c\uad6d\uc5b4", "aaaa aaaaaaaa ---- ====",
]

PIECES = ["a", "b", "the", "Hello", "World", " ", "  ", "\n", "\t", "\r\n", "'s", "'LL", "\u00e9", "e\u0301", "\ufb01",
          "\uff21", "\u4e2d", "\u6587", "\u304b\u306a", "\U0001f600", "\u3000", "\u00a0", "\u200b", "\ud55c", "\u0151", "\u2581", "\u2581\u2581", "1", "1234",
          "\u00b2", "\u0967\u0968", "\0", "<s>", "</s>", "<unk>", "<sep>", "foo", "foobar", "/", "...", "\ufffd", "aaaaaaaa"]


def texts():
    rng = random.Random(1)
    out = ["", " ", "  ", "a", " a", "a ", "Hello world", "a" * 100, " " * 50, "\n" * 9, "0,0,0"]
    out += ["".join(rng.choice(PIECES) for _ in range(rng.randrange(2, 20))) for _ in range(150)]
    return out + CORPUS


def write(folder, name, file, ids, options=None):
    with open(os.path.join(folder, name + ".json"), "w", encoding="ascii") as out:
        json.dump({"file": file, "options": options or {}, "versions": VERSIONS,
                   "cases": [[text.hex(), list(i)] for text, i in ids]}, out, separators=(",", ":"))
        out.write("\n")


def make_sentencepiece(folder):
    rng = random.Random(2)
    broken = [bytes(rng.randrange(256) for _ in range(rng.randrange(1, 20))) for _ in range(20)]
    corpus = os.path.join(folder, "corpus.txt")
    with open(corpus, "w", encoding="utf-8") as out:
        out.write("\n".join(CORPUS * 4))
    kinds = {
        "sp_bpe": dict(model_type="bpe", normalization_rule_name="identity", byte_fallback=True,
                       remove_extra_whitespaces=False),
        "sp_bpe_suffix": dict(model_type="bpe", normalization_rule_name="identity", character_coverage=0.99,
                              treat_whitespace_as_suffix=True, user_defined_symbols=["<sep>", "foo", "foobar"]),
        "sp_unigram": dict(model_type="unigram", normalization_rule_name="nmt_nfkc", control_symbols=["<ctl>"]),
        "sp_unigram_user": dict(model_type="unigram", normalization_rule_name="identity",
                                user_defined_symbols=["<sep>", "foo", "foobar"]),
        "sp_unigram_bytes": dict(model_type="unigram", normalization_rule_name="identity", byte_fallback=True,
                                 add_dummy_prefix=False, split_digits=True),
        "sp_char": dict(model_type="char", normalization_rule_name="identity"),
    }
    for name, options in kinds.items():
        prefix = os.path.join(folder, name)
        sentencepiece.SentencePieceTrainer.train(
            input=corpus, model_prefix=prefix, vocab_size=420, hard_vocab_limit=False, minloglevel=3, **options)
        os.remove(prefix + ".vocab")
        model = sentencepiece.SentencePieceProcessor(model_file=prefix + ".model")
        inputs = [t.encode("utf-8") for t in texts()] + broken
        write(folder, name, name + ".model", [(t, model.encode(t)) for t in inputs])
    os.remove(corpus)


def train_ranks(words, size):
    """Byte-pair ranks by counting, as tiktoken's educational trainer does it."""
    ranks = {bytes([b]): b for b in range(256)}
    parts = [[bytes([b]) for b in w] for w in words]
    while len(ranks) < size:
        pairs = collections.Counter(p for w in parts for p in zip(w, w[1:]))
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], p))
        joined = best[0] + best[1]
        ranks.setdefault(joined, len(ranks))
        for w in parts:
            i = 0
            while i + 1 < len(w):
                if (w[i], w[i + 1]) == best:
                    w[i:i + 2] = [joined]
                i += 1
    return ranks


def make_tiktoken(folder):
    words = [w.encode("utf-8") for line in CORPUS * 2 for w in line.replace(" ", "\n ").split("\n") if w]
    ranks = train_ranks(words + [b"  ", b"    ", b"\n\n", b"'s", b"\r\n"] * 3, 420)
    with open(os.path.join(folder, "small.tiktoken"), "w", encoding="ascii") as out:
        for token, rank in ranks.items():
            out.write(f"{base64.b64encode(token).decode()} {rank}\n")
    contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    digits3 = (contractions + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
               r"|\s+(?!\S)|\s+")
    upper, lower = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"

    def cased(no, end):
        head = r"[^\r\n\p{L}\p{N}]?"
        return (f"{head}[{upper}{no}]*[{lower}{no}]+{contractions}?|{head}[{upper}{no}]+[{lower}{no}]*{contractions}?"
                + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n" + end + r"]*|\s*[\r\n]+|\s+(?!\S)|\s+")

    patterns = {
        "llama3": digits3,
        "o200k": cased("", "/"),
        "kimi-k2": r"[\p{Han}]+|" + cased(r"&&[^\p{Han}]", ""),
        "cl100k": (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
                   r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"),
    }
    for kind, pattern in patterns.items():
        encoding = tiktoken.Encoding("small", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
        write(folder, "tiktoken_" + kind, "small.tiktoken",
              [(t.encode("utf-8"), encoding.encode_ordinary(t)) for t in texts()], {"kind": kind})


def small_words():
    tokens = ["[UNK]", "a", "##a", "b", "##b", "the", "##the", "hello", "##world", "1", "##2", "-", "foo", "##bar", "e"]
    return {token: i for i, token in enumerate(tokens)}


def make_tokenizer_json(folder):
    kinds = {}
    unigram = tokenizers.Tokenizer(models.Unigram(
        [("<unk>", 0.0), ("</s>", 0.0), ("\u2581", -2.0), ("a", -2.5), ("aa", -4.0), ("\u2581the", -3.0), ("the", -3.5),
         ("foo", -5.0), ("bar", -5.0), ("e", -2.2), ("l", -2.9), ("lo", -3.1), ("\u2581Hel", -4.0), ("\u2581\u2581", -3.0)], 0, False))
    unigram.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(),
                                               normalizers.Replace(tokenizers.Regex(" {2,}"), " ")])
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    unigram.decoder = decoders.Metaspace()
    kinds["hf_unigram"] = unigram
    word_piece = tokenizers.Tokenizer(models.WordPiece(small_words(), unk_token="[UNK]"))
    word_piece.normalizer = normalizers.BertNormalizer()
    word_piece.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    word_piece.decoder = decoders.WordPiece()
    kinds["hf_word_piece"] = word_piece
    word_level = tokenizers.Tokenizer(models.WordLevel(small_words(), unk_token="[UNK]"))
    word_level.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase(),
                                                  normalizers.Strip()])
    word_level.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(True),
                                                        pre_tokenizers.UnicodeScripts()])
    kinds["hf_word_level"] = word_level
    for name, tokenizer in kinds.items():
        tokenizer.save(os.path.join(folder, name + ".tokenizer.json"), pretty=False)
        write(folder, name, name + ".tokenizer.json",
              [(t.encode("utf-8"), tokenizer.encode(t, add_special_tokens=False).ids) for t in texts()])


def main():
    for module in (sentencepiece, tokenizers, tiktoken):
        if module.__version__ != VERSIONS[module.__name__]:
            sys.exit(f"{module.__name__} is {module.__version__}, the goldens are made with {VERSIONS[module.__name__]}")
    folder = sys.argv[1]
    os.makedirs(folder, exist_ok=True)
    make_sentencepiece(folder)
    make_tiktoken(folder)
    make_tokenizer_json(folder)


if __name__ == "__main__":
    main()
