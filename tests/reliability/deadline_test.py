"""R8: deadlines of 1 to 500 ms behind a full batch."""

import collections
import random
import threading
import time
import unittest

import harness
import rig
from http2 import Connection, Ended
from rig import FakeServer, ReliabilityTest, Row, open_files, request_log, size

SLOTS, CALLERS = 8, 64
DEADLINE_EXCEEDED = 4
FLAGS = (f"--max_batch_size={SLOTS}", "--max_context=16384", "--max_queue_requests=256")
STEP = "--decode_step_time=10ms"  # a deadline is judged between two steps


class Callers:
    """Threads that each ask one thing after the other, over a connection of their own that, unlike
    grpcio's, has no clock: what ends a call is the server."""

    def __init__(self, address, count):
        self.address, self.left = address, count
        self.codes, self.late_ms = collections.Counter(), []
        self._lock, self._dice = threading.Lock(), random.Random(8)
        threads = [threading.Thread(target=self._run) for _ in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _next(self):
        with self._lock:
            self.left -= 1
            return self._dice.randint(1, 500) if self.left >= 0 else None

    def _run(self):
        with Connection(self.address) as connection:
            while (milliseconds := self._next()) is not None:
                name = f"within-{milliseconds}"
                message = harness.request("Hi", max_tokens=4, request_id=name)
                start = time.monotonic()
                try:
                    connection.answer(connection.ask(message, milliseconds))
                    code = 0
                except Ended as error:
                    code = error.code
                late = (time.monotonic() - start) * 1000 - milliseconds
                with self._lock:
                    self.codes[code] += 1
                    self.late_ms.append(late)


class DeadlineTest(ReliabilityTest):
    def test_deadlines_behind_a_full_batch(self):
        count = size(300, 10_000)
        row = Row("R8", f"{count} deadlines of 1-500 ms while {SLOTS} of {SLOTS} slots are taken")
        with FakeServer(*FLAGS, STEP, "--request_log=stderr") as server:
            files = open_files(server)
            busy = [server.chat.Chat(harness.endless(server, 12_000)) for _ in range(SLOTS)]
            for stream in busy:  # a second event: it has its slot
                next(stream), next(stream)
            callers = Callers(server.address, count)
            self.assertEqual(rig.held(server)["requests_running"], SLOTS)
            for stream in busy:
                stream.cancel()
            row.requests = count
            row.wrong_answers = count - callers.codes[DEADLINE_EXCEEDED]
            row.leaks = self.leaks(server, files)
        ends = [r for r in request_log(server) if r.get("request_id", "").startswith("within-")]
        self.assertEqual(len(ends), count)
        late = [r["total_ms"] - int(r["request_id"].removeprefix("within-")) for r in ends]
        row.wrong_answers += sum("first_token_ms" in r for r in ends)
        row.figure("after expiry at the server, longest", max(late), "ms", 20, 1000)
        row.figure("seen by the client, p99", rig.percentile(callers.late_ms, 0.99), "ms", 40, 2000)
        self.finish(row)


if __name__ == "__main__":
    unittest.main(verbosity=2)
