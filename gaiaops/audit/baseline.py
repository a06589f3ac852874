"""Known findings: a saved report that is held against a new one. Pure but for reading the file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec

from gaiaops.audit.kinds import Finding
from gaiaops.errors import UsageError

# What can be told of them needs no auth record.
WITHOUT_AUTH = frozenset(
    {
        "duplicate-profile",
        "stale-cache",
        "foreign-profile",
        "untagged-profile",
        "ambiguous-address",
        "dangling-reference",
    }
)


class Known(msgspec.Struct, frozen=True):
    """A finding of a saved report."""

    id: str
    kind: str
    environment: str
    subject: str
    address: str = ""


class _Saved(msgspec.Struct):
    findings: list[Known]


class Baseline:
    """The findings of a saved report, and which of them have been met again."""

    def __init__(self, known: Collection[Known]) -> None:
        self._left = {one.id: one for one in known}
        self._ids = frozenset(self._left)

    def knows(self, finding: Finding) -> bool:
        """Whether a finding is in it; it counts as met."""
        self._left.pop(finding.id, None)
        return finding.id in self._ids

    def fixed(self, looked_for: Mapping[str, Collection[str]]) -> list[Known]:
        """Those that were looked for (environment → kinds, see Report.looked_for) and not met."""
        return [one for one in self._left.values() if one.kind in looked_for.get(one.environment, ())]


def load(path: Path) -> Baseline:
    """A report that `--save` or `--json` wrote, or the lines of `--jsonl`. Raises UsageError where it is neither."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read the baseline {path}: {error.strerror}", hint="name a file of --save") from None
    try:
        if data.lstrip()[:11].startswith(b'{"id"'):
            return Baseline(msgspec.json.Decoder(Known).decode_lines(data))
        return Baseline(msgspec.json.decode(data, type=_Saved).findings)
    except msgspec.MsgspecError as error:
        raise UsageError(
            f"{path} is no saved audit: {error}", hint="write one: gaiaops audit all --save FILE"
        ) from None
