"""Starts the real glimpse-server and talks to it through grpcio.

    with harness.Server("--max_batch_size=2") as server:
        answer = harness.ask(server.chat, harness.request("Hello"))

The stubs are generated from proto/ when this module is imported. The programs are those in
GLIMPSE_BIN (ctest sets it; default build/bin), the checkpoint is in GLIMPSE_MODEL (default
models/tiny).
"""

import contextlib
import os
import pathlib
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("GLIMPSE_BIN", ROOT / "build/bin"))
SERVER = str(BIN / "glimpse-server")
MODEL = os.environ.get("GLIMPSE_MODEL", str(ROOT / "models/tiny"))
START_SECONDS = 120
CALL_SECONDS = 60  # no call of a test may hang longer than this
ANY_PORTS = ("--listen=127.0.0.1:0", "--admin_listen=127.0.0.1:0")

sys.path.insert(0, str(ROOT / "proto"))
chat_pb2, chat_pb2_grpc = grpc.protos_and_services("glimpse/v1/chat.proto")


class Server:
    """A running glimpse-server, READY when the block begins; its end must be a clean one."""

    def __init__(self, *flags, model=None, check_exit=True):
        self._check_exit = check_exit
        self.lines = []
        self.admin = None  # address of the admin port
        self.process = subprocess.Popen(
            self.command(model or MODEL, flags),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._seen = queue.Queue()
        self._reader = threading.Thread(target=self._read_output, daemon=True)
        self._reader.start()
        try:
            self.address = self._wait_for_address()
            self.channel = self.connect()
            self.chat = chat_pb2_grpc.ChatServiceStub(self.channel)
            self.health = health_pb2_grpc.HealthStub(self.channel)
            self.wait_until_ready()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def command(self, model, flags):
        """A subclass starts another program that speaks of itself as glimpse-server does."""
        return [SERVER, f"--model={model}", *ANY_PORTS, *flags]

    def _read_output(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            self._seen.put(line)
        self._seen.put(None)

    def _wait_for_address(self):
        deadline = time.monotonic() + START_SECONDS
        while True:
            line = self._seen.get(timeout=max(0.1, deadline - time.monotonic()))
            if line is None:
                raise RuntimeError("the server ended:\n" + "\n".join(self.lines))
            found = re.search(r"(listening|metrics) on\D*?((?:\d+\.){3}\d+:[1-9]\d*)", line)
            if found and found.group(1) == "listening":
                return found.group(2)
            if found:
                self.admin = found.group(2)

    def connect(self, *options):
        """A connection of its own: grpcio would share one between channels of equal options."""
        options += (("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1))
        return grpc.insecure_channel(self.address, options=options)

    def wait_until_ready(self):
        ask = health_pb2.HealthCheckRequest(service="readiness")
        for reply in self.health.Watch(ask, timeout=START_SECONDS, wait_for_ready=True):
            if reply.status == health_pb2.HealthCheckResponse.SERVING:
                return
        raise RuntimeError("the server never became ready")

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self):
        """Exit code; fails the test where the server hangs."""
        code = self.process.wait(timeout=CALL_SECONDS)
        self._reader.join(timeout=10)
        self.process.stdout.close()
        return code

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        self.channel.close()
        if self.process.poll() is None:
            self.terminate()
        try:
            code = self.wait()
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        if kind is not None:
            print("\n".join(self.lines[-20:]), file=sys.stderr)
        elif self._check_exit and code != 0:
            raise AssertionError(f"exit code {code}:\n" + "\n".join(self.lines[-20:]))


class FakeServer(Server):
    """The real server code over tests/fake_engine: each answer is a hash of its request."""

    def command(self, model, flags):
        return [str(BIN / "glimpse-fake-server"), *ANY_PORTS, *flags]


def metrics(server):
    """{name or name{labels}: value} of the server's /metrics."""
    with urllib.request.urlopen(f"http://{server.admin}/metrics", timeout=CALL_SECONDS) as page:
        lines = page.read().decode().splitlines()
    return {k: float(v) for k, v in (l.rsplit(" ", 1) for l in lines if l and l[0] != "#")}


def total(values, name, *labels):
    """Sum over the metric's children that have all of these labels, each as name="value"."""
    return sum(
        value
        for key, value in values.items()
        if re.split(r"[{ ]", key)[0] == name and all(label in key for label in labels)
    )


def wait_until(condition, seconds=CALL_SECONDS):
    """The first result of `condition` that is true; fails when there is none within `seconds`."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s")
        time.sleep(0.01)
    return result


@contextlib.contextmanager
def loading(model, address):
    """A server that has just been started, with random weights of the model's sizes."""
    command = [SERVER, f"--model={model}", f"--listen={address}", "--admin_listen=off"]
    process = subprocess.Popen(
        [*command, "--load_format=dummy", "--max_batch_size=1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def details_of(error):
    """{message type: message} of what an RpcError carries in google.rpc.Status."""
    found, status = {}, rpc_status.from_call(error)
    types = ("ErrorInfo", "BadRequest", "RetryInfo")
    for packed in status.details if status is not None else ():
        for name in types:
            message = getattr(error_details_pb2, name)()
            if packed.Unpack(message):
                found[name] = message
    return found


ROLES = {
    "system": chat_pb2.ROLE_SYSTEM,
    "user": chat_pb2.ROLE_USER,
    "assistant": chat_pb2.ROLE_ASSISTANT,
}


def request(*texts, image=None, roles=None, request_id="", **generation):
    """A conversation of these texts, user and assistant in turns; the picture in the first user
    message."""
    out = chat_pb2.ChatRequest(
        request_id=request_id, generation=chat_pb2.Generation(**generation)
    )
    for i, text in enumerate(texts):
        role = roles[i] if roles else ("user", "assistant")[i % 2]
        message = out.messages.add(role=ROLES[role])
        if image is not None and role == "user":
            message.parts.add(image=image)
            image = None
        message.parts.add(text=text)
    return out


class Answer:
    """A whole stream, checked for its order: started, deltas, finished, and nothing else."""

    def __init__(self, responses):
        events = list(responses)
        kinds = [event.WhichOneof("event") for event in events]
        expected = ["started"] + ["delta"] * (len(events) - 2) + ["finished"]
        if kinds != expected:
            raise AssertionError(f"events {kinds}")
        self.started, self.finished = events[0].started, events[-1].finished
        self.deltas = [event.delta for event in events[1:-1]]
        self.text = "".join(delta.text for delta in self.deltas)
        self.token_ids = [id for delta in self.deltas for id in delta.token_ids]
        self.logprobs = [entry for delta in self.deltas for entry in delta.logprobs]


def ask(chat, message, timeout=CALL_SECONDS):
    return Answer(chat.Chat(message, timeout=timeout))


def endless(server, most=900, **more):
    """A request that runs until it is stopped, or has `most` tokens, or fills the context."""
    limits = server.chat.GetModel(chat_pb2.GetModelRequest(), timeout=CALL_SECONDS).limits
    tokens = min(most, limits.max_context_tokens - 100)
    return request("Go on.", ignore_eos=True, max_tokens=tokens, **more)
