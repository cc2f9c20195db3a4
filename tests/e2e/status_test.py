"""The rows of the status table that are not about what a request holds, from a real client."""

import concurrent.futures
import json
import pathlib
import resource
import shutil
import socket
import subprocess
import tempfile
import time
import unittest

import grpc
import harness
import pictures
from grpc_health.v1 import health_pb2, health_pb2_grpc
from harness import CALL_SECONDS, ask, endless, request
from status_case import StatusTestCase

Code = grpc.StatusCode


class QueueTest(StatusTestCase):
    def assert_queue_full(self, call):
        details = self.assert_refused(call, Code.RESOURCE_EXHAUSTED, "QUEUE_FULL")
        self.assertGreater(details["RetryInfo"].retry_delay.ToMilliseconds(), 0)

    def test_full_by_requests(self):
        with harness.Server("--max_batch_size=1", "--max_queue_requests=2") as server:
            running, events = self.started_stream(server, endless(server))
            message = endless(server, most=100)

            def outcome(_):
                try:
                    return ask(server.chat, message).finished.usage.completion_tokens
                except grpc.RpcError as error:
                    return error

            with concurrent.futures.ThreadPoolExecutor(16) as pool:
                outcomes = list(pool.map(outcome, range(16)))
            refused = [entry for entry in outcomes if isinstance(entry, grpc.RpcError)]
            served = [entry for entry in outcomes if not isinstance(entry, grpc.RpcError)]
            self.assertGreaterEqual(len(served), 2)  # one runs, two wait
            self.assertGreater(len(refused), 0)
            for error in refused:
                details = self.assert_error(error, Code.RESOURCE_EXHAUSTED, "QUEUE_FULL")
                self.assertGreater(details["RetryInfo"].retry_delay.ToMilliseconds(), 0)
            self.assertEqual(set(served), {message.generation.max_tokens})
            harness.Answer(events + list(running))

    def test_full_by_tokens(self):
        with harness.Server("--max_queue_tokens=100") as server:
            self.assert_queue_full(lambda: ask(server.chat, request("Hi", max_tokens=100)))
            ask(server.chat, request("Hi", max_tokens=10))

    def test_full_by_bytes(self):
        with harness.Server("--max_queue_bytes=8000") as server:
            image = pictures.plain("JPEG")
            self.assert_queue_full(lambda: ask(server.chat, request("Hi", image=image)))
            ask(server.chat, request("Hi", max_tokens=10))


class LeavingTest(StatusTestCase):
    """Deadline and cancel, on a server with one slot: the next request needs that slot."""

    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server("--max_batch_size=1")
        cls.addClassCleanup(cls.server.__exit__, None, None, None)
        cls.long = endless(cls.server, most=900)
        cls.whole_seconds = cls.time_of(lambda: ask(cls.server.chat, cls.long))

    @staticmethod
    def time_of(call):
        start = time.monotonic()
        call()
        return time.monotonic() - start

    def assert_slot_is_free(self):
        seconds = self.time_of(lambda: ask(self.server.chat, request("Hi", max_tokens=1)))
        self.assertLess(seconds, self.whole_seconds / 2)

    def test_a_cancelled_call_frees_its_slot(self):
        streams = [self.started_stream(self.server, self.long, 5)[0]]
        streams += [self.started_stream(self.server, self.long, 1)[0] for _ in range(8)]
        for stream in streams:
            stream.cancel()
        self.assert_slot_is_free()
        for stream in streams:
            self.assertEqual(stream.code(), Code.CANCELLED)

    def assert_deadline_passes(self):
        with self.assertRaises(grpc.RpcError) as caught:
            ask(self.server.chat, self.long, timeout=self.whole_seconds / 5)
        self.assertEqual(caught.exception.code(), Code.DEADLINE_EXCEEDED)

    def test_a_deadline_while_running_frees_the_slot(self):
        self.assert_deadline_passes()
        self.assert_slot_is_free()

    def test_a_deadline_while_queued_leaves_the_running_one_alone(self):
        running, events = self.started_stream(self.server, self.long)
        self.assert_deadline_passes()
        harness.Answer(events + list(running))


class LoadingTest(StatusTestCase):
    def test_calls_before_the_model_is_loaded_are_told_to_retry(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = "127.0.0.1:%d" % probe.getsockname()[1]
        backoff = [(f"grpc.{name}_reconnect_backoff_ms", 20) for name in ("initial", "min", "max")]
        with tempfile.TemporaryDirectory() as folder, harness.loading(
            slow_model(folder), address
        ), grpc.insecure_channel(address, options=backoff) as channel:
            stub = harness.chat_pb2_grpc.ChatServiceStub(channel)
            details = self.assert_refused(
                lambda: list(stub.Chat(request("Hi"), timeout=CALL_SECONDS, wait_for_ready=True)),
                Code.UNAVAILABLE,
                "LOADING",
            )
            self.assertGreater(details["RetryInfo"].retry_delay.ToMilliseconds(), 0)
            health = health_pb2_grpc.HealthStub(channel)
            states = {}
            for name in ("liveness", "readiness"):
                asked = health_pb2.HealthCheckRequest(service=name)
                states[name] = health.Check(asked, timeout=CALL_SECONDS).status
            self.assertEqual(states["liveness"], health_pb2.HealthCheckResponse.SERVING)
            self.assertEqual(states["readiness"], health_pb2.HealthCheckResponse.NOT_SERVING)


def slow_model(folder):
    """A copy of the checkpoint that asks for so many layers that their weights take a while."""
    shutil.copytree(harness.MODEL, folder, dirs_exist_ok=True)
    path = pathlib.Path(folder) / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(dict(config, num_layers=100)))
    return folder


