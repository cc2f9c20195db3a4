"""What counts wrong answers, leaks and slopes is able to find them."""

import unittest

import harness
import rig
from http2 import Connection
from rig import FakeServer, ReliabilityTest, Row, open_files


class RigTest(ReliabilityTest):
    def test_a_row_fails_for_each_of_its_columns(self):
        self.assertEqual(Row("R0", "none", requests=1).failures(), [])
        self.assertEqual(len(Row("R0", "none").failures()), 1)
        self.assertEqual(len(Row("R0", "none", requests=1, wrong_answers=1).failures()), 1)
        self.assertEqual(len(Row("R0", "none", requests=1, leaks=1).failures()), 1)
        for value, failures in ((2, 0), (2.1, 1), (float("nan"), 1)):
            row = Row("R0", "none", requests=1)
            row.figure("time", value, "s", limit=2, ci_limit=2)
            self.assertEqual(len(row.failures()), failures)

    def test_a_slope_is_told_from_noise(self):
        flat = [1000 + (i * 7919) % 13 for i in range(50)]
        self.assertLess(abs(rig.slope(flat)), 0.2)
        self.assertAlmostEqual(rig.slope([v + 3 * i for i, v in enumerate(flat)]), 3, delta=0.2)

    def test_a_token_of_another_answer_is_found(self):
        with FakeServer() as server:
            known = rig.Known(server, rig.prompts(8, max_tokens=20))
        for k, answer in enumerate(known.answers):
            self.assertTrue(known.is_right(k, answer))
            self.assertTrue(known.is_right(k, answer[:5], whole=False))
            self.assertFalse(known.is_right(k, answer[:5]))
            other = known.answers[k - 1]
            differs = next(i for i in range(20) if other[i] != answer[i])
            mixed = answer[:differs] + other[differs : differs + 1]
            self.assertFalse(known.is_right(k, mixed, whole=False))

    def test_what_is_held_counts_as_leaked(self):
        with FakeServer("--decode_step_time=10ms", "--block_size=16") as server:
            harness.ask(server.chat, harness.request("Hi", max_tokens=1))
            files = open_files(server)
            self.assertEqual(self.leaks(server, files, seconds=10), 0)
            with Connection(server.address) as connection:
                harness.wait_until(lambda: open_files(server) > files, 10)
                self.assertEqual(self.leaks(server, files, seconds=0), 1)
                connection.ask(harness.endless(server))
                harness.wait_until(lambda: rig.held(server)["requests_running"] > 0, 10)
                self.assertGreaterEqual(self.leaks(server, files, seconds=0), 3)  # and KV blocks
            self.assertEqual(self.leaks(server, files, seconds=10), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
