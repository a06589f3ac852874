"""The commands that a read-only shell lets through, against what the server itself says of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import redis

from gaiaops.cache.lane import pack
from gaiaops.cache.read_only import Gate, NotACommandError, reads_only
from tests.conftest import Sandbox

# They answer nothing that a shell could show, change nothing that lasts, or are older names.
NOT_NEEDED = {"host:", "post", "substr"}
NAME, FLAGS, SUBCOMMANDS = 0, 2, 9  # the parts of an entry of COMMAND


@pytest.fixture(scope="module")
def commands(sandbox: Sandbox) -> list[tuple[list[bytes], set[bytes]]]:
    """Every command and subcommand with its flags."""
    with redis.Redis.from_url(sandbox.state.redis_url("dev")) as client:
        client.set_response_callback("COMMAND", lambda reply: reply)
        return list(_each(client.execute_command("COMMAND")))


def _each(entries: Sequence[Any]) -> Iterator[tuple[list[bytes], set[bytes]]]:
    for entry in entries:
        below = entry[SUBCOMMANDS] if len(entry) > SUBCOMMANDS else ()
        if not below:
            yield [entry[NAME]], {_text(flag) for flag in entry[FLAGS]}
        for one in below:
            yield one[NAME].split(b"|"), {_text(flag) for flag in one[FLAGS]}


def _text(flag: object) -> bytes:
    return flag if isinstance(flag, bytes) else str(flag).encode()


def test_nothing_that_writes_gets_through(commands: list[tuple[list[bytes], set[bytes]]]) -> None:
    assert len(commands) > 200
    through = [words for words, flags in commands if reads_only(words) and b"write" in flags]
    assert through == []


def test_what_reads_gets_through(commands: list[tuple[list[bytes], set[bytes]]]) -> None:
    reading = [words for words, flags in commands if b"readonly" in flags and words[0].decode() not in NOT_NEEDED]
    assert [words for words in reading if not reads_only([*words, b"USAGE"])] == []


@pytest.mark.parametrize(
    "line",
    ["EVAL x 0", "EVALSHA x 0", "FCALL f 0", "SCRIPT FLUSH", "SCRIPT LOAD x", "CONFIG SET a b", "CONFIG RESETSTAT",
     "CONFIG REWRITE", "DEBUG RELOAD", "SHUTDOWN", "SAVE", "BGSAVE", "REPLICAOF NO ONE", "FAILOVER", "ACL SETUSER x",
     "ACL DELUSER x", "ACL LOG RESET", "CLIENT KILL x", "CLIENT PAUSE 1", "CLIENT REPLY OFF", "CLUSTER RESET",
     "FUNCTION FLUSH", "LATENCY RESET", "MEMORY PURGE", "MODULE LOAD x", "PUBLISH a b", "SLOWLOG RESET", "SWAPDB 0 1",
     "GETEX k", "SORT a STORE b", "XREADGROUP", "flushall", "MIGRATE", "PFMERGE", "NOSUCH", "CONFIG", ""],
)  # fmt: skip
def test_what_acts_without_a_flag_for_it(line: str) -> None:
    assert not reads_only([word.encode() for word in line.split()])


def test_commands_in_whatever_pieces() -> None:
    sent = [(b"GET", b"a\r\n*1"), (b"SET", b"a", b"1"), (b"get", b""), (b"\r\nX", b"y"), (b"PING",)]
    data = b"".join(pack(*command) for command in sent)
    through = pack(*sent[0]) + pack(*sent[2]) + pack(*sent[4])
    for size in range(1, len(data)):
        gate, passed, said = Gate("no"), b"", b""
        for begin in range(0, len(data), size):
            more = gate.feed(data[begin : begin + size])
            passed, said = passed + more[0], said + more[1]
        assert (passed, said) == (through, b"-READONLY SET no\r\n-READONLY ??X no\r\n"), size


@pytest.mark.parametrize(
    "data",
    [b"FLUSHALL\r\n", b"*1\n$4\nPING\n", b"*1\r\n$4\r\nPINGX\r\n", b"*x\r\n", b"*-1\r\n", b"*1\r\n:4\r\n", b"G" * 20],
)
def test_what_is_no_command_ends_it(data: bytes) -> None:
    with pytest.raises(NotACommandError):
        Gate("no").feed(data)
