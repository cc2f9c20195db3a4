"""R12: SIGTERM under load, and SIGKILL at any moment."""

import random
import signal
import threading
import time
import unittest

import grpc
import harness
import rig
from rig import FakeServer, ReliabilityTest, Row, size

STREAMS = 24  # at the same time; 16 slots: some calls wait when the signal comes
FLAGS = ("--max_batch_size=16", "--decode_step_time=2ms", "--block_size=4")
DRAIN_SECONDS = 30
# gRPC answers what comes while it shuts down by CANCELLED.
NOT_TAKEN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


class Load:
    """STREAMS threads that ask one question after the other until the server is gone."""

    def __init__(self, server, known):
        self.server, self.known = server, known
        self.complete = self.cut = self.wrong = self.refused = 0
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(STREAMS)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, i):
        with self.server.connect() as channel:
            stub = harness.chat_pb2_grpc.ChatServiceStub(channel)
            while self._ask(stub, i):
                i += 1

    def _ask(self, stub, i):
        """False when the server takes no more calls."""
        k = i % len(self.known.messages)
        events = []
        try:
            for event in stub.Chat(self.known.messages[k], timeout=harness.CALL_SECONDS):
                events.append(event)
            right = self.known.is_right(k, harness.Answer(events).token_ids)
            with self._lock:
                self.complete += right
                self.wrong += not right
            return True
        except grpc.RpcError as error:
            begun = bool(events)  # the server has said that it will answer
            allowed = error.code() in NOT_TAKEN
            if begun or not allowed:
                print(f"after {len(events)} events:", error.code(), error.details())
            with self._lock:
                self.cut += begun
                self.refused += not begun
                self.wrong += not begun and not allowed
            return False

    def join(self):
        """Waits until every caller has heard the end; one that never does counts as wrong."""
        deadline = time.monotonic() + harness.CALL_SECONDS + 10
        for thread in self._threads:
            thread.join(max(0, deadline - time.monotonic()))
        self.wrong += sum(thread.is_alive() for thread in self._threads)


class RestartTest(ReliabilityTest):
    @classmethod
    def setUpClass(cls):
        messages = rig.prompts(12, max_tokens=60)
        with FakeServer(*FLAGS) as server:
            cls.known = rig.Known(server, messages)

    def test_terminated_under_load(self):
        rounds, dice, seconds = size(3, 100), random.Random(12), []
        row = Row("R12", f"{rounds} SIGTERMs under load of {STREAMS} streams")
        for _ in range(rounds):
            with FakeServer(*FLAGS, f"--drain_timeout={DRAIN_SECONDS}s") as server:
                load = Load(server, self.known)
                time.sleep(0.1 + 0.3 * dice.random())
                server.terminate()
                start = time.monotonic()
                row.wrong_answers += server.wait() != 0
                seconds.append(time.monotonic() - start)
                load.join()
            row.requests += load.complete + load.cut + load.refused + load.wrong
            row.wrong_answers += load.cut + load.wrong
        row.figure("from SIGTERM to the end, longest", max(seconds), "s", 5, DRAIN_SECONDS)
        self.finish(row)

    def test_killed_at_random(self):
        rounds, dice, seconds = size(3, 100), random.Random(13), []
        row = Row("R12", f"{rounds} SIGKILLs at random, each with a restart on the same port")
        address = None
        for _ in range(rounds):
            start = time.monotonic()
            listen = [f"--listen={address}"] if address else []
            with FakeServer(*FLAGS, *listen, check_exit=False) as server:
                seconds.append(time.monotonic() - start)
                address = server.address
                for k, message in enumerate(self.known.messages[:4]):
                    answer = harness.ask(server.chat, message)
                    row.wrong_answers += not self.known.is_right(k, answer.token_ids)
                load = Load(server, self.known)
                time.sleep(0.3 * dice.random())
                server.process.send_signal(signal.SIGKILL)
                server.wait()
                load.join()
            row.requests += 4 + load.complete + load.wrong
            row.wrong_answers += load.wrong
        row.figure("from start to ready, longest", max(seconds), "s", 2, harness.START_SECONDS)
        self.finish(row)


if __name__ == "__main__":
    unittest.main(verbosity=2)
