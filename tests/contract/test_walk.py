"""All users by the admin API: nobody is missing from a walk that calls itself complete, whatever happens meanwhile."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from gaiaops.auth import api, api_source, numbered, requests, walk
from gaiaops.auth.api_source import ApiSource
from gaiaops.auth.interface import Cutoffs, fields_of
from gaiaops.registry.model import Timeouts

from .faulty import Call, Fault, capped, faulty
from .rows import Rows
from .servers import Server, real_server

CUTOFFS = Cutoffs(grace=0, unconfirmed=0)
ONE_INSTANT = "'2020-01-01'::timestamptz"
SPREAD = "'2020-01-01'::timestamptz + i * interval '1 s'"
# 1,000 of 3,000 users share a created_at, in the middle of the others.
TIES = "'2020-01-01'::timestamptz + CASE WHEN i BETWEEN 1001 AND 2000 THEN 1500 ELSE i END * interval '1 s'"


@pytest.fixture
def standin(started: Callable[[str], Server]) -> Server:
    return real_server() or started("standin")


@pytest.fixture
def with_cursors(started: Callable[[str], Server]) -> Server:
    return real_server() or started("standin-cursor")


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits a hundredth of the time between two attempts, but for what a server asks for."""
    pause = requests._pause

    def shorter(state: Any) -> float:
        seconds = pause(state)
        return seconds if state.outcome.exception().retry_after is not None else seconds / 100

    monkeypatch.setattr(requests, "_pause", shorter)


@contextmanager
def rows_of(server: Server) -> Iterator[Rows]:
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        made = Rows(connection)
        try:
            yield made
        finally:
            made.clean()


@contextmanager
def opened(server: Server, fault: Fault | None = None, size: int | None = None) -> Iterator[ApiSource]:
    """The source of a server, through a faulty proxy where a fault is given."""
    key = server.api_key or server.token()
    with faulty(server.url, fault or Call.forward) as proxy:
        url = proxy.url if fault else server.url.removesuffix("/auth/v1")
        with api_source.open(url, key, Timeouts(), CUTOFFS, page_size=size) as source:
            yield source


def table(rows: Rows) -> set[str]:
    found = rows.connection.execute("SELECT id::text FROM auth.users WHERE aud = 'authenticated'")
    return {str(row[0]) for row in found}


def ids(source: ApiSource) -> list[str]:
    return [fields_of(line)[0] for block in source.blocks() for line in block]


def whole(source: ApiSource, rows: Rows) -> None:
    read = ids(source)
    assert (source.complete, source.problems) == (True, ())
    assert len(read) == len(set(read))
    assert set(read) == table(rows)


@pytest.mark.first(4)
@pytest.mark.parametrize("size", [7, 333, 999, 1000, *range(8, 333), *range(334, 999)])
def test_users_that_share_a_created_at(standin: Server, size: int) -> None:
    with rows_of(standin) as rows:
        rows.insert_many(3000, TIES)
        with opened(standin, size=size) as source:
            whole(source, rows)


@pytest.mark.first(3)
@pytest.mark.parametrize("count", [0, 1, 50, 51, 999, 1000, 1001])
def test_numbers_of_users_at_the_edge_of_a_page(standin: Server, count: int) -> None:
    with rows_of(standin) as rows:
        rows.insert_many(count, SPREAD)
        for size in (None, 50, 1000):
            with opened(standin, size=size) as source:
                whole(source, rows)


