"""Which commands of Redis a read-only shell lets through. Redis itself has no read-only session: a shell speaks to the
server through us, and what is not known to read only goes no further.

The names are Redis's own (`COMMAND`, flag "readonly"), and those beside them that look at the server or concern the
connection alone. A list of ours, and not the server's answer: a user may be denied `COMMAND`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_READING = _names(
    """
    BITCOUNT BITFIELD_RO BITPOS DBSIZE DUMP EVALSHA_RO EVAL_RO EXISTS EXPIRETIME FCALL_RO GEODIST GEOHASH GEOPOS
    GEORADIUSBYMEMBER_RO GEORADIUS_RO GEOSEARCH GET GETBIT GETRANGE HEXISTS HEXPIRETIME HGET HGETALL HKEYS HLEN HMGET
    HPEXPIRETIME HPTTL HRANDFIELD HSCAN HSTRLEN HTTL HVALS KEYS LCS LINDEX LLEN LOLWUT LPOS LRANGE MGET OBJECT
    PEXPIRETIME PFCOUNT PTTL RANDOMKEY SCAN SCARD SDIFF SINTER SINTERCARD SISMEMBER SMEMBERS SMISMEMBER SORT_RO
    SRANDMEMBER SSCAN STRALGO STRLEN SUBSTR SUNION TOUCH TTL TYPE XINFO XLEN XPENDING XRANGE XREAD XREVRANGE ZCARD
    ZCOUNT ZDIFF ZINTER ZINTERCARD ZLEXCOUNT ZMSCORE ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANK ZREVRANGE
    ZREVRANGEBYLEX ZREVRANGEBYSCORE ZREVRANK ZSCAN ZSCORE ZUNION
    """
)
# They change no data and nobody else's connection.
_HARMLESS = _names(
    """
    ASKING AUTH COMMAND DISCARD ECHO EXEC HELLO INFO LASTSAVE MONITOR MULTI PING PSUBSCRIBE PUBSUB PUNSUBSCRIBE
    QUIT READONLY RESET ROLE SELECT SSUBSCRIBE SUBSCRIBE SUNSUBSCRIBE TIME UNSUBSCRIBE UNWATCH WAIT WATCH
    """
)
_SUBCOMMANDS = {
    "ACL": _names("CAT DRYRUN GENPASS GETUSER HELP LIST USERS WHOAMI"),
    "CLIENT": _names("GETNAME GETREDIR HELP ID INFO LIST SETINFO SETNAME TRACKINGINFO"),
    "CLUSTER": _names("COUNTKEYSINSLOT GETKEYSINSLOT HELP INFO KEYSLOT LINKS MYID NODES REPLICAS SHARDS SLAVES SLOTS"),
    "CONFIG": _names("GET HELP"),
    "FUNCTION": _names("DUMP HELP LIST STATS"),
    "LATENCY": _names("DOCTOR GRAPH HELP HISTOGRAM HISTORY LATEST"),
    "MEMORY": _names("DOCTOR HELP MALLOC-STATS STATS USAGE"),
    "MODULE": _names("HELP LIST"),
    "SCRIPT": _names("EXISTS HELP"),
    "SLOWLOG": _names("GET HELP LEN"),
}
_HEAD = re.compile(rb"\*([0-9]{1,7})\r\n")
_LENGTH = re.compile(rb"\$([0-9]{1,9})\r\n")
_LONGEST_HEAD = 16  # bytes of a line with a number


class NotACommandError(ValueError):
    """What came is no command as shells send them."""


def reads_only(command: Sequence[bytes]) -> bool:
    """Whether a command, word for word, cannot change anything.

    >>> [reads_only(words) for words in ([b"get", b"k"], [b"CONFIG", b"get"], [b"CONFIG", b"SET"], [b"DEL", b"k"])]
    [True, True, False, False]
    """
    words = [word.decode("latin-1").upper() for word in command[:2]]
    name = words[0] if words else ""
    return name in _READING or name in _HARMLESS or (len(words) > 1 and words[1] in _SUBCOMMANDS.get(name, ()))


class Gate:
    """What a shell sends, command by command: bytes for the server, and answers to what does not get there."""

    def __init__(self, refusal: str) -> None:
        """`refusal` is said of each command that is refused, after its name."""
        self._refusal = refusal
        self._rest = b""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """(for the server, for the shell). A shell waits for each answer before the next command, so the order of
        answers is theirs. Raises NotACommandError."""
        self._rest += data
        passed, said, begin = [], [], 0
        while (found := _command(self._rest, begin)) is not None:
            words, end = found
            if reads_only(words):
                passed.append(self._rest[begin:end])
            elif words:
                said.append(b"-READONLY %b %b\r\n" % (_shown(words[0]), self._refusal.encode()))
            begin = end
        self._rest = self._rest[begin:]
        return b"".join(passed), b"".join(said)


def _shown(name: bytes) -> bytes:
    """A command's name, for a line of its own."""
    return re.sub(rb"[^!-~]", b"?", name[:40].upper())


def _command(data: bytes, at: int) -> tuple[list[bytes], int] | None:
    """The command that begins there and where it ends (RESP: an array of bulk strings); None where it is not whole."""
    head = _line(_HEAD, data, at)
    if head is None:
        return None
    words, at = [], head.end()
    for _ in range(int(head[1])):
        length = _line(_LENGTH, data, at)
        if length is None:
            return None
        end = length.end() + int(length[1])
        if len(data) < end + 2:
            return None
        if data[end : end + 2] != b"\r\n":
            raise NotACommandError
        words.append(data[length.end() : end])
        at = end + 2
    return words, at


def _line(shape: re.Pattern[bytes], data: bytes, at: int) -> re.Match[bytes] | None:
    """A line with a number; None where it is not whole. Raises NotACommandError."""
    found = shape.match(data, at)
    if found is None and (b"\n" in data[at : at + _LONGEST_HEAD] or len(data) - at > _LONGEST_HEAD):
        raise NotACommandError
    return found
