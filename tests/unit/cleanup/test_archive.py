"""A run on disk: what was written is read back, what was changed is noticed, and nobody else may look."""

from __future__ import annotations

import errno
import itertools
import os
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaiaops import rundir
from gaiaops.cleanup import archive
from gaiaops.cleanup.archive import END, Run, SegmentWriter
from gaiaops.cleanup.journal import Section, Segment
from gaiaops.errors import GaiaopsError, RefusedError, StatementError, UsageError

from .test_plan import PLAN

LINES = st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"\\n") + b"\n"), max_size=12)
CUTS = st.lists(st.integers(0, 9), max_size=30)


def section(table: str = "public.notes", kind: str = "delete") -> Section:
    return Section(kind, table, ("id", "title"), ("uuid", "text"), 0, 0, 0, reason="notes.user_id")


def blocks(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    """The data in pieces that end anywhere."""
    at = 0
    for size in cuts:
        yield data[at : at + size]
        at += size
    yield data[at:]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "segments").mkdir()
    return Run(tmp_path)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of runs, which nobody has made yet."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "gaiaops" / "runs"


@pytest.fixture
def users(tmp_path: Path) -> Path:
    file = tmp_path / "users"
    file.write_bytes(b"1\t7\ta+dev@x\n")
    return file


def written(run: Run, data: bytes = b"1\ta\n2\tb\n", number: int = 1) -> Segment:
    writer = run.segment(number)
    writer.write(section(), [data])
    segment = writer.close(number, "77", 2)
    run.note_segment(segment)
    return segment


# ---- segments


@settings(deadline=None)
@given(st.lists(st.tuples(LINES, CUTS), max_size=4), st.integers(1, 40))
def test_what_is_written_is_read_back(parts: list[tuple[list[bytes], list[int]]], chunk: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive, "_CHUNK", chunk)
        run = Run(Path(folder))
        (run.folder / "segments").mkdir()
        writer = run.segment(1)
        for number, (lines, cuts) in enumerate(parts):
            placed = writer.write(section(f"public.t{number}"), blocks(b"".join(lines), cuts))
            assert placed.rows == len(lines)
        segment = writer.close(1, "77", 5)
        run.note_segment(segment)
        run.verify(segment)
        (found,) = run.state().doubtful.values()
        assert found == segment
        wanted = [(f"public.t{i}", lines) for i, (lines, _) in enumerate(parts) if lines]
        assert [s.table for s in found.sections] == [table for table, _ in wanted]
        for mine, (_, lines) in zip(found.sections, wanted, strict=True):
            chunks = list(run.lines(segment, mine))
            assert b"".join(chunks) == b"".join(lines)
            assert all(each.endswith(b"\n") for each in chunks)
        assert found.rows == sum(len(lines) for lines, _ in parts)


def test_a_segment_is_a_text_that_people_can_read(run: Run) -> None:
    written(run)
    assert run.segment_file(1).read_bytes() == (
        b'{"op": "delete", "table": "public.notes", "columns": ["id", "title"], "reason": "notes.user_id"}\n'
        b"1\ta\n2\tb\n" + END
    )


def test_a_changed_segment_is_refused(run: Run) -> None:
    segment = written(run)
    whole = run.segment_file(1).read_bytes()
    changed = [whole[:i] + bytes([byte ^ 1]) + whole[i + 1 :] for i, byte in enumerate(whole)]
    for content in [*changed, whole[:-1], whole + b"\n", b"", whole + whole]:
        run.segment_file(1).write_bytes(content)
        with pytest.raises(RefusedError, match=r"000001\.copy"):
            run.verify(segment)
    run.segment_file(1).write_bytes(whole)
    run.verify(segment)
    run.segment_file(1).unlink()
    with pytest.raises(RefusedError, match="not whole"):
        run.verify(segment)


@pytest.mark.parametrize("left", [0, 1, -6, -4])
def test_reading_a_segment_that_was_cut_ends_with_an_error(run: Run, left: int) -> None:
    segment = written(run)
    os.truncate(run.segment_file(1), left if left >= 0 else run.segment_file(1).stat().st_size + left)
    with pytest.raises(GaiaopsError):
        assert len(list(itertools.islice(run.lines(segment, segment.sections[0]), 100))) < 100


