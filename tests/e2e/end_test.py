"""How the process ends: after a signal, after a second one, and when the device is broken.

Over the fake engine, whose steps take as long as a test wants.
"""

import signal
import threading
import unittest

import grpc
import harness
from harness import FakeServer
from grpc_health.v1 import health_pb2


class UnreadServer(FakeServer):
    """Nobody reads what it says once it has said where it listens."""

    def _read_output(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            self._seen.put(line)
            if "listening on" in line:
                return


PIPE_BYTES = 64 << 10
LEAST_LINE_BYTES = 250  # of the log, for short()'s calls


def short():
    return harness.request("What?", max_tokens=1, request_id="x" * 128)


MOST_TOKENS = 4000  # of a call that will not end by itself for a minute


def started(server):
    """An accepted call."""
    stream = server.chat.Chat(harness.endless(server, MOST_TOKENS), timeout=harness.CALL_SECONDS)
    next(stream), next(stream)
    return stream


def wait_until_not_ready(server):
    ask = health_pb2.HealthCheckRequest(service="readiness")
    for reply in server.health.Watch(ask, timeout=harness.CALL_SECONDS):
        if reply.status == health_pb2.HealthCheckResponse.NOT_SERVING:
            return


class EndTest(unittest.TestCase):
    def assert_second_ends_at_once(self, number, exit_code):
        flags = ("--decode_step_time=20ms", "--drain_timeout=1h")
        with FakeServer(*flags, check_exit=False) as server:
            stream = started(server)
            server.process.send_signal(number)
            wait_until_not_ready(server)
            next(stream)  # it goes on
            server.process.send_signal(number)
            self.assertEqual(server.wait(), exit_code)
            self.assertIn("ended by a second signal", server.lines)

    def test_a_second_sigterm_ends_at_once(self):
        self.assert_second_ends_at_once(signal.SIGTERM, 128 + signal.SIGTERM)

    def test_a_second_sigint_ends_at_once(self):
        self.assert_second_ends_at_once(signal.SIGINT, 128 + signal.SIGINT)

    def test_a_drain_finishes_what_waits_and_what_was_preempted(self):
        # There are blocks for 4 of the 8 to begin, but for fewer than 2 to come to their ends.
        flags = ("--kv_blocks=24", "--block_size=16", "--max_batch_size=4", "--max_context=256")
        message = harness.request("Go on.", ignore_eos=True, max_tokens=200, temperature=0)
        answers = []
        with FakeServer(*flags, "--decode_step_time=2ms") as server:
            expected = harness.ask(server.chat, message).token_ids
            streams = [server.chat.Chat(message, timeout=harness.CALL_SECONDS) for _ in range(8)]
            for stream in streams:
                next(stream)  # accepted

            def listen(stream):
                answers.append([id for event in stream for id in event.delta.token_ids])

            listeners = [threading.Thread(target=listen, args=(s,)) for s in streams]
            for listener in listeners:
                listener.start()
            harness.wait_until(lambda: harness.metrics(server)["glimpse_preemptions_total"] > 0)
            server.terminate()
            for listener in listeners:
                listener.join()
            self.assertEqual(server.wait(), 0)
        self.assertEqual(answers, [expected] * 8)

    def test_a_broken_device_ends_the_process_and_says_why(self):
        with FakeServer("--break_at_step=50", check_exit=False) as server:
            with self.assertRaises(grpc.RpcError) as caught:
                list(server.chat.Chat(harness.endless(server, MOST_TOKENS), timeout=harness.CALL_SECONDS))
            self.assertEqual(caught.exception.code(), grpc.StatusCode.INTERNAL)
            self.assertEqual(harness.details_of(caught.exception)["ErrorInfo"].reason, "ENGINE_FAULT")
            self.assertEqual(server.wait(), 1)
            self.assertIn("glimpse-server: the device can run no more steps", server.lines[-1])


    def test_a_step_that_hangs_does_not_keep_the_process(self):
        flags = ("--decode_step_time=1h", "--drain_timeout=1s", "--liveness_timeout=2s")
        with FakeServer(*flags, check_exit=False) as server:
            stream = started(server)
            server.terminate()
            with self.assertRaises(grpc.RpcError) as caught:
                list(stream)
            self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)
            self.assertEqual(server.wait(), 1)
            self.assertIn("a step hangs", server.lines[-1])

    def fill_log(self, server):
        """Until the pipe of standard error takes no more of the calls' lines."""
        for _ in range(2 * PIPE_BYTES // LEAST_LINE_BYTES):
            harness.ask(server.chat, short())

    def test_a_log_that_nobody_reads_does_not_keep_the_process(self):
        with UnreadServer() as server:
            self.fill_log(server)
            server.terminate()
            self.assertEqual(server.wait(), 0)

    def test_a_log_that_nobody_reads_does_not_keep_a_broken_process(self):
        with UnreadServer("--break_at_step=2000", check_exit=False) as server:
            self.fill_log(server)
            with self.assertRaises(grpc.RpcError) as caught:
                list(server.chat.Chat(harness.endless(server, MOST_TOKENS), timeout=harness.CALL_SECONDS))
            self.assertEqual(caught.exception.code(), grpc.StatusCode.INTERNAL)
            self.assertEqual(server.wait(), 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
