"""Where data goes: standard output, a pager, or a file that is written whole or not at all."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from gaiaops.errors import StatementError, UsageError

_BUFFER = 1 << 20


def _open_stdout() -> TextIO:
    """sys.stdout, which is None where it was closed (`>&-`): descriptor 1 may be anything by now."""
    if sys.stdout is None:
        raise UsageError("standard output is closed", hint="give it somewhere to go, or name a file with -o")
    return sys.stdout


@contextmanager
def standard_output() -> Iterator[BinaryIO]:
    """Standard output as one large buffered binary writer, whatever PYTHONUNBUFFERED says."""
    _open_stdout().flush()
    out = os.fdopen(os.dup(1), "wb", buffering=_BUFFER)
    try:
        yield out
        out.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StatementError(f"cannot write to standard output: {error.strerror}") from None
    finally:
        with suppress(OSError):
            out.close()


@contextmanager
def whole_file(path: Path, *, private: bool = False) -> Iterator[BinaryIO]:
    """A file that appears under its name when everything was written, and not before; `private` is mode 0600.

    Devices and pipes are written directly. Raises UsageError where it cannot be created, StatementError
    where writing fails (a full disk); then the old file, if any, is still there.
    """
    target = Path(os.path.realpath(path))
    try:
        mode = target.stat().st_mode if target.exists() else None
        if mode is not None and stat.S_ISDIR(mode):
            raise UsageError(f"cannot write {path}: it is a folder")
        direct = mode is not None and not stat.S_ISREG(mode)
        if direct:
            out: BinaryIO = target.open("wb", buffering=_BUFFER)
        else:
            if mode is not None and not os.access(target, os.W_OK):
                raise PermissionError(13, "Permission denied")
            handle, name = tempfile.mkstemp(prefix=f".{target.name[:50]}.", suffix=".part", dir=target.parent)
            out = os.fdopen(handle, "wb", buffering=_BUFFER)
            kept = stat.S_IMODE(mode) if mode is not None else 0o666 & ~_umask()
            os.fchmod(handle, 0o600 if private else kept)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}", hint="name a file in a folder that you can write to"
        ) from None
    try:
        try:
            yield out
            out.close()
            if not direct:
                Path(name).replace(target)
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            raise StatementError(
                f"cannot write {path}: {error.strerror}", hint="nothing was left under that name"
            ) from None
    finally:
        with suppress(OSError):
            out.close()
        if not direct:
            Path(name).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


@contextmanager
def pager() -> Iterator[BinaryIO]:
    """Standard output through $PAGER (default less) on a terminal; plainly where there is none.

    LESS is honoured; where it is unset the pager ends by itself if everything fits on one screen.
    """
    import shlex
    import shutil
    import subprocess

    argv = shlex.split(os.environ.get("PAGER", "less"))
    plain = not argv or argv[0] == "cat" or shutil.which(argv[0]) is None
    # Without a terminal's name less can only ask for RETURN.
    if plain or not _open_stdout().isatty() or os.environ.get("TERM", "dumb") in ("", "dumb"):
        with standard_output() as out:
            yield out
        return
    environment = {**os.environ, "LESS": os.environ.get("LESS", "FRSX")}
    child = subprocess.Popen(argv, stdin=subprocess.PIPE, env=environment)
    assert child.stdin is not None  # noqa: S101 - PIPE gives one
    try:
        with suppress(BrokenPipeError):  # the reader pressed q
            yield cast(BinaryIO, child.stdin)
            child.stdin.flush()
    finally:
        with suppress(OSError):
            child.stdin.close()
        while True:
            try:
                child.wait()
                break
            except KeyboardInterrupt:  # Ctrl-C is the pager's while it is on the screen
                continue
