"""One value of the registry: where it was written, how it is found, and where it came from.

A value is a text with `${VAR}` and `${VAR:-default}`, or `{ command = [...] }`. It is resolved when it is
used, so that a missing secret fails only the environment that needs it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from gaiaops.errors import UsageError
from gaiaops.registry import commands
from gaiaops.registry.urls import Url, parse_url

if TYPE_CHECKING:
    from gaiaops.registry.tunnels import Tunnel

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\}|\$\$")


class Variables(msgspec.Struct, frozen=True):
    """What `${VAR}` may name: the process first, then `.env` beside the registry."""

    process: Mapping[str, str]
    dotenv: Mapping[str, str]

    def __repr__(self) -> str:
        return "Variables(…)"  # they hold secrets

    def find(self, name: str) -> tuple[str, str] | None:
        """(value, source) of a variable; an empty one counts as unset, as a shell's `:-` has it."""
        for values, source in ((self.process, f"${name}"), (self.dotenv, f"${name} in .env")):
            if values.get(name):
                return values[name], source
        return None


class Setting(msgspec.Struct, frozen=True):
    """A value of the registry, resolved on demand."""

    file: Path
    path: str
    raw: str | tuple[str, ...]
    variables: Variables

    def __repr__(self) -> str:
        return f"Setting({self.path})"  # what is written may be a secret

    def problem(self, reason: str, hint: str = "") -> UsageError:
        """The error that names the file, the key path and the reason."""
        return UsageError(f"{self.file.name}: {self.path}: {reason}", hint=hint or f"edit {self.file}")

    def get(self) -> str:
        """The resolved text. Raises UsageError where a variable is unset or the command fails."""
        if isinstance(self.raw, tuple):
            return self._run(self.raw)
        return "".join(text for text, _ in self._pieces(self.raw))

    def url(self, schemes: tuple[str, ...], tunnel: Tunnel | None = None) -> Url:
        """The resolved text as a connection string, through a tunnel if there is one. Raises UsageError where it is
        malformed."""
        try:
            url = parse_url(self.get(), schemes)
        except ValueError as error:
            raise self.problem(str(error)) from None
        if tunnel is not None and "," in url.host:
            raise self.problem("a tunnel leads to one server, and the connection string names several")
        return msgspec.structs.replace(url, tunnel=tunnel) if tunnel else url

    def source(self) -> str:
        """Where the value comes from, for `envs ENV`: the file, variables, defaults, a command."""
        if isinstance(self.raw, tuple):
            return f"command {self.raw[0]}"
        sources = dict.fromkeys(source for _, source in self._pieces(self.raw) if source)
        return ", ".join(sources) or self.file.name

    def _pieces(self, template: str) -> list[tuple[str, str]]:
        """The template as (text, source) pieces.

        A variable that is only part of a URL's login is percent-encoded, so that a password with `@` or `/`
        works as it is; a variable that holds the whole URL is taken as it is.
        """
        pieces, end = [], 0
        scheme, login_end = template.find("://"), template.rfind("@")
        for match in _VARIABLE.finditer(template):
            pieces.append((template[end : match.start()], ""))
            end = match.end()
            if match[0] == "$$":
                pieces.append(("$", ""))
                continue
            value, source = self._look_up(match)
            in_login = 0 <= scheme < match.start() < login_end
            pieces.append((quote(value, safe="") if in_login else value, source))
        pieces.append((template[end:], ""))
        return pieces

    def _look_up(self, match: re.Match[str]) -> tuple[str, str]:
        found = self.variables.find(match[1])
        if found:
            return found
        if match[2]:
            return match[3], f"default of ${match[1]}"
        where = self.file.parent / ".env"
        raise self.problem(f"variable {match[1]} is not set", f"export {match[1]}=… or put it into {where}")

    def _run(self, argv: tuple[str, ...]) -> str:
        value, reason = commands.output(argv)
        if reason:
            # Neither the arguments nor what it printed are shown: all may hold a secret.
            raise self.problem(f"command {argv[0]!r} gave no value: {reason}", "run it by hand: it is in the registry")
        return value

    def known(self) -> str:
        """The text as far as it is known without running anything; for hiding it. Empty where it is not."""
        if isinstance(self.raw, tuple):
            return commands.known(self.raw)
        try:
            return self.get()
        except UsageError:
            return ""


def read_variables(registry_file: Path) -> Variables:
    """The process's variables, then those of `.env` beside the registry (python-dotenv's syntax)."""
    dotenv_file = registry_file.parent / ".env"
    values: dict[str, str] = {}
    if dotenv_file.is_file():
        from dotenv import dotenv_values

        try:
            values = {k: v for k, v in dotenv_values(dotenv_file, interpolate=False).items() if v is not None}
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not a text in UTF-8"
            raise UsageError(f"{dotenv_file}: {reason}", hint="it holds NAME=value lines") from None
    return Variables(process=dict(os.environ), dotenv=values)


def readable_by_others(file: Path) -> bool:
    """Whether a secret file can be read by users other than its owner."""
    return file.is_file() and bool(file.stat().st_mode & 0o077)
