"""Faults of the API: right findings or an honest partial, never a false absence, and no error but the tree's."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from gaiaops.auth import api_source
from gaiaops.auth.api_source import ApiSource
from gaiaops.auth.interface import Look
from gaiaops.errors import ConnectError, DeadlineError, GaiaopsError, PartialError, StatementError
from gaiaops.registry.model import Timeouts

from .faulty import HTML, Call, Fault, faulty, redirect
from .rows import Rows
from .servers import Server, real_server
from .test_walk import CUTOFFS, SPREAD, hasty, honest, ids, opened, rows_of, table, whole  # noqa: F401  # a fixture

SIZE = 300  # of 1,500 users: a handful of pages, several of them in flight


@dataclass
class World:
    """A server with users, who are the same in every test."""

    server: Server
    rows: Rows


@pytest.fixture(scope="module")
def world(started: Callable[[str], Server]) -> Iterator[World]:
    server = real_server() or started("standin")
    with rows_of(server) as rows:
        rows.insert_many(1500, SPREAD)
        yield World(server, rows)


def first(count: int, bad: Fault) -> Fault:
    """The fault on the first requests."""
    return lambda call: bad(call) if call.number <= count else call.forward()


def every(count: int, bad: Fault) -> Fault:
    """The fault on every so-many-th request, whatever it asks for."""
    return lambda call: bad(call) if call.number % count == 0 else call.forward()


def one_in_five(bad: Fault) -> Fault:
    """The fault on a fifth of the requests, at random but always the same."""
    chance, lock = random.Random(5), threading.Lock()  # noqa: S311  # no secret

    def fault(call: Call) -> None:
        with lock:
            unlucky = chance.random() < 0.2
        bad(call) if unlucky else call.forward()

    return fault


def once_late(call: Call) -> None:
    """The third request takes six seconds: longer than the library's own client waits."""
    if call.number == 3:
        time.sleep(6)
    call.forward()


def after_commit(call: Call) -> None:
    call.fetch()
    call.refuse(504, "request_timeout")


# These pass: patience is all they need.
PASSING: dict[str, Fault] = {
    "429 with Retry-After": first(2, lambda call: call.answer(429, {"Retry-After": "1"})),
    "429": every(3, lambda call: call.refuse(429, "over_request_rate_limit")),
    "500": every(4, lambda call: call.refuse(500, "unexpected_failure")),
    "502 with HTML": every(3, lambda call: call.answer(502, {"Content-Type": "text/html"}, HTML)),
    "200 with HTML": every(3, lambda call: call.answer(200, {"Content-Type": "text/html"}, HTML)),
    "504 after commit": every(3, after_commit),
    "empty 401": every(3, lambda call: call.answer(401)),
    "one in five 403": one_in_five(lambda call: call.refuse(403, "bad_jwt")),
    "6 s delay": once_late,
    "truncated body": every(3, Call.truncate),
    "connection reset": every(3, Call.reset),
}


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("name", PASSING)
def test_faults_that_pass(world: World, name: str) -> None:
    with opened(world.server, PASSING[name], SIZE) as source:
        whole(source, world.rows)
        look_again(source, world.rows)


def look_again(source: ApiSource, rows: Rows) -> None:
    """Both ways of looking again tell the truth, or nothing."""
    known = rows.connection.execute("SELECT id::text, email FROM auth.users ORDER BY created_at LIMIT 3").fetchall()
    user_ids, addresses = [row[0] for row in known], [row[1] for row in known]
    for looks in (1, 1_000_000):
        with source.again(looks) as look:
            found = asked(look, [*user_ids, str(uuid.uuid4()), "nobody", "../health", ""], [])
            assert found is None or found == set(user_ids)
            found = asked(look, [], [*addresses, addresses[0].upper(), rows.email("nobody"), "%", "\\", ""])
            assert found is None or found == set(user_ids)


def asked(look: Look, user_ids: list[str], addresses: list[str]) -> set[str] | None:
    try:
        return {record.id for record in look.find(user_ids, addresses)}
    except (PartialError, ConnectError):
        return None


