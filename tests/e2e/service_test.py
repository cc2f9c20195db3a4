"""Health, reflection, connections, and what start-up says when it can't go on."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
import unittest

import grpc
import harness
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from harness import ask, request

SERVING = health_pb2.HealthCheckResponse.SERVING
NAMES = ("", "liveness", "readiness", "glimpse.v1.ChatService")


class ServiceTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server()
        cls.addClassCleanup(cls.server.__exit__, None, None, None)

    def test_health_knows_the_four_names(self):
        for name in NAMES:
            ask_health = health_pb2.HealthCheckRequest(service=name)
            self.assertEqual(self.server.health.Check(ask_health, timeout=10).status, SERVING)
            watch = self.server.health.Watch(ask_health, timeout=10)
            self.assertEqual(next(watch).status, SERVING)
            watch.cancel()

    def test_health_does_not_know_others(self):
        ask_health = health_pb2.HealthCheckRequest(service="nope")
        with self.assertRaises(grpc.RpcError) as caught:
            self.server.health.Check(ask_health, timeout=10)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)
        watch = self.server.health.Watch(ask_health, timeout=10)
        self.assertEqual(next(watch).status, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
        watch.cancel()

    def test_reflection_lists_and_describes_the_service(self):
        database = ProtoReflectionDescriptorDatabase(self.server.channel)
        self.assertIn("glimpse.v1.ChatService", database.get_services())
        file = database.FindFileContainingSymbol("glimpse.v1.ChatService")
        self.assertEqual(file.name, "glimpse/v1/chat.proto")

    def open_files(self):
        return len(os.listdir(f"/proc/{self.server.process.pid}/fd"))

    def test_connections_that_close_leave_no_descriptor_behind(self):
        ask(self.server.chat, request("Hi", max_tokens=1))
        before = self.open_files()
        channels = [self.server.connect() for _ in range(100)]
        for channel in channels:
            stub = harness.chat_pb2_grpc.ChatServiceStub(channel)
            ask(stub, request("Hi", max_tokens=1))
        self.assertGreaterEqual(self.open_files(), before + 100)
        for channel in channels:
            channel.close()
        self.wait_for_open_files(before)

    def wait_for_open_files(self, most):
        deadline = time.monotonic() + 30
        while self.open_files() > most:
            self.assertLess(time.monotonic(), deadline, f"{self.open_files()} descriptors")
            time.sleep(0.05)

    def test_connections_that_speak_no_http2_do_not_disturb(self):
        before = self.open_files()
        host, port = self.server.address.split(":")
        for data in (b"", b"GET / HTTP/1.1\r\n\r\n", bytes(1000), b"PRI * HTTP/2.0\r\n"):
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                connection.sendall(data)
        ask(self.server.chat, request("Hi", max_tokens=1))
        self.wait_for_open_files(before)

    def test_pings_of_a_client_are_answered(self):
        options = (("grpc.keepalive_time_ms", 10000), ("grpc.keepalive_timeout_ms", 5000))
        options += (("grpc.keepalive_permit_without_calls", 1),)
        channel = self.server.connect(*options)
        ask(harness.chat_pb2_grpc.ChatServiceStub(channel), request("Hi", max_tokens=1))
        channel.close()


class KeepaliveTest(unittest.TestCase):
    def test_a_silent_peer_is_dropped_after_keepalive_time_and_timeout(self):
        # Silent from the start, after a client's preface, and after its empty SETTINGS; it answers
        # nothing, pings neither.
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        settings = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
        flags = ("--keepalive_time=1s", "--keepalive_timeout=1s")
        with harness.Server(*flags) as server:
            host, port = server.address.split(":")
            for words in (b"", preface, preface + settings):
                with socket.create_connection((host, int(port)), timeout=20) as connection:
                    connection.sendall(words)
                    while connection.recv(4096):
                        pass


class StartTest(unittest.TestCase):
    """A start that can't work: one clear line on stderr after the progress, exit code 1 or 2."""

    def assert_fails(self, flags, *words):
        done = subprocess.run(
            [harness.SERVER, *harness.ANY_PORTS, *flags],
            capture_output=True,
            text=True,
            timeout=harness.START_SECONDS,
        )
        self.assertIn(done.returncode, (1, 2), done.stderr)
        before = ("weights ", "metrics on ")
        lines = [line for line in done.stderr.splitlines() if not line.startswith(before)]
        self.assertEqual(len(lines), 1, done.stderr)
        for word in words:
            self.assertIn(word, lines[0])
        return done

    def copy_of_model(self):
        folder = tempfile.mkdtemp(prefix="glimpse_model_")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        return pathlib.Path(shutil.copytree(harness.MODEL, folder, dirs_exist_ok=True))

    def test_no_model(self):
        self.assert_fails(["--listen=127.0.0.1:0"], "--model")

    def test_a_folder_that_is_not_there(self):
        self.assert_fails(["--model=/nope", "--listen=127.0.0.1:0"], "/nope")

    def test_a_broken_configuration(self):
        folder = self.copy_of_model()
        (folder / "config.json").write_text('{"hidden_size": ')
        self.assert_fails([f"--model={folder}", "--listen=127.0.0.1:0"], "config.json")

    def test_a_missing_shard(self):
        folder = self.copy_of_model()
        shard = sorted(folder.glob("*.safetensors"))[0]
        shard.unlink()
        self.assert_fails([f"--model={folder}", "--listen=127.0.0.1:0"], shard.name)

    def test_a_cut_shard(self):
        folder = self.copy_of_model()
        shard = sorted(folder.glob("*.safetensors"))[0]
        shard.write_bytes(shard.read_bytes()[:-1000])
        self.assert_fails([f"--model={folder}", "--listen=127.0.0.1:0"], shard.name)

    def test_a_missing_vocabulary(self):
        folder = self.copy_of_model()
        (folder / "tokenizer.model").unlink()
        done = self.assert_fails([f"--model={folder}", "--listen=127.0.0.1:0"], "tokenizer.model")
        self.assertNotIn("weights ", done.stderr)  # found before they are loaded

    def test_a_vocabulary_with_more_ids_than_the_model(self):
        folder = self.copy_of_model()
        config = json.loads((folder / "config.json").read_text())
        config["padded_vocab_size"] = 1478  # two ids fewer than the tokenizer has
        (folder / "config.json").write_text(json.dumps(config))
        self.assert_fails([f"--model={folder}", "--listen=127.0.0.1:0"], "1480", "1478")

    def test_an_occupied_port(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = "127.0.0.1:%d" % taken.getsockname()[1]
            self.assert_fails([f"--model={harness.MODEL}", f"--listen={address}"], address)

    def test_an_unknown_flag(self):
        self.assert_fails(["--modell=x"], "modell")

    def test_a_flag_that_is_no_number(self):
        self.assert_fails([f"--model={harness.MODEL}", "--max_batch_size=many"], "max_batch_size")

    def test_a_stray_argument(self):
        self.assert_fails([f"--model={harness.MODEL}", "stray"], "stray")

    def test_limits_of_zero(self):
        for flag in ("max_batch_size", "max_queue_requests", "max_queue_tokens", "max_queue_bytes"):
            self.assert_fails([f"--model={harness.MODEL}", f"--{flag}=0"], flag)
        for flag in ("max_image_bytes", "max_image_pixels", "max_image_side", "max_message_bytes"):
            self.assert_fails([f"--model={harness.MODEL}", f"--{flag}=0"], flag)

    def test_limits_that_are_too_large(self):
        for flag in ("max_queue_requests", "max_message_bytes"):
            self.assert_fails([f"--model={harness.MODEL}", f"--{flag}=4294967296"], flag)
        for flag, value in (("max_batch_size", 4097), ("preprocess_threads", 1025)):
            self.assert_fails([f"--model={harness.MODEL}", f"--{flag}={value}"], flag)

    def test_an_unknown_device_or_type(self):
        for flag in ("device", "dtype", "load_format", "quantization"):
            self.assert_fails([f"--model={harness.MODEL}", f"--{flag}=nope"], flag)


if __name__ == "__main__":
    unittest.main(verbosity=2)
