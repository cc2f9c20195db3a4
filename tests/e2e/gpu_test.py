"""The small checkpoint on a GPU, from picture to text, against the CPU: in float32 the same greedy
token ids; in bfloat16, on the project's own kernels and graphs, as many right answers to questions
that training never saw, but for a point.

    python tests/e2e/gpu_test.py [--count=300] [--seed=2027] [--device=cuda]
"""

import argparse
import sys

import harness
from accuracy_test import ask_all

sys.path.insert(0, str(harness.ROOT / "models/tiny"))
from heldout import heldout_cases  # noqa: E402

MOST_WORSE = 0.01  # of the answers


def answers(cases, device, dtype):
    found, lines = ask_all(cases, f"--device={device}", f"--dtype={dtype}")
    return found, [line for line in lines if line.startswith("steps run on")]


def num_right(cases, found):
    return sum(bool(case.is_right(answer.text)) for case, answer in zip(cases, found))


def main():
    parser = argparse.ArgumentParser(description="The same answers on a GPU as on a CPU.")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=2027)
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()

    cases = heldout_cases(args.count, args.seed)
    want, _ = answers(cases, "cpu", "float32")
    failed = False
    for dtype in ("float32", "bfloat16"):
        found, how = answers(cases, args.device, dtype)
        same = sum(a.token_ids == b.token_ids for a, b in zip(found, want))
        right, right_there = num_right(cases, want), num_right(cases, found)
        print(f"{args.device} {dtype}: the CPU's float32 ids in {same} of {len(cases)} answers; "
              f"{right_there} right, {right} on the CPU; {' '.join(how)}")
        failed |= dtype == "float32" and same < len(cases)
        failed |= right_there < right - MOST_WORSE * len(cases)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
