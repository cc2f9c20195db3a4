"""R13: connections that are used once, and streams that are reset."""

import unittest

import harness
import rig
from http2 import Connection
from rig import FakeServer, ReliabilityTest, Row, open_files, resident_bytes, size

SOURCES = [f"127.0.0.{i}" for i in range(2, 18)]  # 10^5 connections need more ports than one has


class ComingAndGoingTest(ReliabilityTest):
    SAMPLES = 50

    def repeat(self, server, row, count, once):
        """Calls `once` count times, after a third as often to warm up; memory stays flat."""
        files = open_files(server)
        batch = max(1, count // self.SAMPLES)
        for i in range(count // 3):
            once(i)
        memory = []
        for i in range(count):
            once(i)
            if i % batch == batch - 1:
                memory.append(resident_bytes(server))
        row.leaks += self.leaks(server, files)
        row.figure("memory's slope", rig.slope(memory) / batch, "bytes each", 16, 16384)
        row.figure("memory's growth", (memory[-1] - memory[0]) / (1 << 20), "MiB", 2, 32)

    def test_connections_used_once(self):
        count = size(2000, 100_000)
        with FakeServer("--max_batch_size=8") as server:
            known = rig.Known(server, rig.prompts(8, max_tokens=4))
            row = Row("R13", f"{count} connections opened, used once, closed", requests=count)

            def once(i):
                source = SOURCES[i % len(SOURCES)]
                with Connection(server.address, source=source) as connection:
                    k = i % len(known.messages)
                    events = connection.answer(connection.ask(known.messages[k]))
                    answer = harness.Answer(events)
                    row.wrong_answers += not known.is_right(k, answer.token_ids)

            self.repeat(server, row, count, once)
        self.finish(row)

    def test_streams_reset_after_their_headers(self):
        count = size(2000, 100_000)
        with FakeServer("--max_batch_size=8") as server:
            known = rig.Known(server, rig.prompts(8, max_tokens=4))
            row = Row("R13", f"{count} streams reset after headers or a whole request")
            message = known.messages[0]
            with Connection(server.address) as connection:
                connection.answer(connection.ask(message))  # it counts among the descriptors

                def once(i):
                    if i % 2:
                        connection.reset(connection.ask(message))
                    else:
                        connection.headers_and_reset()
                    if i % 100 == 99:  # what came before is done when this is
                        k = i // 100 % len(known.messages)
                        events = connection.answer(connection.ask(known.messages[k]))
                        row.requests += 1
                        answer = harness.Answer(events)
                        row.wrong_answers += not known.is_right(k, answer.token_ids)

                self.repeat(server, row, count, once)
        self.finish(row)


if __name__ == "__main__":
    unittest.main(verbosity=2)
