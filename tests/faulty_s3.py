"""A proxy in front of the S3 server that answers some requests as a busy, broken or distant one does."""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

Fault = Literal["500", "503", "reset", "stall", "cut", "lost", "expired"]
"""InternalError; SlowDown; the connection is reset; no answer; half of the body; the request is carried out, and the
connection reset instead of an answer; the credentials' time is over."""

STALL_SECONDS = 3.0

_CODES = {"500": (500, "InternalError"), "503": (503, "SlowDown"), "expired": (400, "ExpiredToken")}
_HOP_BY_HOP = frozenset(("connection", "keep-alive", "transfer-encoding"))

Choice = Callable[[str, str], Fault | None]
"""(method, path with query) -> what happens to that request, None for nothing."""


@dataclass
class FaultyS3:
    """A running proxy."""

    endpoint: str
    """What goes in the place of the server's endpoint."""
    choose: Choice = lambda method, path: None
    """Asked for every request; may be set anew at any time."""
    happened: list[tuple[Fault, str, str]] = field(default_factory=list)
    """(fault, method, path) of every fault, in order."""


def first(count: int, fault: Fault, method: str = "", part: str = "") -> Choice:
    """That fault for the first `count` requests with that method and that part in their path."""
    left = [count]
    lock = threading.Lock()

    def choose(asked: str, path: str) -> Fault | None:
        with lock:
            if left[0] and method in ("", asked) and part in path:
                left[0] -= 1
                return fault
        return None

    return choose


def now_and_then(share: float, faults: tuple[Fault, ...], seed: int) -> Choice:
    """One of the faults for that share of all requests, drawn from a seed."""
    generator = random.Random(seed)
    lock = threading.Lock()

    def choose(method: str, path: str) -> Fault | None:
        with lock:
            return generator.choice(faults) if generator.random() < share else None

    return choose


@contextmanager
def faulty_s3(endpoint: str) -> Iterator[FaultyS3]:
    """The proxy, for the time of the block, on a free loopback port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    proxy = FaultyS3(f"http://127.0.0.1:{server.server_address[1]}")
    _Handler.upstream, _Handler.proxy = urlsplit(endpoint).netloc, proxy
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream: str
    proxy: FaultyS3

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.proxy.choose(self.command, self.path)
        if fault is not None:
            self.proxy.happened.append((fault, self.command, self.path))
        if fault == "stall":
            time.sleep(STALL_SECONDS)
        elif fault == "reset":
            self._reset()
        elif fault in _CODES:
            self._refuse(*_CODES[fault])
        else:
            answer, content = self._asked(body)
            if fault == "lost":
                self._reset()
            else:
                self._pass_on(answer, content, whole=fault != "cut")

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _answer  # noqa: N815 - the names that the base class looks for

    def _asked(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        """The server's answer, and the body of it."""
        server = http.client.HTTPConnection(self.upstream, timeout=60)
        server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():  # Host among them: it is part of what the client signed
            if name.lower() not in _HOP_BY_HOP:
                server.putheader(name, value)
        server.endheaders(body)
        answer = server.getresponse()
        content = answer.read()
        server.close()
        return answer, content

    def _pass_on(self, answer: http.client.HTTPResponse, content: bytes, *, whole: bool) -> None:
        """Give the client the server's answer; without the second half of it unless `whole`."""
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP_BY_HOP | {"content-length"}:
                self.send_header(name, value)
        length = answer.headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(content if whole else content[: len(content) // 2])
        if not whole:
            self.close_connection = True

    def _refuse(self, status: int, code: str) -> None:
        content = f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # no farewell: a reset
        self.connection.close()
        self.close_connection = True

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, ValueError, OSError):
            return  # the client, or `_reset`, closed it

    def log_message(self, format: str, *args: object) -> None:
        """Tests print nothing."""
