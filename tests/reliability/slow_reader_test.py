"""R5: clients that read slowly or never, among others that read."""

import concurrent.futures
import threading
import unittest

import harness
import rig
from http2 import Connection, Ended
from rig import FakeServer, ReliabilityTest, Row, load, open_files, resident_bytes, size

SLOW, QUICK = 64, 8
STEP_MS = size(5, 10)
SECONDS = size(4, 40)
TOKENS = SECONDS * 1000 // STEP_MS  # of a slow reader's answer
RESOURCE_EXHAUSTED = 8
COMPLETION_TOKENS = 'glimpse_tokens_total{kind="completion"}'
MESSAGE_BYTES = 24  # of one token
CONTEXT = "--max_context=8192"
FLAGS = (f"--max_batch_size={SLOW + QUICK}", f"--decode_step_time={STEP_MS}ms", CONTEXT)


class SlowReaders:
    """Of three kinds in turn: one never reads; one opens no window at all; one takes the bytes of a
    token a second."""

    def __init__(self, address, messages):
        self.connections, self.streams = [], []
        for i in range(SLOW):
            windows = ({}, {"window": 0}, {"window": MESSAGE_BYTES})
            self.connections.append(Connection(address, **windows[i % 3]))
            self.streams.append(self.connections[i].ask(messages[i % len(messages)]))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        while not self._ended.wait(1):
            for connection, stream in list(zip(self.connections, self.streams))[2::3]:
                connection.open_window(MESSAGE_BYTES, stream)

    def ends(self):
        """Reads all that there is: for each call its events and its code, 0 if it is complete."""
        self._ended.set()
        self._thread.join()
        for connection, stream in zip(self.connections, self.streams):
            try:
                connection.open_window(1 << 24, stream)
                yield connection.answer(stream), 0
            except Ended as error:
                yield error.events, error.code
            connection.socket.close()


class Peak(rig.Beside):
    """The most memory that the server had while `with` lasted."""

    def __init__(self, server):
        super().__init__()
        self.server, self.bytes = server, resident_bytes(server)

    def look(self):
        self.bytes = max(self.bytes, resident_bytes(self.server))


class SlowReaderTest(ReliabilityTest):
    def quick_p99_ms(self, server, count, tokens=100):
        """The inter-token p99 of `count` streams that are read at once, and how many there were."""
        report = load(server, f"--concurrency={count}", f"--duration={SECONDS}s", "--warm_up=1s",
                      "--prompt_tokens=16", f"--answer_tokens={tokens}")
        ends = report["ends_ms"]
        self.assertEqual([(end["code"], end["reason"]) for end in ends], [("OK", "LENGTH")])
        return report["text"]["inter_token_ms"]["p99"], ends[0]["count"]

    def known(self, **generation):
        """Four requests that take SECONDS to answer."""
        with FakeServer(CONTEXT, "--decode_step_time=500us") as server:
            return rig.Known(server, rig.prompts(4, max_tokens=TOKENS, **generation))

    def check(self, row, readers, known):
        """Their calls end SLOW_READER, after the beginning of the right answer, or are served."""
        codes = []
        for i, (events, code) in enumerate(readers.ends()):
            ids = [id for event in events for id in event.delta.token_ids]
            right = known.is_right(i % 4, ids, whole=code == 0)
            row.wrong_answers += not right or code not in (0, RESOURCE_EXHAUSTED)
            codes.append(code)
        row.requests += SLOW
        return codes.count(RESOURCE_EXHAUSTED)

    def none_runs(self, server, done):
        """What has begun since `done` tokens were made was given up or is complete: the buffers are
        as full as they get."""
        if harness.metrics(server)[COMPLETION_TOKENS] == done:
            return False
        now = rig.held(server)
        return now["requests_running"] == now["requests_waiting"] == 0

    def test_the_memory_of_slow_readers_is_bounded(self):
        known = self.known(logprobs=20)  # fills every buffer
        row = Row("R5", "")
        with FakeServer(*FLAGS) as server:
            _, row.requests = self.quick_p99_ms(server, SLOW)  # to warm up
            before, files = resident_bytes(server), open_files(server)
            with Peak(server) as peak:
                done = harness.metrics(server)[COMPLETION_TOKENS]
                readers = SlowReaders(server.address, known.messages)
                harness.wait_until(lambda: self.none_runs(server, done), SECONDS + 60)
            refused = self.check(row, readers, known)
            row.leaks = self.leaks(server, files)
        self.assertGreater(refused, 0)
        row.faults = f"{SLOW} readers: a token a second, no window, or none: {refused} SLOW_READER"
        row.figure("memory", (peak.bytes - before) / SLOW / 1024, "KiB a slow stream", 256, 1024)
        self.finish(row)

    def test_the_others_go_on(self):
        known = self.known()
        row = Row("R5", f"{SLOW} such readers beside {QUICK} quick ones")
        with FakeServer(*FLAGS) as server, concurrent.futures.ThreadPoolExecutor() as pool:
            files = open_files(server)
            others = pool.submit(self.quick_p99_ms, server, SLOW, TOKENS)  # the same, but read
            before, asked = self.quick_p99_ms(server, QUICK)
            row.requests = asked + others.result()[1]
            readers = SlowReaders(server.address, known.messages)
            beside, asked = self.quick_p99_ms(server, QUICK)
            row.requests += asked
            self.check(row, readers, known)
            row.leaks = self.leaks(server, files)
        what = f"the quick ones' inter-token p99, against beside {SLOW} more quick ones"
        row.figure(what, 100 * (beside / before - 1), "% more", 10, 1000)
        self.finish(row)


if __name__ == "__main__":
    unittest.main(verbosity=2)
