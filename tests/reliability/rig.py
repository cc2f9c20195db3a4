"""What the reliability tests share: sizes, the server over a fake engine, what /proc and /metrics
say about it, answers known beforehand, and the rows of the report.

The size is GLIMPSE_RELIABILITY: `ci` (the default) or `full`. Both inject the same faults and count
the same things exactly; a full run makes more of them and holds the times to the promised figures,
which a busy shared machine may miss. Each test writes its row to GLIMPSE_RELIABILITY_ROWS, if set.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import tempfile
import threading
import time
import unittest

import harness
from harness import metrics, total

FULL = os.environ.get("GLIMPSE_RELIABILITY", "ci") == "full"
LOAD = str(harness.BIN / "glimpse-load")
PAGE = os.sysconf("SC_PAGE_SIZE")


def size(ci, full):
    return full if FULL else ci


class FakeServer(harness.FakeServer):
    """Without a request log, unless it is asked for."""

    def command(self, model, flags):
        return super().command(model, ("--request_log=off", *flags))


class Beside:
    """A thread that calls `look` every `SECONDS` while `with` lasts."""

    SECONDS = 0.02

    def __init__(self):
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._ended.set()
        self._thread.join()

    def _run(self):
        while not self._ended.wait(self.SECONDS):
            self.look()


def load(server, *flags):
    """Runs glimpse-load to its end; its report."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        command = [LOAD, f"--server={server.address}", f"--json={report.name}", *flags]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            raise AssertionError(done.stdout + done.stderr)
        return json.load(report)


def request_log(server):
    """The server's JSON lines so far, with --request_log=stderr."""
    return [json.loads(line) for line in server.lines if line.startswith("{")]


def held(server):
    """What running calls hold: all zero when there are none."""
    now = metrics(server)
    return {
        "requests_running": total(now, "glimpse_requests_running"),
        "requests_waiting": total(now, "glimpse_requests_waiting"),
        "kv_blocks_live": total(now, "glimpse_kv_blocks", 'state="live"'),
    }


def open_files(server):
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def resident_bytes(server):
    fields = pathlib.Path(f"/proc/{server.process.pid}/statm").read_text().split()
    return int(fields[1]) * PAGE


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def slope(values):
    """Of the straight line through `values`, a step."""
    n, mean_x, mean_y = len(values), (len(values) - 1) / 2, sum(values) / len(values)
    return sum((x - mean_x) * (y - mean_y) for x, y in enumerate(values)) / (
        sum((x - mean_x) ** 2 for x in range(n))
    )


def prompts(count, **generation):
    """Requests of different lengths and answers, greedy: each has one right answer."""
    generation = {"temperature": 0, "ignore_eos": True, **generation}
    words = "one two three four five six seven eight nine ten".split()
    texts = [f"{i}: " + " ".join(words[: 1 + i % len(words)]) for i in range(count)]
    return [harness.request(text, **generation) for text in texts]


class Known:
    """Requests with the answers that they got alone."""

    def __init__(self, server, messages):
        self.messages = messages
        self.answers = [tuple(harness.ask(server.chat, m).token_ids) for m in messages]
        if len(set(self.answers)) < len(messages):
            raise AssertionError("two requests have the same answer: a mix-up would go unseen")

    def is_right(self, i, token_ids, whole=True):
        """`whole`: the complete answer; else what came until the call was left."""
        expected, got = self.answers[i], tuple(token_ids)
        return got == (expected if whole else expected[: len(got)])


@dataclasses.dataclass
class Figure:
    what: str
    value: float
    unit: str
    limit: float  # the promised one
    in_force: float  # the one that this run is held to


@dataclasses.dataclass
class Row:
    promise: str
    faults: str  # what was injected, how often
    requests: int = 0  # that were meant to be answered or refused
    wrong_answers: int = 0  # a wrong token, a wrong or second end, none at all
    leaks: int = 0  # descriptors, KV blocks and requests that stayed
    figures: list = dataclasses.field(default_factory=list)

    def figure(self, what, value, unit, limit, ci_limit):
        """A measured value that must not exceed `limit`; in CI a generous one."""
        self.figures.append(Figure(what, round(value, 4), unit, limit, size(ci_limit, limit)))

    def failures(self):
        counts = {"wrong answers": self.wrong_answers, "leaks": self.leaks}
        found = [f"{name}: {count}" for name, count in counts.items() if count]
        found += [str(f) for f in self.figures if not f.value <= f.in_force]
        if not self.requests:
            found.append("no request was made")
        return found


class ReliabilityTest(unittest.TestCase):
    maxDiff = None

    def leaks(self, server, files_before, seconds=30):
        """How much is still held after `seconds`, at most, of waiting: descriptors, requests, KV
        blocks."""
        deadline = time.monotonic() + seconds
        while True:
            now = {**held(server), "open_files": max(0, open_files(server) - files_before)}
            if not any(now.values()) or time.monotonic() > deadline:
                break
            time.sleep(0.02)
        if any(now.values()):
            print("still held:", now)
        return int(sum(now.values()))

    def finish(self, row):
        """Writes the row down, then fails the test where the promise does not hold."""
        text = json.dumps(dict(dataclasses.asdict(row), passed=not row.failures()))
        print(text)
        folder = os.environ.get("GLIMPSE_RELIABILITY_ROWS")
        if folder:
            name = f"{row.promise}_{self.id().rsplit('.', 1)[-1]}.json"
            (pathlib.Path(folder) / name).write_text(text + "\n")
        self.assertEqual(row.failures(), [], text)
