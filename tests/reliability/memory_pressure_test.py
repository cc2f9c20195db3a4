"""R10: a KV cache for two of eight sequences."""

import concurrent.futures
import unittest

import grpc
import harness
import rig
from rig import FakeServer, ReliabilityTest, Row, open_files, size

AT_ONCE = 8
BLOCK = 16  # KV rows; the engine's own
TOKENS = 400  # so long that more begin than come to their ends together


class MemoryPressureTest(ReliabilityTest):
    def press(self, row, start_server, known, rounds):
        """Asks all of `known` at once, `rounds` times, of a server that `start_server` starts."""
        with start_server as server, concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            harness.ask(server.chat, known.messages[0])
            files = open_files(server)

            def right(i):
                k = i % len(known.messages)
                answer = harness.ask(server.chat, known.messages[k])
                return known.is_right(k, answer.token_ids)

            row.requests = rounds * AT_ONCE
            row.wrong_answers = list(pool.map(right, range(row.requests))).count(False)
            row.leaks = self.leaks(server, files)
            preempted = harness.total(harness.metrics(server), "glimpse_preemptions_total")
            row.faults += f": {int(preempted)} preempted"
        self.assertGreater(preempted, 0)

    def test_the_fake_engine(self):
        rounds = size(5, 250)
        flags = (f"--max_batch_size={AT_ONCE}", f"--block_size={BLOCK}", "--decode_step_time=500us")
        with FakeServer(*flags) as server:
            known = rig.Known(server, rig.prompts(AT_ONCE, max_tokens=TOKENS))
            prompt = harness.ask(server.chat, known.messages[-1]).started.prompt_tokens
        blocks = 2 * -(-(prompt + TOKENS) // BLOCK)
        row = Row("R10", f"{rounds} times {AT_ONCE} requests over {blocks} KV blocks, enough for 2")
        self.press(row, FakeServer(*flags, f"--kv_blocks={blocks}"), known, rounds)
        self.finish(row)

    def test_what_never_fits_is_refused(self):
        flags = ("--kv_blocks=4", f"--block_size={BLOCK}", f"--max_batch_size={AT_ONCE}")
        with FakeServer(*flags) as server:
            for tokens in (4 * BLOCK, 1000):
                with self.assertRaises(grpc.RpcError) as caught:
                    harness.ask(server.chat, rig.prompts(1, max_tokens=tokens)[0])
                reason = harness.details_of(caught.exception)["ErrorInfo"].reason
                self.assertEqual(reason, "CONTEXT_TOO_LONG")
            harness.ask(server.chat, rig.prompts(1, max_tokens=8)[0])

    def test_the_model(self):
        """The real engine: what is preempted is computed again, to the same tokens."""
        rounds = size(1, 10)
        flags = (f"--max_batch_size={AT_ONCE}", "--request_log=off")
        with harness.Server(*flags) as server:
            known = rig.Known(server, rig.prompts(AT_ONCE, max_tokens=TOKENS))
            prompt = harness.ask(server.chat, known.messages[-1]).started.prompt_tokens
            model = server.chat.GetModel(harness.chat_pb2.GetModelRequest(), timeout=10)
            all_blocks = harness.total(harness.metrics(server), "glimpse_kv_blocks")
        blocks = 2 * -(-(prompt + TOKENS) // BLOCK)
        size_flag = f"--kv_cache_bytes={int(blocks * model.kv_cache_bytes / all_blocks)}"
        pressed = f"{rounds} times {AT_ONCE} requests to models/tiny over {blocks} KV blocks"
        row = Row("R10", pressed)
        self.press(row, harness.Server(*flags, size_flag), known, rounds)
        self.finish(row)


if __name__ == "__main__":
    unittest.main(verbosity=2)
