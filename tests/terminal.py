"""`gaiaops connect` on a pseudo-terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pexpect

SHELLS = Path(sys.prefix) / "shells" / "bin"  # pgcli and iredis, in an environment of their own (Makefile)
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\r")


class Terminal(pexpect.spawn):
    """A shell that was opened; patterns are waited for 30 s."""

    def __init__(self, registry: Path, *arguments: str, variables: Mapping[str, str]) -> None:
        super().__init__(
            sys.executable,
            ["-m", "gaiaops", "--registry", str(registry), "connect", *arguments],
            # prompt_toolkit would ask the terminal where its cursor is, and nobody would answer.
            env={**variables, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"},
            encoding="utf-8",
            timeout=30,
            dimensions=(24, 80),
        )

    def shown(self) -> str:
        """What was seen until the last match, and it, without what moves and colours."""
        return _CONTROL.sub("", f"{self.before}{self.after}")

    def left(self) -> int | None:
        """Waits for the end; gives the exit status."""
        self.expect(pexpect.EOF)
        self.close()
        return self.exitstatus


def shells() -> str:
    """The folder of pgcli and iredis."""
    assert (SHELLS / "pgcli").exists() and (SHELLS / "iredis").exists(), "make .venv/shells.installed"
    return str(SHELLS)