# These stay, on one page or from some request on: whoever was read is reported, and nobody is called absent.
LASTING: dict[str, Fault] = {
    "429 with Retry-After": lambda call: call.answer(429, {"Retry-After": "0"}),
    "500": lambda call: call.refuse(500, "unexpected_failure"),
    "502 with HTML": lambda call: call.answer(502, {}, HTML),
    "empty 401": lambda call: call.answer(401),
    "expired key": lambda call: call.refuse(403, "bad_jwt"),
    "truncated body": Call.truncate,
    "connection reset": Call.reset,
    "an odd type": lambda call: call.answer(200, {}, b'{"users":[{"id":"' + b"x" * 36 + b'","email":5}]}'),
    "a list": lambda call: call.answer(200, {"x-total-count": "0"}, b'{"users":[]}'),
    "200 with HTML": lambda call: call.answer(200, {}, HTML),
    "404 with HTML": lambda call: call.answer(404, {}, HTML),
    "users: null": lambda call: call.answer(200, {"x-total-count": "3"}, b'{"users":null}'),
    "no id": lambda call: call.answer(200, {}, b'{"users":[{}]}'),
    "an odd time": lambda call: call.answer(200, {}, b'{"users":[{"id":"' + b"x" * 36 + b'","created_at":"soon"}]}'),
    "no object": lambda call: call.answer(200, {}, b"[]"),
    "not UTF-8": lambda call: call.answer(200, {}, b'{"users":["\xff"]}'),
}


@pytest.mark.first(9)
@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("name", LASTING)
def test_faults_that_last(world: World, name: str) -> None:
    def fault(call: Call) -> None:
        LASTING[name](call) if call.is_page and int(call.query["page"]) * int(call.query["per_page"]) > 700 else (
            call.forward()
        )

    with opened(world.server, fault, SIZE) as source:
        assert not source.complete
        assert source.problems
        honest(source, world.rows)
        assert len(ids(source)) >= 300
        look_again(source, world.rows)
    whole_failure(world, LASTING[name], name != "a list")
    single_users(world, LASTING[name])


def whole_failure(world: World, fault: Fault, fails: bool) -> None:
    """Nothing at all can be read: an error of the tree, without the key."""
    key = world.server.token()
    with faulty(world.server.url, fault) as proxy, ExitStack() as stack:
        if not fails:
            return
        with pytest.raises((ConnectError, StatementError, DeadlineError)) as caught:
            stack.enter_context(api_source.open(proxy.url, key, Timeouts(), CUTOFFS))
        assert str(caught.value).startswith("Supabase Auth ")
        assert key not in str(caught.value) + caught.value.hint + caught.value.detail


def single_users(world: World, bad: Fault) -> None:
    """The walk works and single users do not: nobody is absent."""

    def fault(call: Call) -> None:
        bad(call) if not call.is_list else call.forward()

    known = sorted(table(world.rows))[:3]
    with opened(world.server, fault) as source, source.again(1) as look, pytest.raises(GaiaopsError):
        look.find([*known, str(uuid.uuid4())], ())


@pytest.mark.usefixtures("hasty")
def test_a_key_that_expires_during_the_walk(world: World) -> None:
    def fault(call: Call) -> None:
        call.forward() if call.number <= 4 else call.refuse(403, "bad_jwt")

    with opened(world.server, fault, SIZE) as source:
        assert not source.complete
        assert len(ids(source)) >= SIZE
        assert any("refused the service key (bad_jwt)" in problem for problem in source.problems)
        with source.again(1) as look, pytest.raises(GaiaopsError):
            look.find([str(uuid.uuid4())], ())


