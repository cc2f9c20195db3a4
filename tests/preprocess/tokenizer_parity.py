#!/usr/bin/env python3
"""Compares `glimpse-inspect tokenize` with tiktoken, id by id, on many random texts.

    tokenizer_parity.py --binary=build/bin/glimpse-inspect [--model=DIR]...

Each --model is compared, and the real GLM-4 vocabulary if $GLIMPSE_GLM4_TOKENIZER names its
tokenizer.model. A last comparison puts every Unicode character between others, with a vocabulary of
all pairs of bytes, in which nearly every change of a piece's borders changes the ids. Exits with 1
if anything differs.
"""

import argparse
import base64
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

import tiktoken

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = (
    "<|endoftext|> [MASK] [gMASK] [sMASK] <sop> <eop> <|system|> <|user|> <|assistant|> "
    "<|observation|> <|begin_of_image|> <|end_of_image|> <|begin_of_video|> <|end_of_video|>"
).split()

ENGLISH = """The quick brown fox doesn't jump; it'd rather've slept. They're WE'LL she's I'm I'D you'VE
o'clock rock'n'roll What is in the picture? Three red squares (left)
and 12 blue circles, 3.14159 at 10:45 p.m."""
CHINESE = "图中有三个红色的正方形和两个蓝色的圆形。请问左上角写着什么字?价格是¥1,234元,日期:二〇二四年六月五日。"
ARABIC = "مرحبا بالعالم، كيف حالك اليوم؟ الصُّورَةُ فيها ثلاثة مربعات ١٢٣٤٥ و٦٧٨٩"
OTHERS = (
    "Привет, как дела? Ελληνικά γλώσσα हिन्दी में क्या है ภาษาไทย "
    "한국어 문장입니다 日本語のテキストです עברית Türkçe İı Straße ſ K Å"
)
CODE = """for (int i = 0; i < n; ++i) {\n\tsum += a[i] * b[i];  // dot\n}\n\n    def f(self, x):\r\n
        return x**2
#include <vector>\nSELECT * FROM t WHERE id='x' AND n>=100;\n
<div class="a">&nbsp;</div>\n\t\t\tif(!p)return-1;0xDEADBEEF"""
EMOJI = [
    "👨‍👩‍👧‍👦",
    "🏳️‍🌈",
    "👍🏽",
    "❤️",
    "1️⃣",
    "🇩🇪🇨🇳",
    "😀",
    "🧑🏿‍🚀",
    "\u200d",
    "\ufe0f",
    "e\u0301\u0323",
    "\U000e0067",
]
SPACES = (
    " \t\n\r\x0b\x0c\x1c\x1f\x85\xa0\u1680\u180e\u2000\u2003\u200a\u200b"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
QUOTES = [
    "'s",
    "'S",
    "'ſ",
    "'t",
    "'RE",
    "'rE",
    "'ve",
    "'m",
    "'LL",
    "'lL",
    "'d",
    "’s",
    "''s",
    "'",
    "'sd",
    "'r",
    "'l",
]


def random_character(rng):
    limit = rng.choice([0x80, 0x800, 0x3000, 0x10000, 0x20000, 0x110000])
    while True:
        code = rng.randrange(limit)
        if not 0xD800 <= code < 0xE000:
            return chr(code)


def cut(rng, text):
    """A random part, so that it begins and ends anywhere."""
    start = rng.randrange(len(text))
    return text[start : start + rng.randint(1, 60)]


PARTS = [
    lambda r: cut(r, ENGLISH),
    lambda r: cut(r, CHINESE),
    lambda r: cut(r, ARABIC),
    lambda r: cut(r, OTHERS),
    lambda r: cut(r, CODE),
    lambda r: "".join(r.choices(EMOJI, k=r.randint(1, 4))),
    lambda r: "".join(r.choices(SPACES, k=r.randint(1, 8))),
    lambda r: r.choice(" \n\t\u3000") * r.choice([1, 2, 3, 7, 30, 200]),
    lambda r: r.choice(["\r\n", "\n\n", "\r", " \r\n ", "\n \n", "\t\r\n"]) * r.randint(1, 5),
    lambda r: r.choice(SPECIAL),
    lambda r: r.choice(SPECIAL)[: r.randint(1, 8)],
    lambda r: r.choice(["a", "Z", "é", "中", "I", ""])
    + r.choice(QUOTES)
    + r.choice(["", "a", " ", "中"]),
    lambda r: "".join(r.choices("0123456789٣५²Ⅷ½㊿", k=r.randint(1, 9))),
    lambda r: "".join(r.choices("!?.,;:-_*#/\\|<>()[]{}'\"`~@$%^&+=…—「」", k=r.randint(1, 12))),
    lambda r: "".join(random_character(r) for _ in range(r.randint(1, 12))),
    lambda r: "".join(r.choices("abcdefghijklmnopqrstuvwxyz", k=r.randint(1, 20))),
    lambda r: r.choice("a的=\u0301") * r.choice([2, 10, 127, 128, 129, 300]),
]


def random_texts(count, seed):
    rng = random.Random(seed)
    yield ""
    for _ in range(count - 1):
        pieces = rng.choices(PARTS, k=rng.choice([1, 1, 2, 3, 5, 8]))
        yield "".join(piece(rng) for piece in pieces)


def every_character_in_context():
    """64 characters a text: each between letters, digits, marks, spaces, quotes and line ends."""
    codes = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    for start in range(0, len(codes), 64):
        block = map(chr, codes[start : start + 64])
        yield "".join(f"{c}x{c}1{c}-{c} {c}\n{c}{c}'{c} x 12{c}3\r{c}  {c}'{c}e" for c in block)


def load_ranks(path):
    lines = pathlib.Path(path).read_bytes().splitlines()
    return {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines)}


