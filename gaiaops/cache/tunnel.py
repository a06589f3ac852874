"""Connections of redis-py through a tunnel: to its near end, under the server's name."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gaiaops.tunnels import Place


def through_tunnel(place: Place, *, tls: bool) -> Any:
    """A class of connections that go to `place`. `host` stays the server's: redis-py verifies the certificate by it,
    and its errors name it."""
    from redis.connection import Connection, SSLConnection

    class Tunnelled(Connection):
        def _connect(self) -> socket.socket:
            near = socket.create_connection((place.host, place.port), self.socket_connect_timeout)
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            near.settimeout(self.socket_timeout)
            return near

    class TunnelledTLS(SSLConnection, Tunnelled):
        """SSLConnection wraps what the next class in line connects (the order of Python's super)."""

    return TunnelledTLS if tls else Tunnelled
