"""A plan's file comes back as it was saved, and any change to it is refused."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaiaops.cleanup import plan as plans
from gaiaops.cleanup.plan import Collateral, Plan, Reason, TablePlan, User, users_of
from gaiaops.errors import ExitCode, RefusedError, UsageError
from gaiaops.postgres import copytext

NOTES = TablePlan("notes", "delete", 7, 2, (Reason("notes.user_id", "CASCADE", 7),))
PLAN = Plan(
    id="20260101-000000-dev-ab12", environment="dev", server="7/dev", fingerprint="f" * 8,
    made="2026-01-01T00:00:00Z", until="2026-01-02T00:00:00Z", tags=("local", "staging"), older_than="7d",
    keep=("a+dev@x",), users=3, users_in_all=60, tables=(NOTES,), collateral=(Collateral("notes", "b@x", 2, ("c@x",)),),
    allow_collateral=False, max_users=None, cache_keys={"k:{users.id}": 3}, ambiguous=("a+dev+local@x",), protected=(),
    younger=1, unclassified=("notes.by (uuid)",), absent=(), warnings=("slow",), refusals=(), heavy={"2": 1000},
    sha256="s" * 8,
)  # fmt: skip
USERS = [
    User(1, "7", "a+local@x", "local"),
    User(2, "8", "b\\+local@x\t", "local"),
    User(3, "9", "\u00e9+dev@x", "dev"),
]

TEXTS = st.text(st.characters(exclude_categories=["Cs"], min_codepoint=1), max_size=12)
NAMED = st.lists(TEXTS, max_size=3).map(tuple)
COUNTS = st.integers(0, 2**40)
REASONS = st.lists(st.builds(Reason, TEXTS, TEXTS, COUNTS), max_size=2).map(tuple)
TABLES = st.lists(st.builds(TablePlan, TEXTS, st.sampled_from(["delete", "null"]), COUNTS, COUNTS, REASONS), max_size=2)
USER_LISTS = st.lists(st.tuples(TEXTS, TEXTS, TEXTS), max_size=5).map(
    lambda rows: [User(number, *row) for number, row in enumerate(rows, 1)]
)


@st.composite
def made(draw: st.DrawFn) -> tuple[Plan, list[User]]:
    """A plan and its users."""
    users = draw(USER_LISTS)
    fields = {
        "users": len(users), "environment": draw(TEXTS), "tags": draw(NAMED), "tables": tuple(draw(TABLES)),
        "max_users": draw(st.one_of(st.none(), COUNTS)), "cache_keys": draw(st.dictionaries(TEXTS, COUNTS, max_size=2)),
        "cache_entries": draw(NAMED),
        "heavy": draw(st.dictionaries(COUNTS.map(str), COUNTS, max_size=2)), "allow_collateral": draw(st.booleans()),
        "collateral": tuple(draw(st.lists(st.builds(Collateral, TEXTS, TEXTS, COUNTS, NAMED), max_size=2))),
    }  # fmt: skip
    return msgspec.structs.replace(PLAN, **fields), users


def saved(plan: Plan = PLAN, users: list[User] = USERS) -> bytes:
    out = io.BytesIO()
    plans.save(plan, users, out)
    return out.getvalue()


def copied(users: list[User]) -> bytes:
    """The users as lines of COPY."""
    return b"".join(b"%d\t%s\t%s\n" % (u.n, copytext.encode(u.id), copytext.encode(u.address)) for u in users)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "plan.json"


def refused(file: Path, content: bytes) -> bool:
    """Whether this file is refused, with an error for people."""
    file.write_bytes(content)
    try:
        plans.load(file, io.BytesIO())
    except (RefusedError, UsageError) as error:
        assert error.hint
        return True
    return False


@settings(deadline=None)
@given(made())
def test_what_is_saved_is_loaded(value: tuple[Plan, list[User]]) -> None:
    plan, users = value
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "plan.json", io.BytesIO()
        file.write_bytes(saved(plan, users))
        assert plans.load(file, out) == plan
        assert out.getvalue() == copied(users)
        file.write_bytes(out.getvalue())
        assert list(users_of(file)) == [(u.n, u.id, u.address) for u in users]


def one_byte_changed(whole: bytes) -> Iterator[bytes]:
    for place, byte in enumerate(whole):
        for other in {byte ^ 1, byte ^ 0x20, *b" \n0"} - {byte}:
            yield whole[:place] + bytes([other]) + whole[place + 1 :]


def test_a_change_of_any_byte_is_refused(file: Path) -> None:
    whole = saved()
    assert not refused(file, whole)
    accepted = [content for content in one_byte_changed(whole) if not refused(file, content)]
    assert accepted == []


def test_a_file_that_was_cut_anywhere_is_refused(file: Path) -> None:
    whole = saved()
    assert [end for end in range(len(whole)) if not refused(file, whole[:end])] == []


def test_lines_that_were_dropped_repeated_or_moved_are_refused(file: Path) -> None:
    lines = saved().splitlines(keepends=True)
    for place in range(len(lines)):
        assert refused(file, b"".join(lines[:place] + lines[place + 1 :])), place
        assert refused(file, b"".join(lines[: place + 1] + lines[place:])), place
        for other in range(place):
            moved = lines[:]
            moved[place], moved[other] = moved[other], moved[place]
            assert refused(file, b"".join(moved)), (place, other)


@pytest.mark.parametrize("more", [b"\n", b" ", b"{}\n", b"\0"])
def test_what_was_appended_is_refused(file: Path, more: bytes) -> None:
    lines = saved().splitlines(keepends=True)
    assert refused(file, b"".join([*lines, more]))
    assert refused(file, b"".join([*lines, lines[1]]))
    assert refused(file, b"".join([*lines[:-1], more, lines[-1]]))


def resealed(lines: list[bytes]) -> bytes:
    """A file whose hash was made anew after its lines were changed."""
    import hashlib

    return b"".join(lines) + msgspec.json.encode({"sha256": hashlib.sha256(b"".join(lines)).hexdigest()}) + b"\n"


def test_a_right_hash_does_not_help_a_wrong_number_of_users(file: Path) -> None:
    lines = saved().splitlines(keepends=True)[:-1]
    assert not refused(file, resealed(lines))
    assert refused(file, resealed(lines[:-1]))
    assert refused(file, resealed([lines[0], *lines[2:]]))
    assert refused(file, resealed([*lines, lines[-1]]))
    assert refused(file, resealed([*lines, lines[-1].replace(b'"n":3', b'"n":4')]))
    assert refused(file, resealed([*lines[:-1], lines[-1].replace(b'"n":3', b'"n":4')]))
    assert refused(file, resealed([lines[0], lines[2], lines[1], lines[3]]))
    assert refused(file, resealed([lines[0].replace(b'"users":3', b'"users":2'), *lines[1:]]))


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"{}\n", b"[]\n", b"7\n", b'"gaiaops_plan"\n', b"null\n", b"SELECT 1\n", b"\xff\xfe\x00", b"\0\0\0\0",
     b'{"gaiaops_plan": 1}\n', b'{"gaiaops_plan": []}\n', b'{"gaiaops_plan": null}\n', b'{"gaiaops_plan": "x"}\n',
     b"[" * 100_000],
    ids=lambda content: repr(content[:25]),
)  # fmt: skip
def test_what_is_no_plan_at_all(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        plans.load(file, io.BytesIO())
    assert str(caught.value) == f"{file} is no plan"
    assert caught.value.code == ExitCode.USAGE


@pytest.mark.parametrize("header", [b"{}", b'{"format":1}', b'{"format":1,"id":7}', b'{"format":"1"}'])
def test_a_header_that_is_not_whole_is_refused(file: Path, header: bytes) -> None:
    assert refused(file, resealed([b'{"gaiaops_plan":' + header + b"}\n"]))


def test_another_versions_plan_says_so(file: Path) -> None:
    file.write_bytes(saved(msgspec.structs.replace(PLAN, format=2)))
    with pytest.raises(RefusedError, match="another version"):
        plans.load(file, io.BytesIO())


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for file in (tmp_path / "missing", tmp_path):
        with pytest.raises(UsageError, match="cannot read"):
            plans.load(file, io.BytesIO())


def test_a_changed_plan_is_refused_with_exit_5(file: Path) -> None:
    file.write_bytes(saved().replace(b"b@x", b"c@x"))
    with pytest.raises(RefusedError, match="was changed after it was made") as caught:
        plans.load(file, io.BytesIO())
    assert caught.value.code == ExitCode.REFUSED


def test_a_plan_without_users_is_a_plan(file: Path) -> None:
    plan, out = msgspec.structs.replace(PLAN, users=0), io.BytesIO()
    file.write_bytes(saved(plan, []))
    assert plans.load(file, out) == plan
    assert out.getvalue() == b""


def test_what_is_deleted_in_all() -> None:
    tables = (NOTES, msgspec.structs.replace(NOTES, action="null"), msgspec.structs.replace(NOTES, rows=3))
    assert msgspec.structs.replace(PLAN, tables=tables).deletes == 10
