"""Values that a program prints: what can be wrong with one, and that nobody else hears it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from gaiaops import registry
from gaiaops.errors import UsageError
from gaiaops.registry import commands

SECRET = "hunter2-s3cret"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (f"echo {SECRET} >&2; exit 3", "exit status 3"),
        (f"echo {SECRET}; exit 1", "exit status 1"),
        ("kill -9 $$", "killed by signal 9"),
        ("true", "it printed nothing"),
        ("echo; echo", "it printed nothing"),
        ("printf '\\377'", "what it printed is not a text in UTF-8"),
    ],
)
def test_what_can_be_wrong(script: str, reason: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert commands.output(("sh", "-c", script)) == ("", reason)
    assert capfd.readouterr() == ("", "")


def test_what_cannot_be_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch(mode=0o644)
    assert commands.output(("no-such-program-here", SECRET)) == ("", "no such file or directory")
    assert commands.output((str(tmp_path / "file"),)) == ("", "permission denied")


def test_what_it_prints_is_the_value(capfd: pytest.CaptureFixture[str]) -> None:
    assert commands.output(("sh", "-c", f"echo {SECRET} >&2; printf 'postgresql://h/d\\r\\n'")) == (
        "postgresql://h/d", "",
    )  # fmt: skip
    assert commands.output(("cat",)) == ("", "it printed nothing")  # it has nothing to read
    assert capfd.readouterr() == ("", "")


def test_one_that_hangs_ends_with_its_children(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The shell's child has the pipe too, and would keep it open."""
    monkeypatch.setattr(commands, "_SECONDS", 0.2)
    pid = tmp_path / "pid"
    assert commands.output(("sh", "-c", f"sleep 60 & echo $! > {pid}; wait")) == ("", "no answer within 0.2s")
    _gone(int(pid.read_text()))


def test_each_is_run_once(tmp_path: Path) -> None:
    """Also where it fails: whoever is asked for a passphrase is asked once."""
    for number, end in enumerate(("echo x", "exit 1")):
        argv = ("sh", "-c", f"echo ran >> {tmp_path}/{number}; {end}")
        assert commands.output(argv) == commands.output(argv)
        assert (tmp_path / str(number)).read_text() == "ran\n"


def test_the_error_names_the_program_and_the_key_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "environments.toml"
    for script, said in (
        (f"echo {SECRET} >&2; exit 4", "command 'sh' gave no value: exit status 4"),
        (f"echo postgresql://u:{SECRET} {SECRET}@h/d", "malformed URL: it holds white space"),
        (f"echo warning: {SECRET}; echo postgresql://u:{SECRET}@h/d", "malformed URL: it holds white space"),
        (f"echo {SECRET}", "malformed URL: it must start with postgresql://"),
        (f"echo 'postgresql://u:{SECRET}?a=b@h/d'", "malformed URL: write %3F for a ? in the password"),
    ):
        file.write_text(f"[environments.dev]\npostgres = {{ command = ['sh', '-c', \"{script}\"] }}", encoding="utf-8")
        env = registry.load(str(file)).environments[0]
        with pytest.raises(UsageError) as caught:
            env.postgres_url()
        assert said in str(caught.value) and "environments.dev.postgres" in str(caught.value)
        assert SECRET not in f"{caught.value}{caught.value.hint}{env!r}"


def test_a_dotenv_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "environments.toml").write_text('[environments.dev]\npostgres = "postgresql://h/d"', encoding="utf-8")
    (tmp_path / ".env").write_bytes(b"A=\xff\xfe")
    with pytest.raises(UsageError, match=r"\.env: not a text in UTF-8"):
        registry.load(str(tmp_path / "environments.toml"))


def _gone(pid: int) -> None:
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except (ProcessLookupError, FileNotFoundError):
            return
        time.sleep(0.01)
    raise AssertionError(f"{pid} still runs")