def test_an_expired_key_fails_within_seconds(world: World) -> None:
    began = time.monotonic()
    key = world.server.token(exp=int(time.time()) - 10)
    url = world.server.url.removesuffix("/auth/v1")
    with (
        pytest.raises(ConnectError, match=r"refused the service key \(bad_jwt\)"),
        api_source.open(url, key, Timeouts(), CUTOFFS),
    ):
        pass
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("key", ["kéy", "key\n", "key\r\nX: y"])
def test_a_key_that_is_no_key(world: World, key: str) -> None:
    with (
        pytest.raises(ConnectError) as caught,
        api_source.open(world.server.url.removesuffix("/auth/v1"), key, Timeouts(), CUTOFFS),
    ):
        pass
    assert key not in str(caught.value)


def test_a_redirect_on_the_same_server_is_followed(world: World) -> None:
    key = world.server.api_key or world.server.token()

    def fault(call: Call) -> None:
        moved = call.path.startswith("/moved")
        call.path = call.path.removeprefix("/moved")
        call.forward() if moved else redirect(call, "/moved")

    with faulty(world.server.url, fault) as proxy, api_source.open(proxy.url, key, Timeouts(), CUTOFFS) as source:
        whole(source, world.rows)


@pytest.mark.first(2)
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_elsewhere_never_gets_the_key(world: World, code: int) -> None:
    with faulty(world.server.url, Call.forward) as other:
        aim = other.url.replace("127.0.0.1", "localhost")

        def fault(call: Call) -> None:
            call.answer(code, {"Location": f"{aim}{call.path}"})

        with (
            faulty(world.server.url, fault) as proxy,
            pytest.raises(ConnectError) as caught,
            api_source.open(proxy.url, world.server.token(), Timeouts(), CUTOFFS),
        ):
            pass
        assert "localhost" in str(caught.value)
        assert "supabase.url" in caught.value.hint
        assert other.paths == []
        assert len(proxy.paths) == 1


@pytest.mark.parametrize("aim", ["", "http://[", "/auth/v1/admin/users", "ftp://127.0.0.1/", "//"])
def test_a_redirect_to_nowhere(world: World, aim: str) -> None:
    with (
        faulty(world.server.url, lambda call: call.answer(302, {"Location": aim} if aim else {})) as proxy,
        pytest.raises((ConnectError, StatementError)),
        api_source.open(proxy.url, world.server.token(), Timeouts(), CUTOFFS),
    ):
        pass


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://no-such-host.invalid", "nonsense", "http://[", "ftp://x"]
)
@pytest.mark.usefixtures("hasty")
def test_nobody_there(url: str) -> None:
    with pytest.raises(ConnectError), api_source.open(url, "key", Timeouts(), CUTOFFS):
        pass


@pytest.mark.usefixtures("hasty")
def test_a_server_that_goes_away_is_not_hammered(world: World) -> None:
    def fault(call: Call) -> None:
        call.forward() if call.number <= 3 else call.reset()

    key = world.server.token()
    with (
        faulty(world.server.url, fault) as proxy,
        api_source.open(proxy.url, key, Timeouts(), CUTOFFS, page_size=20) as source,
    ):
        assert not source.complete
        assert len(proxy.paths) < 60, "75 pages, of which the first failed ones tell enough"


def test_a_filter_that_is_ignored_or_broken(world: World) -> None:
    """A gateway that drops the filter gives everybody; one that knows none gives nobody."""
    (known,) = world.rows.connection.execute("SELECT email FROM auth.users LIMIT 1").fetchone() or ("",)

    def ignored(call: Call) -> None:
        call.query.pop("filter", None)
        call.forward()

    def poisoned(call: Call) -> None:
        if "filter" in call.query:
            call.answer(200, {"x-total-count": "0"}, b'{"users":[]}')
        elif call.is_page and int(call.query["page"]) * int(call.query["per_page"]) > 700:
            call.refuse(500, "unexpected_failure")
        else:
            call.forward()

    with opened(world.server, ignored) as source, source.again(1) as look:
        assert [record.address for record in look.find((), [known, "nobody@x"])] == [known]
    with opened(world.server, poisoned, SIZE) as source, source.again(1) as look:
        assert not source.complete
        with pytest.raises(PartialError):
            look.find((), ["nobody@x"])
