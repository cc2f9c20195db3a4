#!/usr/bin/env python3
"""Makes tokenizer_vocabulary.inc, tokenizer.inc, detokenizer.inc and chat_template.inc beside it.

    python3 tests/golden/tokenizer.py

The ids are tiktoken's, the text of broken bytes is Python's. The vocabulary is the 256 bytes and
384 merges learnt from a few sentences. The expected prompts are put together here from the
reference's ids, as the checkpoint's own tokenizer does it: ids of "\\n", then the picture's three
ids, then ids of the text.
"""

import base64
import pathlib
import random
import sys

import tiktoken
from tiktoken import _educational

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "preprocess"))
import tokenizer_parity  # noqa: E402
from tokenizer_parity import ARABIC, CHINESE, CODE, ENGLISH, PATTERN, SPECIAL  # noqa: E402

VOCABULARY_SIZE = 640
CORPUS = "\n".join([ENGLISH, CHINESE, ARABIC, CODE, ENGLISH.lower(), " " * 16, "a" * 40])
TEXTS = [
    "",
    "What is in the picture? Three red squares, 1234567 circles.",
    "Doesn't DOESN'T they'Ve I'\u017f I\u2019m 'sd ''s 'llama",
    "  two  spaces\tand a tab \n\n and \r\n line ends \r\n\r\n  ",
    " " * 300,
    "a" * 300,
    "图中有三个红色的正方形和两个蓝色的圆形。",
    ARABIC,
    CODE,
    "".join(tokenizer_parity.EMOJI),
    tokenizer_parity.SPACES,
    " ".join(SPECIAL),
    "x".join(tokenizer_parity.QUOTES),
    "12345 ١٢٣٤٥ ²Ⅷ½㊿ 1a2b",
    # Newer Unicode than PCRE2's: letters of 3 and 4 bytes, digits, and a former white space.
    "a\u1c89b \ua7cbx \U00031350\U0002ebf0. \U00010d40\U00010d41\U00010d42\U00010d43 a\u180e \u180eb",
]
CHATS = [
    [("user", "Hello", False)],
    [("user", "What is in the picture?", True)],
    [("user", "", True)],
    [("system", "Be brief.\n", False), ("user", "图中有什么?", True)],
    [
        ("user", "<|user|>\n[gMASK]<|endoftext|>", False),
        ("assistant", "\nYes, two.", False),
        ("user", "\n", True),
    ],
    [
        ("user", "One", True),
        ("assistant", "", False),
        ("user", "Two", False),
        ("assistant", "2", False),
        ("user", "3", False),
    ],
]


# Cut, overlong, surrogate, too large, stray: alone and between other bytes.
BROKEN = [
    b"\xe4\xb8",
    b"\xf0\x9f\x98",
    b"\xc0\xaf",
    b"\xe0\x80\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\x80\xbf",
    b"\xff\xfe",
    b"\xc3",
    b"\xf0\x9f\xe4\xb8\xad",
    b"\xe4\xf0\x9f\x98\x80",
    b"\xf1\x80\xc3\xa9",
    b"\xe1\x80\xe1\x80\xe1\x80\x80",
]


def broken_texts():
    yield from BROKEN
    yield from (b"a" + broken + "é".encode() for broken in BROKEN)
    rng = random.Random(1)
    bounds = b"\x00\x41\x7f\x80\x8f\x90\x9f\xa0\xbf\xc0\xc1\xc2\xdf"
    bounds += b"\xe0\xe1\xec\xed\xee\xef\xf0\xf1\xf3\xf4\xf5\xff"
    yield from (bytes(rng.choices(bounds, k=12)) for _ in range(100))


def literal(data):
    printable = (chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in data)
    return '"' + "".join(printable) + '"'


def message_literal(message):
    role, text, has_image = message
    return f"{{Role::k{role.capitalize()}, {literal(text.encode())}, {str(has_image).lower()}}}"


def vocabulary_line(token, rank):
    return literal(base64.b64encode(token) + b" %d" % rank)[:-1] + '\\n"'


def numbers(ids):
    return "{" + ", ".join(map(str, ids)) + "}"


def render(encode, messages):
    special = {name: VOCABULARY_SIZE + i for i, name in enumerate(SPECIAL)}
    ids, image_at = [special["[gMASK]"], special["<sop>"]], -1
    for role, text, has_image in messages:
        ids += [special[f"<|{role}|>"]] + encode("\n")
        if has_image:
            image_at = len(ids)
            picture = ("<|begin_of_image|>", "<|endoftext|>", "<|end_of_image|>")
            ids += [special[name] for name in picture]
        ids += encode(text)
    return ids + [special["<|assistant|>"]], image_at


def main():
    ranks = _educational.bpe_train(CORPUS, VOCABULARY_SIZE, PATTERN, visualise=None)
    reference = tiktoken.Encoding(
        "golden", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={}
    )
    encode = reference.encode_ordinary
    vocabulary = [vocabulary_line(token, rank) for token, rank in ranks.items()]
    tokenizer = [f"{{{literal(t.encode())}sv, {numbers(encode(t))}}}," for t in TEXTS]
    chats = []
    for messages in CHATS:
        ids, image_at = render(encode, messages)
        fields = ", ".join(map(message_literal, messages))
        chats.append(f"{{{{{fields}}}, {numbers(ids)}, {image_at}}},")
    detokenizer = [
        f"{{{literal(b)}sv, {literal(b.decode(errors='replace').encode())}sv}},"
        for b in broken_texts()
    ]
    files = {
        "tokenizer_vocabulary": vocabulary,
        "tokenizer": tokenizer,
        "detokenizer": detokenizer,
        "chat_template": chats,
    }
    for name, lines in files.items():
        header = "// Made by tokenizer.py. Not to be edited.\n"
        (HERE / f"{name}.inc").write_text(header + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
