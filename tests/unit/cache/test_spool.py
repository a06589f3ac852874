"""Keys put aside: as they came, each once as far as is known, and said where it is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaiaops.cache import spool
from gaiaops.cache.spool import Spool


@given(st.lists(st.binary(max_size=40)))
def test_keys_come_back_once_and_in_order(keys: list[bytes]) -> None:
    pile = Spool()
    for key in keys:
        pile.add(key)
    assert list(pile) == list(pile) == list(dict.fromkeys(keys))
    assert len(pile) == len(set(keys)) and pile.exact
    pile.close()


def test_the_digest_tells_keys_from_their_parts() -> None:
    one, other = Spool(), Spool()
    for key in (b"ab", b"c"):
        one.add(key)
    for key in (b"a", b"bc"):
        other.add(key)
    assert one.sha256 != other.sha256


def test_beyond_what_is_known_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_KNOWN", 3)
    pile = Spool()
    for key in (b"1", b"2", b"3", b"3"):
        pile.add(key)
    assert len(pile) == 3 and pile.exact
    pile.add(b"4")
    assert not pile.exact
    pile.add(b"1")
    assert list(pile) == [b"1", b"2", b"3", b"4"]


def test_many_keys_leave_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_IN_MEMORY", 1_000)
    pile = Spool()
    keys = [b"%d" % i * 20 for i in range(500)]
    for key in keys:
        pile.add(key)
    assert list(pile) == keys
    assert pile._file._rolled  # type: ignore[attr-defined]
