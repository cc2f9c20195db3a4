"""A gRPC client on a bare socket, for what a well-behaved one won't do: say half a preface, let a
flow-control window run dry, reset a stream right after its headers, fall silent.

    with Connection(address) as connection:
        stream = connection.ask(message)          # headers and the whole request
        answer = connection.answer(stream)        # reads to the end: events, or an error

Nothing is read, and no ping answered, unless a method says so. One thread at a time.
"""

import socket
import struct

from harness import CALL_SECONDS, chat_pb2

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
CANCEL = 8  # an error code
DEFAULT_WINDOW = 65535
MAX_WINDOW = (1 << 31) - 1
CHAT = "/glimpse.v1.ChatService/Chat"


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(**values):
    """HEADER_TABLE_SIZE = 0: the server's headers can be read without keeping a table."""
    ids = {"header_table_size": 1, "initial_window_size": 4}
    entries = ((ids[name], value) for name, value in {"header_table_size": 0, **values}.items())
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", *entry) for entry in entries))


def header_block(authority, timeout_ms=None):
    """Literals without indexing and without Huffman's code: any HTTP/2 server reads them."""
    fields = [(":method", "POST"), (":scheme", "http"), (":path", CHAT), (":authority", authority)]
    fields += [("content-type", "application/grpc"), ("te", "trailers")]
    if timeout_ms is not None:
        fields.append(("grpc-timeout", f"{timeout_ms}m"))
    return b"".join(
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in fields
    )


def grpc_message(message):
    data = message.SerializeToString()
    return struct.pack(">BI", 0, len(data)) + data


def grpc_status(block):
    """The status code in a block of trailers; None in one without."""
    at = block.find(b"grpc-status")
    if at < 0:
        return None
    length = block[at + 11]
    return int(block[at + 12 : at + 12 + length])


class Ended(Exception):
    """The server ended the call with an error `code`, or the connection (None); until then came
    `events`."""

    def __init__(self, code, events=()):
        super().__init__(f"grpc-status {code}")
        self.code, self.events = code, list(events)


class Connection:
    def __init__(
        self, address, window=DEFAULT_WINDOW, source=None, receive_buffer=None, words=None
    ):
        """`window`: of each stream. `words`: what it says at first, instead of the preface and
        SETTINGS."""
        self._authority = address
        host, port = address.rsplit(":", 1)
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source is not None:
            self.socket.bind((source, 0))
        self.socket.settimeout(CALL_SECONDS)
        self.socket.connect((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.next_stream, self._received = 1, b""
        self.send(PREFACE + settings(initial_window_size=window) if words is None else words)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def headers(self, timeout_ms=None, then=b""):
        """Begins call `next_stream`; `then` goes out with the same write."""
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        block = header_block(self._authority, timeout_ms)
        self.send(frame(HEADERS, END_HEADERS, stream, block) + then)
        return stream

    def ask(self, message, timeout_ms=None):
        body = frame(DATA, END_STREAM, self.next_stream, grpc_message(message))
        return self.headers(timeout_ms, body)

    def reset(self, stream):
        self.send(frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL)))

    def headers_and_reset(self):
        self.headers(then=frame(RST_STREAM, 0, self.next_stream, struct.pack(">I", CANCEL)))

    def open_window(self, size, stream=0):
        self.send(frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", size)))

    def _take(self, size):
        while len(self._received) < size:
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                raise Ended(None)
            self._received += data
        taken, self._received = self._received[:size], self._received[size:]
        return taken

    def next_frame(self):
        """(kind, flags, stream, payload) of the next frame but SETTINGS and PING, which it
        answers."""
        while True:
            head = self._take(9)
            kind, flags, stream = struct.unpack(">BBI", head[3:])
            payload = self._take(int.from_bytes(head[:3], "big"))
            if kind in (SETTINGS, PING):
                if not flags & ACK:
                    self.send(frame(kind, ACK, 0, payload if kind == PING else b""))
            else:
                return kind, flags, stream, payload

    def answer(self, stream):
        """The call's events in their order. Ended: its status is an error. Frames of other streams
        are passed over: one call at a time."""
        data = b""
        while True:
            kind, flags, of, payload = self.next_frame()
            if kind == GOAWAY:
                raise Ended(None)
            if kind == DATA and payload:
                self.open_window(len(payload))
            if of != stream:
                continue
            if kind == DATA:
                data += payload
                if payload and not flags & END_STREAM:
                    self.open_window(len(payload), stream)
            elif kind == HEADERS and flags & END_STREAM:
                code = grpc_status(payload)
                if code != 0:
                    raise Ended(code, parse(data))
                return list(parse(data))
            elif kind == RST_STREAM:
                raise Ended(None)


def parse(data):
    """The events of a stream's bytes."""
    while data:
        (length,) = struct.unpack(">xI", data[:5])
        yield chat_pb2.ChatResponse.FromString(data[5 : 5 + length])
        data = data[5 + length :]
