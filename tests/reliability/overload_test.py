"""R9: ten times the capacity, open loop."""

import unittest

import grpc
import harness
import rig
from rig import FakeServer, ReliabilityTest, Row, load, open_files, size

SLOTS, QUEUE, ANSWER_TOKENS = 16, 64, 32
FLAGS = (f"--max_batch_size={SLOTS}", f"--max_queue_requests={QUEUE}", "--decode_step_time=4ms")


class Watch(rig.Beside):
    """Asks known questions and looks at the queue while `with` lasts."""

    def __init__(self, server, known):
        super().__init__()
        self.server, self.known = server, known
        self.most_waiting = self.right = self.wrong = self.refused = 0

    def look(self):
        waiting = rig.held(self.server)["requests_waiting"]
        self.most_waiting = max(self.most_waiting, waiting)
        k = (self.right + self.refused) % len(self.known.messages)
        try:
            answer = harness.ask(self.server.chat, self.known.messages[k])
            right = self.known.is_right(k, answer.token_ids)
            self.right += right
            self.wrong += not right
        except grpc.RpcError as error:
            full = error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            self.refused += full
            self.wrong += not full


class OverloadTest(ReliabilityTest):
    def test_ten_times_the_capacity(self):
        seconds = size(4, 60)
        with FakeServer(*FLAGS) as server:
            known = rig.Known(server, rig.prompts(8, max_tokens=4))
            files = open_files(server)
            flags = ("--prompt_tokens=16", f"--answer_tokens={ANSWER_TOKENS}", "--warm_up=1s")
            flags += (f"--duration={seconds}s",)
            peak = load(server, f"--concurrency={2 * SLOTS}", *flags)["rates"]
            rate = 10 * peak["completed_per_s"]
            with Watch(server, known) as watch:
                over = load(server, f"--rate={rate}", "--connections=16", *flags)
            leaks = self.leaks(server, files)
        ends = {(end["code"], end["reason"]): end for end in over["ends_ms"]}
        expected = {("OK", "LENGTH"), ("RESOURCE_EXHAUSTED", "QUEUE_FULL")}
        self.assertLessEqual(expected, set(ends))
        refusals = ends["RESOURCE_EXHAUSTED", "QUEUE_FULL"]
        row = Row(
            "R9",
            f"{rate:.0f} calls/s for {seconds} s where {rate / 10:.0f} are possible:"
            f" {refusals['count']} refused",
            requests=sum(end["count"] for end in ends.values()) + watch.right + watch.refused,
            wrong_answers=sum(end["count"] for key, end in ends.items() if key not in expected)
            + over["wrong_answers"] + watch.wrong,
            leaks=leaks,
        )
        goodput = over["rates"]["good_tokens_per_s"] / peak["good_tokens_per_s"]
        row.figure("goodput lost", 100 * (1 - goodput), "% of the peak", 5, 50)
        row.figure("a refusal, p99", refusals["p99"], "ms", 5, 500)
        row.figure("queue, longest", watch.most_waiting, "requests", QUEUE, QUEUE)
        self.finish(row)


if __name__ == "__main__":
    unittest.main(verbosity=2)