def test_reading_a_segment_that_is_gone_is_an_error_for_people(run: Run) -> None:
    segment = written(run)
    run.segment_file(1).unlink()
    with pytest.raises(GaiaopsError):
        list(run.lines(segment, segment.sections[0]))


def test_a_segment_that_is_discarded_is_gone(run: Run) -> None:
    writer = run.segment(3)
    writer.write(section(), [b"1\ta\n"])
    writer.discard()
    assert not run.segment_file(3).exists()


def test_a_segment_that_was_left_over_is_written_anew(run: Run) -> None:
    run.segment_file(1).write_bytes(b"x" * 10_000)
    run.verify(written(run))


@pytest.fixture
def full(tmp_path: Path) -> SegmentWriter:
    """A writer to a disk that is full."""
    link = tmp_path / "000001.copy"
    link.symlink_to("/dev/full")
    return SegmentWriter(link)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_a_full_disk_is_an_error_for_people(full: SegmentWriter) -> None:
    with pytest.raises(StatementError):
        full.write(section(), [b"1\ta\n" * (1 << 20)])
        full.close(1, "77", 1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_on_a_full_disk_a_segment_can_still_be_discarded(full: SegmentWriter) -> None:
    full.write(section(), [b"1\ta\n"])
    full.discard()
    assert not full.path.is_symlink()


def test_a_segment_that_cannot_be_made_is_an_error_for_people(tmp_path: Path) -> None:
    with pytest.raises(StatementError, match="cannot write the archive"):
        Run(tmp_path / "missing").segment(1)


# ---- the journal


def test_a_line_that_a_crash_cut_in_two_swallows_no_other(run: Run) -> None:
    segment = written(run)
    journal = run.folder / "journal.jsonl"
    whole = journal.read_bytes()
    run.note("committed", segment=1)
    line = journal.read_bytes()[len(whole) :]
    for cut in range(len(line)):
        journal.write_bytes(whole + line[:cut])
        certain = cut == len(line) - 1  # all but the line feed
        assert run.state().committed == ({1: segment} if certain else {})
        run.note("cached", segment=1)
        assert run.state().cached == {1}
        run.note("committed", segment=1)
        assert run.state().committed == {1: segment}
        assert journal.read_bytes().endswith(b"\n")


@pytest.mark.parametrize("rubbish", [b"\0\0\0\0", b"\xff", b"{", b"\n\n", b"7\n", b"null\n", b"[]\n", b'"x"\n'])
def test_rubbish_in_the_journal_is_left_out(run: Run, rubbish: bytes) -> None:
    segment = written(run)
    with (run.folder / "journal.jsonl").open("ab") as file:
        file.write(rubbish)
    run.note("committed", segment=1)
    assert run.state().committed == {1: segment}


def test_a_run_without_a_journal_has_not_begun(tmp_path: Path) -> None:
    assert Run(tmp_path).state().last == 0


def test_text_is_noted_as_it_is(run: Run) -> None:
    run.note("skipped", address="\u00e9\n\t\\+dev@x", why="\U0001f600")
    assert run.state().skipped == {"\u00e9\n\t\\+dev@x": "\U0001f600"}


def test_notes_of_several_threads_are_lines_of_their_own(run: Run) -> None:
    def note(first: int) -> None:
        for number in range(first, first + 20):
            run.note("restored", segment=number)

    threads = [threading.Thread(target=note, args=(20 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert run.state().restored == set(range(80))


def test_a_short_write_is_finished(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """write(2) may take less than it was given, without an error."""
    whole = os.write
    monkeypatch.setattr(archive.os, "write", lambda handle, data: whole(handle, bytes(data)[:7]))
    run.note("restored", segment=1)
    monkeypatch.undo()
    assert run.state().restored == {1}


def test_a_note_that_did_not_reach_the_disk_is_an_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk takes some bytes of the line, and then no more."""
    whole, calls = os.write, []

    def write(handle: int, data: bytes) -> int:
        calls.append(data)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(handle, bytes(data)[:7])

    monkeypatch.setattr(archive.os, "write", write)
    with pytest.raises(StatementError, match="No space left on device"):
        run.note("restored", segment=1)
    monkeypatch.undo()
    assert run.state().restored == set()
    run.note("restored", segment=2)
    assert run.state().restored == {2}


# ---- runs


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o022, 0o000, 0o077])
def test_nobody_else_may_look(home: Path, users: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        run = archive.create(PLAN, users)
        written(run)
        with run.lock():
            pass
    finally:
        os.umask(before)
    found = {path: mode(path) for path in [home, *home.rglob("*")]}
    assert {path.name for path, bits in found.items() if path.is_dir() and bits != 0o700} == set()
    assert {path.name for path, bits in found.items() if path.is_file() and bits != 0o600} == set()
    assert {path.name for path in run.folder.iterdir()} == {
        "plan.json", "users.copy", "segments", "journal.jsonl", "lock"
    }  # fmt: skip


def test_a_run_holds_its_plan_and_its_users(home: Path, users: Path) -> None:
    run = archive.create(PLAN, users)
    assert (run.id, run.folder) == (PLAN.id, home / PLAN.id)
    assert run.plan() == PLAN
    assert run.users_file.read_bytes() == users.read_bytes()
    assert [each.id for each in archive.every()] == [PLAN.id]


def test_a_plan_is_good_for_one_run(home: Path, users: Path) -> None:
    run = archive.create(PLAN, users)
    users.write_bytes(b"other")
    with pytest.raises(RefusedError, match="this plan was used"):
        archive.create(PLAN, users)
    assert run.users_file.read_bytes() != b"other"
    assert [path.name for path in home.iterdir()] == [PLAN.id]


def test_a_run_is_made_whole_or_not_at_all(home: Path, tmp_path: Path) -> None:
    with pytest.raises(StatementError, match="cannot write the archive"):
        archive.create(PLAN, tmp_path / "missing")
    assert list(home.iterdir()) == archive.every() == []


def test_a_folder_of_runs_that_cannot_be_made(home: Path, users: Path) -> None:
    home.parent.parent.mkdir(parents=True)
    home.parent.write_bytes(b"")
    with pytest.raises(StatementError, match="cannot write the archive"):
        archive.create(PLAN, users)


def test_a_plan_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StatementError, match="cannot be read"):
        Run(tmp_path).plan()
    (tmp_path / "plan.json").write_bytes(b'{"id": 7}')
    with pytest.raises(StatementError, match="cannot be read"):
        Run(tmp_path).plan()


def test_runs_are_found_by_their_beginning(home: Path, users: Path) -> None:
    for name in ("20260101-a", "20260101-b", "20260102", "20260102-a"):
        archive.create(msgspec.structs.replace(PLAN, id=name), users)
    assert [run.id for run in archive.every()] == ["20260102-a", "20260102", "20260101-b", "20260101-a"]
    assert rundir.find("20260101-a").id == "20260101-a"
    assert rundir.find("20260102").id == "20260102"
    assert rundir.find("20260102-").id == "20260102-a"
    for name, why in [("20260101", "several runs"), ("2027", "no run"), ("../runs", "no run"), ("", "several runs")]:
        with pytest.raises(UsageError, match=why):
            rundir.find(name)


def test_an_empty_name_is_no_run_even_where_there_is_but_one(home: Path, users: Path) -> None:
    archive.create(PLAN, users)
    with pytest.raises(UsageError):
        rundir.find("")


def test_without_a_folder_there_are_no_runs(home: Path) -> None:
    assert archive.every() == []
    with pytest.raises(UsageError, match="no run"):
        rundir.find("x")


def test_drafts_and_files_are_no_runs(home: Path, users: Path) -> None:
    archive.create(PLAN, users)
    (home / ".draft.1").mkdir()
    (home / "notes.txt").write_text("x", encoding="utf-8")
    assert [run.id for run in archive.every()] == [PLAN.id]
    rundir.remove(home / PLAN.id)
    rundir.remove(home / "never there")
    assert archive.every() == []


def test_one_process_works_on_a_run(run: Run) -> None:
    with run.lock(), pytest.raises(RefusedError, match="being worked on"), Run(run.folder).lock():
        pytest.fail("two at once")
    with run.lock():
        pass


def test_what_fails_under_the_lock_stays_what_it_is(run: Run) -> None:
    with pytest.raises(BlockingIOError), run.lock():
        raise BlockingIOError
    with run.lock():
        pass