class MemoryTest(StatusTestCase):
    def test_a_picture_that_there_is_no_memory_for_is_refused_and_the_server_goes_on(self):
        image = pictures.plain("PNG", (7000, 7000))  # 147 MB of pixels
        with harness.Server() as server:
            pages = int(pathlib.Path(f"/proc/{server.process.pid}/statm").read_text().split()[0])
            most = pages * resource.getpagesize() + (120 << 20)
            limits = (server.process.pid, resource.RLIMIT_AS)
            before = resource.prlimit(*limits, (most, resource.prlimit(*limits)[1]))
            details = self.assert_refused(
                lambda: ask(server.chat, request("Hi", image=image)),
                Code.RESOURCE_EXHAUSTED,
                "QUEUE_FULL",
            )
            resource.prlimit(*limits, before)
            self.assertGreater(details["RetryInfo"].retry_delay.ToMilliseconds(), 0)
            ask(server.chat, request("Hi", image=pictures.plain(), max_tokens=1))


class SlowReaderTest(StatusTestCase):
    def test_a_client_that_does_not_read_is_refused_and_the_others_go_on(self):
        with harness.Server("--max_batch_size=2") as server:
            message = endless(server, logprobs=20)  # fills the connection's window, then the buffer
            small_window = (("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0))
            channel = server.connect(*small_window)
            stub = harness.chat_pb2_grpc.ChatServiceStub(channel)
            slow = stub.Chat(message, timeout=CALL_SECONDS)
            self.assertEqual(next(slow).WhichOneof("event"), "started")
            other = ask(server.chat, endless(server))
            self.assertEqual(
                other.finished.usage.completion_tokens, message.generation.max_tokens
            )
            with self.assertRaises(grpc.RpcError) as caught:
                list(slow)
            self.assert_error(caught.exception, Code.RESOURCE_EXHAUSTED, "SLOW_READER")
            channel.close()


class DrainTest(StatusTestCase):
    def test_draining_refuses_new_calls_and_finishes_the_accepted_ones(self):
        with harness.Server("--max_batch_size=1", "--drain_timeout=5m") as server:
            streams = [server.chat.Chat(endless(server)) for _ in range(4)]
            events = [[next(stream)] for stream in streams]
            watch = server.health.Watch(health_pb2.HealthCheckRequest(service="readiness"))
            self.assertEqual(next(watch).status, health_pb2.HealthCheckResponse.SERVING)
            server.terminate()
            self.assertEqual(next(watch).status, health_pb2.HealthCheckResponse.NOT_SERVING)
            details = self.assert_refused(
                lambda: ask(server.chat, request("Hi")), Code.UNAVAILABLE, "DRAINING"
            )
            self.assertGreater(details["RetryInfo"].retry_delay.ToMilliseconds(), 0)
            live = server.health.Check(health_pb2.HealthCheckRequest(service="liveness"))
            self.assertEqual(live.status, health_pb2.HealthCheckResponse.SERVING)
            watch.cancel()
            for stream, first in zip(streams, events):
                harness.Answer(first + list(stream))
            self.assertEqual(server.wait(), 0)

    def test_after_the_drain_timeout_the_rest_is_refused_and_the_exit_is_clean(self):
        with harness.Server("--max_batch_size=1", "--drain_timeout=1s") as server:
            streams = [server.chat.Chat(endless(server)) for _ in range(50)]
            for stream in streams:
                next(stream)
            server.terminate()
            codes = []
            for stream in streams:
                try:
                    list(stream)
                    codes.append(Code.OK)
                except grpc.RpcError as error:
                    codes.append(error.code())
            self.assertEqual(server.wait(), 0)
            self.assertIn(Code.UNAVAILABLE, codes)
            self.assertLessEqual(set(codes), {Code.OK, Code.UNAVAILABLE})

    def test_a_log_that_nobody_reads_any_more_disturbs_no_drain(self):
        command = [harness.SERVER, f"--model={harness.MODEL}", *harness.ANY_PORTS]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            while "listening" not in process.stderr.readline():
                self.assertIsNone(process.poll())
            process.stderr.close()
            process.terminate()
            self.assertEqual(process.wait(timeout=CALL_SECONDS), 0)

    def test_a_second_sigterm_ends_at_once(self):
        with harness.Server("--max_batch_size=1", check_exit=False) as server:
            streams = [server.chat.Chat(endless(server)) for _ in range(20)]
            for stream in streams:
                next(stream)
            server.terminate()
            watch = server.health.Watch(health_pb2.HealthCheckRequest(service="readiness"))
            while next(watch).status == health_pb2.HealthCheckResponse.SERVING:
                pass
            server.terminate()
            self.assertNotEqual(server.wait(), 0)
            with self.assertRaises(grpc.RpcError):
                for stream in streams:
                    list(stream)


if __name__ == "__main__":
    unittest.main(verbosity=2)
