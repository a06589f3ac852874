"""Whether the server itself answers at an address: a tunnel's program accepts before the far end is there."""

from __future__ import annotations

import socket
import ssl
import struct
from contextlib import suppress

from gaiaops.registry.urls import Url

# SSLRequest: its length and a number that is no protocol version (manual 54.7); the answer is S or N, and E where the
# server cannot even start a process for us.
_SSL_REQUEST = struct.pack("!II", 8, 80877103)
_POSTGRES_ANSWERS = (b"S", b"N", b"E")
_REDIS_ANSWERS = (b"+", b"-", b"$", b"*", b":")  # a refusal is an answer too: -NOAUTH, -LOADING


SILENCE = "no answer from the other end"
ANOTHER = "what answers at the other end is no"
_CLOSED = "the other end closed the connection"


def failure(url: Url, place: tuple[str, int], timeout: float) -> str:
    """Why the server does not answer at `place`; "" where it does."""
    try:
        with socket.create_connection(place, timeout) as connection:
            return _greet(url, connection)
    except TimeoutError:
        return SILENCE
    except ConnectionRefusedError:
        return "nothing listens on the local port yet"
    except (ConnectionResetError, BrokenPipeError):
        return _CLOSED
    except OSError as error:
        return error.strerror or type(error).__name__


def _greet(url: Url, connection: socket.socket) -> str:
    if url.scheme == "rediss":
        return _tls(url, connection, None)
    if url.scheme in ("redis", "unix"):
        return _said(connection, b"PING\r\n", _REDIS_ANSWERS, "Redis")
    if ("sslnegotiation", "direct") in url.options:
        return _tls(url, connection, "postgresql")
    return _said(connection, _SSL_REQUEST, _POSTGRES_ANSWERS, "PostgreSQL")


def _said(connection: socket.socket, question: bytes, answers: tuple[bytes, ...], server: str) -> str:
    connection.sendall(question)
    answer = connection.recv(1)
    if not answer:
        return _CLOSED
    return "" if answer in answers else f"{ANOTHER} {server}"


def _tls(url: Url, connection: socket.socket, protocol: str | None) -> str:
    """A TLS handshake. Who the server is, is not asked here: the connection that comes after it verifies."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocol is not None:
        context.set_alpn_protocols([protocol])
    try:
        with context.wrap_socket(connection, server_hostname=url.host or None) as secured, suppress(OSError):
            secured.unwrap()
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
        return _CLOSED
    except ssl.SSLError:
        return ""  # it answered, and the connection will say in what way it is wrong
    return ""
