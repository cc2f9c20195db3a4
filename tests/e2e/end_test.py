"""How the process ends: after a signal, after a second one, and when the device is broken.

Over the fake engine, whose steps take as long as a test wants.
"""

import re
import signal
import threading
import time
import unittest
import urllib.request

import grpc
import harness
from grpc_health.v1 import health_pb2


class FakeServer(harness.Server):
    def command(self, model, flags):
        return [str(harness.BIN / "glimpse-fake-server"), *harness.ANY_PORTS, *flags]


def endless():
    return harness.request("Go on.", ignore_eos=True, max_tokens=4000)


def started(server):
    """An accepted call that will not end by itself for a minute."""
    stream = server.chat.Chat(endless(), timeout=harness.CALL_SECONDS)
    next(stream), next(stream)
    return stream


def wait_until_not_ready(server):
    ask = health_pb2.HealthCheckRequest(service="readiness")
    for reply in server.health.Watch(ask, timeout=harness.CALL_SECONDS):
        if reply.status == health_pb2.HealthCheckResponse.NOT_SERVING:
            return


def preemptions(server):
    with urllib.request.urlopen(f"http://{server.admin}/metrics", timeout=10) as page:
        text = page.read().decode()
    return float(re.search(r"^glimpse_preemptions_total (.*)$", text, re.MULTILINE).group(1))


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
            while preemptions(server) == 0:
                time.sleep(0.01)
            server.terminate()
            for listener in listeners:
                listener.join()
            self.assertEqual(server.wait(), 0)
        self.assertEqual(answers, [expected] * 8)

    def test_a_broken_device_ends_the_process_and_says_why(self):
        with FakeServer("--break_at_step=50", check_exit=False) as server:
            with self.assertRaises(grpc.RpcError) as caught:
                list(server.chat.Chat(endless(), timeout=harness.CALL_SECONDS))
            self.assertEqual(caught.exception.code(), grpc.StatusCode.INTERNAL)
            self.assertEqual(harness.details_of(caught.exception)["ErrorInfo"].reason, "ENGINE_FAULT")
            self.assertEqual(server.wait(), 1)
            self.assertIn("glimpse-server: the device can run no more steps", server.lines[-1])


if __name__ == "__main__":
    unittest.main(verbosity=2)