def write_model(directory, ranks_file, size):
    """A model directory around a tokenizer.model of `size` lines: the special tokens follow."""
    (directory / "tokenizer.model").write_bytes(ranks_file)
    added = {str(size + i): {"content": name, "special": True} for i, name in enumerate(SPECIAL)}
    (directory / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": added}))


def write_probe_model(directory):
    tokens = [bytes([a]) for a in range(256)] + [
        bytes([a, b]) for a in range(256) for b in range(256)
    ]
    lines = (base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens))
    write_model(directory, b"".join(lines), len(tokens))


def compare(binary, model, texts):
    """Prints the first differences; returns how many texts there are and how many differ."""
    texts = list(texts)
    ranks = load_ranks(model / "tokenizer.model")
    reference = tiktoken.Encoding(
        "reference", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={}
    )
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    command = [binary, "tokenize", f"--model={model}"]
    output = subprocess.run(
        command, input=lines.encode(), stdout=subprocess.PIPE, check=True
    ).stdout
    answers = [json.loads(line) for line in output.splitlines()]
    if len(answers) != len(texts):
        sys.exit(f"{binary} answered {len(answers)} of {len(texts)} lines")
    differences = 0
    for text, ours in zip(texts, answers):
        expected = reference.encode_ordinary(text)
        if ours == expected and reference.decode_bytes(ours) == text.encode():
            continue
        differences += 1
        if differences <= 5:
            print(f"differs: {text!r}\n  tiktoken {expected}\n  ours     {ours}")
    return len(texts), differences


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", action="append", default=[], type=pathlib.Path)
    parser.add_argument(
        "--texts", type=int, default=100_000, help="random texts for each vocabulary"
    )
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()

    failed = False

    def report(name, model, texts):
        nonlocal failed
        count, differences = compare(arguments.binary, model, texts)
        print(f"{name}: {count} texts, {differences} differences", flush=True)
        failed |= differences > 0

    for model in arguments.model:
        report(model, model, random_texts(arguments.texts, arguments.seed))
    with tempfile.TemporaryDirectory() as directory:
        real = os.environ.get("GLIMPSE_GLM4_TOKENIZER")
        if real:
            ranks_file = pathlib.Path(real).read_bytes()
            write_model(pathlib.Path(directory), ranks_file, ranks_file.count(b"\n"))
            report("GLM-4", pathlib.Path(directory), random_texts(arguments.texts, arguments.seed))
            report("GLM-4, every character", pathlib.Path(directory), every_character_in_context())
        else:
            print("GLM-4: not compared, GLIMPSE_GLM4_TOKENIZER is not set")
        write_probe_model(pathlib.Path(directory))
        report(
            "pairs of bytes, every character", pathlib.Path(directory), every_character_in_context()
        )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