def test_more_users_than_the_largest_page(standin: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """In batches of one instant, as an import leaves them; and then all of one instant."""
    monkeypatch.setattr(numbered, "LARGEST_PAGE", 1000)
    monkeypatch.setattr(walk, "LARGEST_PAGE", 1000)
    monkeypatch.setattr(walk, "_LAST_RESORT", 5000)
    with rows_of(standin) as rows:
        rows.insert_many(1500, "'2020-01-01'::timestamptz + (i / 100) * interval '1 s'")
        for size in (130, 400):
            with opened(standin, size=size) as source:
                whole(source, rows)
        rows.connection.execute(f"UPDATE auth.users SET created_at = {ONE_INSTANT}")
        with opened(standin, size=100) as source:
            whole(source, rows)
        with opened(standin, capped(400)) as source:
            honest(source, rows)


def honest(source: ApiSource, rows: Rows) -> None:
    """Everybody, or partial with a reason."""
    if source.complete:
        whole(source, rows)
    else:
        assert source.problems
        assert set(ids(source)) <= table(rows)


@pytest.mark.first(4)
@pytest.mark.parametrize("round_", range(200))
def test_four_writers(standin: Server, round_: int) -> None:
    """Who was there during the whole walk is in it; pages are small, so that they meet in many places."""
    with rows_of(standin) as rows:
        rows.insert_many(3000, TIES if round_ % 2 else SPREAD)
        everybody = sorted(table(rows))
        victims = random.Random(round_).sample(everybody, 800)  # noqa: S311  # the same ones each time
        stable = set(everybody) - set(victims)
        with (
            writing(standin, rows, victims),
            opened(standin, size=[100, 250, 450, None][round_ % 4]) as source,
        ):
            read = set(ids(source))
            assert stable <= read or not source.complete, f"{len(stable - read)} are missing"
            assert source.complete or source.problems
            some = sorted(stable)[::200]
            with source.again(len(some)) as look:
                assert {record.id for record in look.find(some, ())} == set(some)


@contextmanager
def writing(server: Server, rows: Rows, victims: list[str]) -> Iterator[None]:
    """Four writers: each deletes users and inserts as many, until the end."""
    over = threading.Event()
    left = list(victims)

    def write() -> None:
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            mine = Rows(connection)
            mine.domain = rows.domain
            while left and not over.is_set():
                try:
                    gone = left.pop()
                except IndexError:
                    return
                connection.execute("DELETE FROM auth.users WHERE id = %s", (gone,))
                mine.insert_many(1, "now()")
                over.wait(0.002)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize(("users", "size", "count"), [(60, 7, 5), (3000, 500, 10), (3000, 500, 200)])
def test_deletions_that_insertions_balance(standin: Server, users: int, size: int, count: int) -> None:
    """Two pages are read; then users on them are deleted and as many come, so that those behind them move up.

    The totals of all answers agree, and without a look at where the pages meet so would the number of ids.
    """
    with rows_of(standin) as rows:
        rows.insert_many(users, SPREAD)
        found = rows.connection.execute("SELECT id::text FROM auth.users ORDER BY created_at LIMIT %s", (count,))
        first = [row[0] for row in found]
        stay = table(rows) - set(first)
        two, changed = threading.Barrier(2, action=lambda: exchange(rows, first)), threading.Event()

        def fault(call: Call) -> None:
            if call.is_page and int(call.query["page"]) > 2:
                changed.wait(10)
            call.forward()
            if call.is_page and call.query["page"] in ("1", "2") and not changed.is_set():
                two.wait(10)
                changed.set()

        with opened(standin, fault, size=size) as source:
            assert changed.is_set()
            assert source.complete
            assert stay <= set(ids(source))


def exchange(rows: Rows, gone: list[str]) -> None:
    """Deletes these users and inserts as many new ones."""
    with rows.connection.transaction():
        rows.connection.execute("DELETE FROM auth.users WHERE id = ANY(%s::uuid[])", (gone,))
        rows.insert_many(len(gone), "now()")


def test_a_cap_on_pages(standin: Server) -> None:
    with rows_of(standin) as rows:
        rows.insert_many(3000, SPREAD)
        for size in (None, 700):
            with opened(standin, capped(500), size) as source:
                whole(source, rows)
        # With 1,000 of one instant no page of 500 holds them all: whatever was read, it says so.
        rows.insert_many(1000, ONE_INSTANT)
        with opened(standin, capped(500)) as source:
            honest(source, rows)


@pytest.mark.first(4)
@pytest.mark.parametrize("told", ["2000", "4000", "10", "", "0", "many", "-3"])
def test_a_wrong_total(standin: Server, told: str) -> None:
    with rows_of(standin) as rows:
        rows.insert_many(3000, SPREAD)
        with opened(standin, lambda call: call.forward({"x-total-count": told})) as source:
            assert not source.complete
            assert set(ids(source)) == table(rows)
            assert any("total" in problem or "counts" in problem for problem in source.problems)
        with opened(standin, lambda call: call.forward({"x-total-count": told} if call.number % 2 else {})) as source:
            honest(source, rows)


def test_a_gateway_that_drops_users(standin: Server) -> None:
    """Every page lacks its last user, and says nothing."""
    import msgspec

    def fault(call: Call) -> None:
        response = call.fetch()
        body = msgspec.json.decode(response.content)
        body["users"] = body["users"][:-1]
        call.answer(200, {"x-total-count": response.headers["x-total-count"]}, msgspec.json.encode(body))

    with rows_of(standin) as rows:
        rows.insert_many(300, SPREAD)
        with opened(standin, fault) as source:
            assert not source.complete
            honest(source, rows)


@pytest.mark.first(3)
@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(("at", "size"), [(1, None), (2, 1000), (700, 500), (1234, None), (3000, 1000)])
def test_a_row_that_cannot_be_read_is_found(standin: Server, at: int, size: int | None) -> None:
    with rows_of(standin) as rows:
        rows.insert_many(3000, SPREAD)
        poisoned = poison(rows, at)
        with opened(standin, size=size) as source:
            assert not source.complete
            assert set(ids(source)) == table(rows) - {poisoned}
            (problem,) = source.problems
            assert problem.startswith(f"user {at} in order of created_at makes the server answer 500 ")
            with pytest.raises(api_source.PartialError), source.again(1) as look:
                look.find([poisoned], ())


def poison(rows: Rows, at: int) -> str:
    """A row the server cannot read."""
    row = rows.connection.execute(
        "UPDATE auth.users SET confirmation_token = NULL WHERE id = "
        "(SELECT id FROM auth.users ORDER BY created_at LIMIT 1 OFFSET %s) RETURNING id::text",
        (at - 1,),
    ).fetchone()
    assert row
    return str(row[0])


@pytest.mark.usefixtures("hasty")
def test_very_many_rows_that_cannot_be_read(standin: Server) -> None:
    """As SQL-inserted users leave them: the search ends, and what was not read is named."""
    with rows_of(standin) as rows:
        rows.insert_many(3000, SPREAD)
        rows.connection.execute("UPDATE auth.users SET recovery_token = NULL WHERE id::text < '0c'")
        with opened(standin) as source:
            assert not source.complete
            assert source.problems


def test_cursors(with_cursors: Server) -> None:
    with rows_of(with_cursors) as rows:
        rows.insert_many(3000, TIES)
        with opened(with_cursors) as source:
            whole(source, rows)
        with opened(with_cursors, expiring(1)) as source:
            whole(source, rows)
        with opened(with_cursors, expiring(1000)) as source:
            whole(source, rows)


@pytest.mark.usefixtures("hasty")
def test_a_row_that_stops_a_walk_by_cursor(with_cursors: Server) -> None:
    with rows_of(with_cursors) as rows:
        rows.insert_many(3000, SPREAD)
        poisoned = poison(rows, 1700)
        with opened(with_cursors) as source:
            assert not source.complete
            assert set(ids(source)) == table(rows) - {poisoned}
            assert source.problems[0].startswith("user 1700 in order of created_at makes the server answer 500 ")


def expiring(times: int) -> Fault:
    """The second cursor has expired, so many times."""
    left = [times]

    def fault(call: Call) -> None:
        if "cursor" in call.query and left[0]:
            left[0] -= 1
            call.refuse(400, "validation_failed")
        else:
            call.forward()

    return fault


def test_a_cursor_that_goes_round(with_cursors: Server) -> None:
    def fault(call: Call) -> None:
        call.query.pop("cursor", None)
        call.forward()

    with rows_of(with_cursors) as rows:
        rows.insert_many(2500, SPREAD)
        with opened(with_cursors, fault) as source:
            whole(source, rows)


def test_the_number_of_users_comes_from_the_same_walk(standin: Server) -> None:
    with rows_of(standin) as rows:
        rows.insert_many(1500, TIES)
        user = rows.insert(email=f"jo+dev@{rows.domain}", id=uuid.uuid4())
        assert user
        url, key = standin.url.removesuffix("/auth/v1"), standin.api_key or standin.token()
        counted = api.count(url, key, ["dev"], Timeouts())
        assert (counted.users, counted.by_tag, counted.complete) == (1501, {"dev": 1}, True)
        api.check(url, key, Timeouts())
