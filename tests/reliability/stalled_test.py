"""R6: connections that stall, in every state that one can be in."""

import concurrent.futures
import contextlib
import os
import pathlib
import signal
import struct
import subprocess
import sys
import time
import unittest

import harness
import rig
from http2 import (
    DATA,
    DEFAULT_WINDOW,
    MAX_WINDOW,
    PREFACE,
    WINDOW_UPDATE,
    Connection,
    Ended,
    frame,
    settings,
)
from rig import FakeServer, ReliabilityTest, Row, open_files, resident_bytes, size

KEEPALIVE_SECONDS = 1 + 1  # time + timeout, as below
KEEPALIVE = ("--keepalive_time=1s", "--keepalive_timeout=1s")


# All of them answer no ping either.
def silent(connection, _):
    """The preface and SETTINGS, and nothing since."""


def begun(connection, _):
    """Headers, and a body that never comes."""
    connection.headers()


def half_asked(connection, message):
    """Headers and a piece of the body."""
    connection.headers(then=frame(DATA, 0, 1, b"\0\0\0\x10\0" + message.SerializeToString()))


def unread(connection, message):
    """A whole request whose answer nobody reads."""
    connection.ask(message)


def unread_socket(address, message):
    """The same with a small buffer on this side, and no end to what the server may send."""
    connection = Connection(address, window=MAX_WINDOW, receive_buffer=4096)
    connection.open_window(MAX_WINDOW - DEFAULT_WINDOW)
    connection.ask(message)
    return connection


def unsent(server):
    """How many of the server's connections have bytes that the peer has no room for."""
    port = f":{int(server.address.rsplit(':', 1)[1]):04X}"
    lines = [l.split() for l in pathlib.Path("/proc/net/tcp6").read_text().splitlines()]
    return sum(f[1].endswith(port) and not f[4].startswith("00000000") for f in lines)


def pour(connection, streams, size):
    """Sends `size` bytes of each of `streams` requests that would be longer, as far as the server
    opens its windows; how many it took."""
    prefix, piece = struct.pack(">BI", 0, size + 1), 16384
    left, windows = {}, {0: DEFAULT_WINDOW - streams * len(prefix)}
    for _ in range(streams):
        stream = connection.headers(then=frame(DATA, 0, connection.next_stream, prefix))
        left[stream], windows[stream] = size, DEFAULT_WINDOW - len(prefix)
    connection.socket.settimeout(2)
    try:
        while any(left.values()):
            for stream in left:
                while (most := min(left[stream], windows[stream], windows[0], piece)) > 0:
                    connection.send(frame(DATA, 0, stream, bytes(most)))
                    for counts, of in ((left, stream), (windows, stream), (windows, 0)):
                        counts[of] -= most
            kind, _, stream, payload = connection.next_frame()
            if kind == WINDOW_UPDATE and stream in windows:
                windows[stream] += int.from_bytes(payload, "big")
    except (OSError, Ended):
        pass  # it takes no more
    return streams * size - sum(left.values())


class StalledTest(ReliabilityTest):
    def stall(self, server, message, count):
        """`count` stalled connections of all kinds in turn."""
        kinds = [b"", PREFACE[:10], PREFACE, PREFACE + settings()[:7]]
        kinds += [silent, begun, half_asked, unread]
        made = []
        for i in range(count):
            kind = kinds[i % len(kinds)]
            if isinstance(kind, bytes):
                made.append(Connection(server.address, words=kind))
            else:
                made.append(Connection(server.address))
                kind(made[-1], message)
        return made

    def stopped_peer(self, address, count):
        """A process with `count` connections, each with a call, that is stopped by SIGSTOP."""
        here = os.path.abspath(__file__)
        command = [sys.executable, here, "--peer", address, str(count)]
        peer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.addCleanup(peer.stdout.close)
        self.addCleanup(peer.wait)
        self.addCleanup(peer.kill)
        self.assertEqual(peer.stdout.readline(), "connected\n")
        peer.send_signal(signal.SIGSTOP)

    @contextlib.contextmanager
    def all_freed(self, row, server, known):
        """Inside, the connections are made; then the living are served, and what stalls is freed
        in time."""
        files = open_files(server)
        yield files
        start = time.monotonic()
        for i, message in enumerate(known.messages):
            answer = harness.ask(server.chat, message)
            row.wrong_answers += not known.is_right(i, answer.token_ids)
        row.requests = len(known.messages)
        harness.wait_until(lambda: open_files(server) <= files, 60)
        seconds = time.monotonic() - start
        row.leaks = self.leaks(server, files)
        row.figure("from the last word to all freed", seconds, "s", KEEPALIVE_SECONDS + 1, 30)

    def test_stalled_connections_are_freed(self):
        count = size(200, 1000)
        row = Row("R6", f"{count} stalled connections of 9 kinds, a tenth of stopped processes")
        with FakeServer(*KEEPALIVE, "--max_batch_size=8", "--decode_step_time=1ms") as server:
            known = rig.Known(server, rig.prompts(4, max_tokens=50))
            with self.all_freed(row, server, known) as files:
                made = self.stall(server, known.messages[0], count - count // 10)
                self.stopped_peer(server.address, count // 10)
                self.assertGreater(open_files(server) - files, count // 2)
            for connection in made:
                connection.socket.close()
        self.finish(row)

    def test_peers_whose_sockets_are_full_are_freed(self):
        """Their answers fill every buffer on the way, so no ping gets through either."""
        count = size(8, 64)
        row = Row("R6", f"{count} connections that read nothing of a long answer")
        message = harness.request("Go on.", ignore_eos=True, max_tokens=8000, logprobs=20)
        flags = ("--max_batch_size=64", "--max_context=16384")
        with FakeServer(*KEEPALIVE, *flags) as server:
            known = rig.Known(server, rig.prompts(4, max_tokens=50))
            with self.all_freed(row, server, known):
                full = [unread_socket(server.address, message) for _ in range(count)]
                harness.wait_until(lambda: unsent(server) >= count, 10)
            for connection in full:
                connection.socket.close()
        self.finish(row)

    def test_bodies_that_never_end_are_bounded(self):
        """Their senders are alive: no timeout ends them, and no queue has seen them yet."""
        count, streams, each = size(6, 20), 5, 18 << 20
        most = 128 << 20
        with FakeServer(f"--max_receiving_bytes={most}") as server:
            known = rig.Known(server, rig.prompts(4, max_tokens=50))
            before, files = resident_bytes(server), open_files(server)
            made = [Connection(server.address) for _ in range(count)]
            with concurrent.futures.ThreadPoolExecutor(count) as pool:
                sent = sum(pool.map(lambda connection: pour(connection, streams, each), made))
            row = Row("R6", f"{count * streams} bodies without end of {each >> 20} MiB so far")
            grown = resident_bytes(server) - before
            row.figure("memory over its bound", grown / most, "times the bound", 1.5, 2)
            self.assertGreater(sent, most)
            row.requests = len(known.messages)
            for i, message in enumerate(known.messages):
                answer = harness.ask(server.chat, message)
                row.wrong_answers += not known.is_right(i, answer.token_ids)
            for connection in made:
                connection.socket.close()
            row.leaks = self.leaks(server, files)
        self.finish(row)


def peer_main(address, count):
    """The process that is going to be stopped."""
    message = harness.request("Go on.", ignore_eos=True, max_tokens=50)
    connections = [Connection(address) for _ in range(count)]
    for connection in connections:
        connection.ask(message)
    print("connected", flush=True)
    time.sleep(600)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peer"]:
        peer_main(sys.argv[2], int(sys.argv[3]))
    else:
        unittest.main(verbosity=2)
