"""One connection, many commands in a write: redis-py's pipelines cost ten times as much for each.

Replies are what hiredis makes of them: bytes, int, lists, None, and errors as values. Nothing is tried again: a
command whose answer is lost may have been done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gaiaops.cache.failures import needed, refuses_key

if TYPE_CHECKING:
    from redis import Redis

_READ = 1 << 16
Reply = Any


class ReplyError(Exception):
    """What the server refused, as a value among the replies."""


def pack(*arguments: bytes) -> bytes:
    """A command as Redis reads it (RESP: an array of bulk strings).

    >>> pack(b"PING")
    b'*1\\r\\n$4\\r\\nPING\\r\\n'
    """
    return b"*%d\r\n" % len(arguments) + b"".join(b"$%d\r\n%b\r\n" % (len(a), a) for a in arguments)


def pack_each(command: bytes, keys: Sequence[bytes]) -> bytes:
    """A command of one word for each of many keys.

    >>> pack_each(b"TYPE", [b"k"]) == pack(b"TYPE", b"k")
    True
    """
    head = b"*2\r\n$%d\r\n%b\r\n$" % (len(command), command)
    return b"".join([b"%b%d\r\n%b\r\n" % (head, len(key), key) for key in keys])


class Lane:
    """A connection of a client, used directly. What it cannot do is in `missing`: command → why."""

    def __init__(self, client: Redis) -> None:
        import hiredis

        connection = client.connection_pool.get_connection()
        self._connection = connection
        self._socket: Any = connection._sock  # redis-py has no name for it that is public
        self._reader = hiredis.Reader(replyError=ReplyError)
        self.missing: dict[str, str] = {}

    def send(self, data: bytes) -> None:
        """Writes packed commands; their replies are read in their order."""
        with self._translated():
            self._socket.sendall(data)

    def read(self, number: int) -> list[Reply]:
        """The next replies."""
        import redis

        replies: list[Reply] = []
        gets, feed = self._reader.gets, self._reader.feed
        with self._translated():
            while len(replies) < number:
                reply = gets()
                if reply is not False:  # our commands answer nothing that RESP2 makes False
                    replies.append(reply)
                    continue
                data = self._socket.recv(_READ)
                if not data:
                    raise redis.ConnectionError("Connection closed by server.")
                feed(data)
        return replies

    def ask(self, *commands: tuple[bytes, ...]) -> list[Reply]:
        """Replies to a few commands, sent together; refusals are values."""
        self.send(b"".join(pack(*command) for command in commands))
        return self.read(len(commands))

    def must(self, *command: bytes) -> Reply:
        """The reply to one command. Raises redis's error where it is refused."""
        return raised(self.ask(command)[0])

    def may(self, name: str, *command: bytes) -> Reply | None:
        """The reply to one command that can be done without: None where it is refused, and `missing` says why."""
        if name in self.missing:
            return None
        reply = self.ask(command)[0]
        return None if self.lacks(name, reply) else raised(reply)

    def lacks(self, name: str, reply: Reply) -> bool:
        """Notes where a reply says that this user may not run a command, or that the server has none such."""
        if not isinstance(reply, ReplyError):
            return False
        why = needed(str(reply), name)
        if why and not refuses_key(str(reply)):
            self.missing[name] = why
        return bool(why)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """The socket's failures as redis-py's, which `connect` knows."""
        import hiredis
        import redis

        try:
            yield
        except TimeoutError:
            raise redis.TimeoutError("Timeout reading from socket") from None
        except hiredis.ProtocolError as error:
            raise redis.exceptions.InvalidResponse(f"Protocol error: {error}") from None
        except OSError as error:
            raise redis.ConnectionError(f"Connection closed by server. {error.strerror}") from None


def raised(reply: Reply) -> Reply:
    """The reply, unless it is an error: that is raised as redis's."""
    import redis

    if isinstance(reply, ReplyError):
        raise redis.ResponseError(str(reply))
    return reply
