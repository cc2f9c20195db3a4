"""R11, without a GPU: an engine that breaks for good."""

import collections
import concurrent.futures
import threading
import unittest

import grpc
import harness
import rig
from grpc_health.v1 import health_pb2
from rig import FakeServer, ReliabilityTest, Row, size

Code = grpc.StatusCode
FAULT = (Code.INTERNAL, "ENGINE_FAULT")
CALLERS = 16
FLAGS = ("--max_batch_size=8", "--decode_step_time=500us", "--block_size=4")
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def ask_all(server, known, count):
    """How each of `count` calls ended, "right", "wrong tokens", or the error's code and reason: its
    tokens until then are right, too."""

    def end(i):
        k, ids = i % len(known.messages), []
        try:
            for event in server.chat.Chat(known.messages[k], timeout=harness.CALL_SECONDS):
                ids += event.delta.token_ids
        except grpc.RpcError as error:
            info = harness.details_of(error).get("ErrorInfo")
            right = known.is_right(k, ids, whole=False)
            return (error.code(), info.reason if info else "") if right else "wrong tokens"
        return "right" if known.is_right(k, ids) else "wrong tokens"

    with concurrent.futures.ThreadPoolExecutor(CALLERS) as pool:
        return collections.Counter(pool.map(end, range(count)))


class WatchedStates:
    """What a client that watches "readiness" hears."""

    def __init__(self, server):
        asked = health_pb2.HealthCheckRequest(service="readiness")
        self._replies = server.health.Watch(asked, timeout=harness.CALL_SECONDS)
        self._states = [next(self._replies).status]
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        try:
            for reply in self._replies:
                self._states.append(reply.status)
        except grpc.RpcError:
            pass  # the server is gone

    def to_the_end(self):
        self._thread.join()
        return self._states


class EngineFaultTest(ReliabilityTest):
    @classmethod
    def setUpClass(cls):
        with FakeServer() as server:
            cls.known = rig.Known(server, rig.prompts(8, max_tokens=20))

    @staticmethod
    def is_allowed(end):
        """After the fault calls find the server draining, shut down or gone. gRPC answers what
        comes while it shuts down by CANCELLED."""
        return end in ("right", FAULT) or end[0] in (Code.UNAVAILABLE, Code.CANCELLED)

    def test_a_broken_engine_ends_the_process(self):
        rounds, row = size(3, 50), Row("R11", "")
        row.faults = f"{rounds} times an engine that breaks for good under {CALLERS} calls"
        for i in range(rounds):
            flags = (f"--break_at_step={20 + 7 * i % 101}", "--drain_timeout=30s")
            with FakeServer(*FLAGS, *flags, check_exit=False) as server:
                states = WatchedStates(server)
                ends = ask_all(server, self.known, 4 * CALLERS)
                row.wrong_answers += server.wait() == 0
                row.wrong_answers += states.to_the_end()[-1] != NOT_SERVING
            row.requests += ends.total()
            row.wrong_answers += ends[FAULT] == 0
            row.wrong_answers += sum(n for end, n in ends.items() if not self.is_allowed(end))
        self.finish(row)


if __name__ == "__main__":
    unittest.main(verbosity=2)
