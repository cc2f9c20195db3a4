"""R11: steps and hand-overs that fail or dawdle. For a build with GLIMPSE_FAIL_POINTS."""

import unittest

import rig
from engine_fault_test import FAULT, FLAGS, ask_all
from rig import FakeServer, ReliabilityTest, Row, open_files, size

# What may fail, how often, and delays of all sorts beside it.
FAULTS = {
    "launched steps": "launch=error(0.002)",
    "finished steps": "sample=error(0.002)",
    "preparations": "preprocess=error(0.05)",
    "enqueuings": "queue=error(0.05)",
    "admissions": "admission=error(0.05)",
    "hand-overs of all kinds": (
        "launch=error(0.001),sample=error(0.001),preprocess=error(0.01),queue=error(0.01),"
        "admission=error(0.01),notify=delay(3ms;0.05),write=delay(3ms;0.05)"
    ),
}


class FailPointTest(ReliabilityTest):
    @classmethod
    def setUpClass(cls):
        with FakeServer() as server:
            cls.known = rig.Known(server, rig.prompts(8, max_tokens=20))

    def test_what_fails_ends_its_own_requests_and_no_other(self):
        count = size(200, 5000)
        row = Row("R11", "")
        for what, spec in FAULTS.items():
            with self.subTest(what), FakeServer(*FLAGS, f"--fail_points={spec}") as server:
                files = open_files(server)
                ends = ask_all(server, self.known, count)
                row.leaks += self.leaks(server, files)
                row.requests += count
                row.wrong_answers += count - ends["right"] - ends[FAULT]
                self.assertGreater(ends[FAULT], 0)
                self.assertGreater(ends["right"], count // 4)
                row.faults += f"{ends[FAULT]} calls by failing {what}; "
        self.finish(row)

    def test_a_seed_repeats_the_faults(self):
        """One caller, so that the passages come in the same order."""
        ends = []
        for _ in range(2):
            flags = ("--fail_points=preprocess=error(0.2)", "--fail_points_seed=3")
            with FakeServer(*flags) as server:
                ends.append([ask_all(server, self.known, 1) for _ in range(40)])
        self.assertEqual(ends[0], ends[1])


if __name__ == "__main__":
    unittest.main(verbosity=2)
