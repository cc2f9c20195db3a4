"""Asks questions that training never saw, through the server, and counts the right answers.

    python tests/e2e/accuracy_test.py [--count=240] [--seed=1] [--show]

Prints a table by category and language. Fails where the judged categories are under 95 %: each
category over both languages, each language over all of them, and each cell of the table. Of a small
number of questions, one wrong answer is allowed.
"""

import argparse
import collections
import concurrent.futures
import sys

import harness
from harness import ask, request

sys.path.insert(0, str(harness.ROOT / "models/tiny"))
from heldout import CATEGORIES, heldout_cases  # noqa: E402

JUDGED = ("colour", "shape", "count", "position", "number")
LANGUAGES = ("en", "zh")
NEEDED = 0.95
STREAMS = 8
MAX_TOKENS = 64


def question(case):
    return request(
        *[turn["text"] for turn in case.messages],
        roles=[turn["role"] for turn in case.messages],
        image=case.image_bytes,
        temperature=0,
        max_tokens=MAX_TOKENS,
    )


def ask_all(cases, *flags):
    """The answers, and what the server said of itself."""
    with harness.Server(f"--max_batch_size={STREAMS}", *flags) as server:
        with concurrent.futures.ThreadPoolExecutor(STREAMS) as pool:
            found = list(pool.map(lambda case: ask(server.chat, question(case)), cases))
        return found, list(server.lines)


def print_table(right, asked):
    print(f"{'category':<15}" + "".join(f"{language:>18}" for language in LANGUAGES))
    for category in CATEGORIES:
        cells = [(right[category, language], asked[category, language]) for language in LANGUAGES]
        texts = [f"{r}/{a} ({r / a:.1%})" if a else "-" for r, a in cells]
        print(f"{category:<15}" + "".join(f"{text:>18}" for text in texts))
    total = sum(asked.values())
    print(f"{'all':<15}{sum(right.values())}/{total} ({sum(right.values()) / total:.1%})")


def failures(right, asked):
    """The groups of cells that are not right often enough."""
    groups = [[(category, language)] for category in JUDGED for language in LANGUAGES]
    groups += [[(category, language) for language in LANGUAGES] for category in JUDGED]
    groups += [[(category, language) for category in JUDGED] for language in LANGUAGES]
    for cells in groups:
        total = sum(asked[cell] for cell in cells)
        wrong = total - sum(right[cell] for cell in cells)
        if wrong > max(1, total * (1 - NEEDED)):
            names = ", ".join(f"{category} in {language}" for category, language in cells)
            yield f"{total - wrong} of {total} right: {names}"


def main():
    parser = argparse.ArgumentParser(description="Held-out questions through the server.")
    parser.add_argument("--count", type=int, default=240)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", action="store_true", help="print every wrong answer")
    args = parser.parse_args()

    cases = heldout_cases(args.count, args.seed)
    right, asked = collections.Counter(), collections.Counter()
    for case, answer in zip(cases, (answer.text for answer in ask_all(cases)[0])):
        asked[case.category, case.language] += 1
        if case.is_right(answer):
            right[case.category, case.language] += 1
        elif args.show:
            question = case.messages[-1]["text"]
            print(f"{case.category}: {question!r}: {answer!r}, expected {case.expected!r}")
    print_table(right, asked)
    failed = list(failures(right, asked))
    for line in failed:
        print(f"under {NEEDED:.0%}: {line}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
