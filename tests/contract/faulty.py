"""A proxy before the server under test that misbehaves on the requests of one's choice."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx

HTML = b"<html><body><h1>Bad gateway</h1></body></html>"


@dataclass
class Call:
    """One request on its way: the fault answers it in one of these ways."""

    number: int
    path: str
    query: dict[str, str]
    handler: BaseHTTPRequestHandler
    upstream: httpx.Client

    @property
    def is_list(self) -> bool:
        return self.path.endswith("/admin/users")

    @property
    def is_page(self) -> bool:
        """Whether it asks for a page of users; not the first question, nor the one that only wants the total."""
        return self.is_list and int(self.query.get("page", 10**9)) < 10**9

    def fetch(self, **changed: str) -> httpx.Response:
        """What the server says to the request, with other parameters."""
        sent = {
            name: value
            for name, value in self.handler.headers.items()
            if name.lower() in ("apikey", "authorization", "x-supabase-api-version")
        }
        return self.upstream.get(self.path, params={**self.query, **changed}, headers=sent)

    def forward(self, headers: Mapping[str, str] | None = None, **changed: str) -> None:
        """Hands the server's answer on, with other parameters and headers."""
        response = self.fetch(**changed)
        kept = {
            name: value
            for name, value in response.headers.items()
            if name.lower() not in ("content-length", "content-encoding", "connection", "transfer-encoding")
        }
        self.answer(response.status_code, {**kept, **(headers or {})}, response.content)

    def answer(self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
        """Answers itself."""
        self.handler.send_response_only(status)
        for name, value in (headers or {}).items():
            self.handler.send_header(name, value)
        self.handler.send_header("Content-Length", str(len(body)))
        self.handler.end_headers()
        self.handler.wfile.write(body)

    def refuse(self, status: int, code: str) -> None:
        """Answers with one of the server's own errors."""
        body = f'{{"code":{status},"error_code":"{code}","msg":"no"}}'.encode()
        self.answer(status, {"x-sb-error-code": code, "Content-Type": "application/json"}, body)

    def truncate(self) -> None:
        """Hands half of the answer on and hangs up."""
        body = self.fetch().content
        self.handler.send_response_only(200)
        self.handler.send_header("Content-Length", str(len(body)))
        self.handler.end_headers()
        self.handler.wfile.write(body[: len(body) // 2])
        self.handler.close_connection = True

    def reset(self) -> None:
        """Resets the connection."""
        self.handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.handler.close_connection = True


Fault = Callable[[Call], None]


@dataclass
class Proxy:
    """The proxy's address as a project's URL, and the requests it saw."""

    url: str
    paths: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)


@contextmanager
def faulty(server_url: str, fault: Fault) -> Iterator[Proxy]:
    """A proxy before the server (its URL ends in /auth/v1); `fault` answers each request, numbered from 1."""
    root = server_url.removesuffix("/auth/v1")
    numbers = itertools.count(1)
    with httpx.Client(base_url=root, timeout=30, trust_env=False) as upstream:

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Headers and body go out together; the client would wait for them with Nagle's algorithm.
            wbufsize = -1
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                proxy.paths.append(self.path)
                proxy.keys.append(self.headers.get("apikey", ""))
                asked = urlsplit(self.path)
                try:
                    fault(Call(next(numbers), asked.path, dict(parse_qsl(asked.query)), self, upstream))
                    self.wfile.flush()
                except (ConnectionError, httpx.HTTPError):
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_: Any) -> None:
                """A client that hung up is no error here."""

        with Quiet(("127.0.0.1", 0), Handler) as listening:
            proxy = Proxy(f"http://127.0.0.1:{listening.server_address[1]}")
            thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
            thread.start()
            try:
                yield proxy
            finally:
                listening.shutdown()
                thread.join()


def capped(limit: int) -> Fault:
    """Pages of at most `limit` users, as a gateway may have it."""

    def fault(call: Call) -> None:
        size = int(call.query.get("per_page", 50))
        call.forward(**({"per_page": str(limit)} if size > limit else {}))

    return fault


def redirect(call: Call, root: str) -> None:
    """Sends the client to the same path elsewhere."""
    query = f"?{urlencode(call.query)}" if call.query else ""
    call.answer(308, {"Location": f"{root}{call.path}{query}"})
