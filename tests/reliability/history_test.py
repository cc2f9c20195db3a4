"""R7 under ThreadSanitizer: tests/server's histories, in which clients, engine and threads do what
they like. For a build with GLIMPSE_SANITIZE=thread; ctest runs the same in small, as history_test.
"""

import os
import subprocess
import unittest

import harness
from rig import ReliabilityTest, Row, size

HISTORY_TEST = str(harness.BIN / "history_test")


class HistoryTest(ReliabilityTest):
    def test_histories_without_races(self):
        count = size(2000, 400_000)
        options = f"suppressions={harness.ROOT}/tests/tsan.supp"
        told = {"GLIMPSE_HISTORY_REQUESTS": str(count), "TSAN_OPTIONS": options}
        done = subprocess.run(
            [HISTORY_TEST],
            env={**os.environ, **told},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=3600,
        )
        if done.returncode != 0:
            print(done.stdout)
        what = "cancels, deadlines, faults and delays at any moment, under ThreadSanitizer"
        row = Row("R7", what, requests=count, wrong_answers=int(done.returncode != 0))
        self.finish(row)


if __name__ == "__main__":
    unittest.main(verbosity=2)
