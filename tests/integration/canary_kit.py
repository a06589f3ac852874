"""Secrets that can be told wherever they turn up: raw, in part, percent-encoded, escaped, in base64 or in hex."""

from __future__ import annotations

import base64
import secrets
import string
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

_HARD = "@/:%41#?& '\"\\"
_LETTERS = string.ascii_letters + string.digits


def _core() -> str:
    """Letters and digits, which no encoding of text changes."""
    return "Z" + "".join(secrets.choice(_LETTERS) for _ in range(11))


class Canary:
    """A secret with characters that URLs, shells, Python and JSON write otherwise, between two cores that stay."""

    def __init__(self, head: str = "", hard: str = _HARD) -> None:
        self.cores = (_core(), _core())
        self.text = f"{head}{self.cores[0]}{hard}{self.cores[1]}"

    @property
    def quoted(self) -> str:
        """As it stands in a URL."""
        return quote(self.text, safe="")

    @property
    def escaped(self) -> str:
        """As it stands in ~/.pgpass."""
        return self.text.replace("\\", "\\\\").replace(":", "\\:")

    def signs(self) -> Iterator[bytes]:
        """What a text holds that has the secret, or half of it, in some form."""
        for core in self.cores:
            raw = core.encode()
            yield raw
            yield raw.hex().encode()
            for shift in range(3):  # base64 depends on where in the text it begins
                yield base64.b64encode(b"\0" * shift + raw)[4 if shift else 0 : -4]


class Watch:
    """Looks for canaries in what is shown, written and run."""

    def __init__(self, canaries: Iterable[Canary]) -> None:
        self._signs = [sign for canary in canaries for sign in canary.signs()]
        self.programs: set[str] = set()
        self.arguments: set[bytes] = set()

    def holds(self, text: str | bytes) -> bool:
        data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        return any(sign in data for sign in self._signs)

    def files(self, folder: Path, sources: Iterable[Path]) -> list[Path]:
        """The files under a folder that hold one, but for those where it was written down."""
        known = set(sources)
        every = (path for path in folder.rglob("*") if path.is_file() and path not in known)
        return [path for path in every if self.holds(path.read_bytes()) or self.holds(str(path))]

    @contextmanager
    def processes(self) -> Iterator[None]:
        """Watches the arguments of every process of the machine meanwhile."""
        stop = threading.Event()

        def poll() -> None:
            while not stop.is_set():
                self._look()
                time.sleep(0.005)  # a child that lives for less is seen by chance

        thread = threading.Thread(target=poll, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _look(self) -> None:
        for process in Path("/proc").iterdir():
            if process.name.isdigit():
                with suppress(OSError):
                    line = (process / "cmdline").read_bytes()
                    self.programs.add(line.partition(b"\0")[0].rpartition(b"/")[2].decode(errors="replace"))
                    if self.holds(line):
                        self.arguments.add(line)
