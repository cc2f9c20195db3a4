#!/usr/bin/env python3
"""Times glimpse-inspect's tokenizer against tiktoken's, in the same run and on one thread each.

    tokenizer_bench.py --binary=build/bin/glimpse-inspect --model=DIR

DIR holds tokenizer.model and tokenizer_config.json. Both sides get the same texts of about a
megabyte in pieces of a few kilobytes, read beforehand; each figure is the best of some rounds, the
two sides in turn. Then the same for one long run of spaces and of one letter, whose time must grow
with its length. Exits with 1 if tiktoken is faster anywhere by more than --slack, or if twice the
length takes over three times as long.
"""

import argparse
import base64
import json
import pathlib
import random
import subprocess
import sys
import time

import tiktoken

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
ENGLISH_WORDS = """the of and to in is that it was for on are as with his they at be this from have or by one had
not but what all were when we there can an your which their said if do will each about how up
out them then she many some so these would other into has more her two like him see time could
no make than first been its who now people my made over did down only way find use may water
long little very after words called just where most know get through back much before go good
new write our used me man too any day same right look think also around another came come work
three word must because does part even place well such here take why things help put years
different away again off went old number great tell men say small every found still between name
should mister photograph extraordinary unbelievable neighbourhood refrigerator
characteristically crystallographer"""
CHINESE_WORDS = """图片 中 有 一个 红色 的 正方形 和 两个 蓝色 圆形 请问 左上角 写着 什么 字 我们 可以 看到 这 是 在 城市 街道 上 人们 正在 行走 天空
很 蓝 阳光 明媚 他 她 它们 因为 所以 但是 如果 那么 国家 经济 发展 技术 人工智能 模型 语言 数据 研究 表明 已经 成为 重要 部分 时间 问题 方法 系统
学生 老师 学校 历史 文化 中国 北京 上海 世界 生活 工作 公司 市场 服务 饕餮 蹒跚 鸑鷟"""


def english(rng):
    words = rng.choices(ENGLISH_WORDS.split(), k=rng.randint(5, 20))
    return " ".join(words).capitalize() + rng.choice(
        [". ", "! ", "? ", ", 42 of them. ", "'s.\n\n"]
    )


def chinese(rng):
    return "".join(rng.choices(CHINESE_WORDS.split(), k=rng.randint(4, 15))) + rng.choice("。,!?\n")


def code(rng):
    name, other = ("_".join(rng.choices(ENGLISH_WORDS.split(), k=2)) for _ in range(2))
    return rng.choice([
        f"    for (size_t i = 0; i < {name}.size(); ++i) {{\n"
        f"        {other}[i] += {name}[i] * {rng.random():.3f};\n    }}\n",
        f"def {name}(self, {other}=None):\n    \"\"\"Return {name}.\"\"\"\n"
        f"    return self.{other}[{rng.randrange(10**6)}]\n\n",
        f"\tif err := {name}({other}); err != nil {{\n"
        f"\t\treturn fmt.Errorf(\"{name}: %w\", err)\n\t}}\n",
        f"#include \"{name}/{other}.h\"\n#define {name.upper()} 0x{rng.randrange(2**32):08X}\n",
    ])  # fmt: skip


def texts_of(sentence, seed=1, total_bytes=1_000_000, text_bytes=4_000):
    rng = random.Random(seed)
    texts = []
    while sum(len(text.encode()) for text in texts) < total_bytes:
        text = ""
        while len(text.encode()) < text_bytes:
            text += sentence(rng)
        texts.append(text)
    return texts


def load_reference(model):
    lines = (model / "tokenizer.model").read_bytes().splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines)}
    return tiktoken.Encoding("reference", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})


def time_ours(binary, model, texts, repeat):
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    command = [binary, "tokenize", f"--model={model}", f"--repeat={repeat}"]
    run = subprocess.run(command, input=lines.encode(), stderr=subprocess.PIPE, check=True)
    report = json.loads(run.stderr.splitlines()[-1])
    return report["seconds"] / repeat, report["ids"] // repeat


def time_reference(reference, texts, repeat):
    start = time.perf_counter()
    for _ in range(repeat):
        ids = sum(len(reference.encode_ordinary(text)) for text in texts)
    return (time.perf_counter() - start) / repeat, ids


def compare(arguments, reference, name, texts):
    """True if ours is fast enough."""
    ours, theirs = [], []
    for _ in range(arguments.rounds):
        ours.append(time_ours(arguments.binary, arguments.model, texts, arguments.repeat))
        theirs.append(time_reference(reference, texts, arguments.repeat))
    if ours[0][1] != theirs[0][1]:
        sys.exit(f"{name}: {ours[0][1]} ids, tiktoken has {theirs[0][1]}")
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    best, reference_best = min(ours)[0], min(theirs)[0]
    ratio = reference_best / best
    speeds = f"ours {megabytes / best:6.1f} MB/s, tiktoken {megabytes / reference_best:6.1f} MB/s"
    print(f"{name:8} {speeds}: {ratio:.2f} x as fast", flush=True)
    return ratio >= 1 - arguments.slack


def check_linear(arguments, name, unit):
    """True if a megabyte takes no more than three times as long as half of it."""
    binary, model, rounds = arguments.binary, arguments.model, range(arguments.rounds)
    half, whole = (
        min(time_ours(binary, model, [unit * count], 1)[0] for _ in rounds)
        for count in (500_000, 1_000_000)
    )
    milliseconds, growth = whole * 1e3, whole / half
    print(f"1 MB of {name}: {milliseconds:.1f} ms, {growth:.2f} x the time of 0.5 MB", flush=True)
    return whole < 3 * half


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True, type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=3, help="encodings of all texts in a round")
    parser.add_argument("--slack", type=float, default=0.0, help="e.g. 0.1: may be a tenth slower")
    arguments = parser.parse_args()
    reference = load_reference(arguments.model)
    passed = [
        compare(arguments, reference, "English", texts_of(english)),
        compare(arguments, reference, "Chinese", texts_of(chinese)),
        compare(arguments, reference, "code", texts_of(code)),
        check_linear(arguments, "spaces", " "),
        check_linear(arguments, "'a'", "a"),
    ]
    sys.exit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
