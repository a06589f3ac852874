"""A report of `gaiaops audit`: written, saved, held against a baseline, and turned into an exit code."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gaiaops.cli import base
from gaiaops.errors import FindingsError, PartialError

if TYPE_CHECKING:
    from gaiaops.audit.baseline import Baseline
    from gaiaops.audit.report import Report

SHOWN = 20  # of a kind, on a terminal


class Shown:
    """A report under the options of the command line: written, saved, and turned into an exit code."""

    def __init__(self, report: Report, kinds: frozenset[str], known: Baseline | None, options: dict[str, Any]) -> None:
        from gaiaops.audit.kinds import KINDS, SEVERITIES

        self.report, self.known, self.options, self.ran = report, known, options, kinds
        least = SEVERITIES[options["min_severity"]]
        self.kinds = [name for name, kind in KINDS.items() if name in kinds and kind.severity >= least]
        self.fixed: list[dict[str, Any]] = []

    def show(self) -> None:
        self._meet()
        if self.options["save"]:
            self._save(self.options["save"])
        write = {"json": self._json, "jsonl": self._jsonl, "csv": self._csv, None: self._text}
        write[self.options["shape"]]()
        self._notices()
        self._end()

    def _meet(self) -> None:
        """Holds the findings against the baseline once, so that what is fixed is known before it is shown."""
        import msgspec

        if self.known is None:
            return
        for finding in self.report.findings():
            self.known.knows(finding)
        self.fixed = [msgspec.to_builtins(one) for one in self.known.fixed(self.report.looked_for)]

    def _documents(self, kinds: Iterable[str]) -> Iterator[dict[str, Any]]:
        """The stable field names of a finding; `known` is whether the baseline has it."""
        for finding in self.report.findings(list(kinds)):
            yield {
                "id": finding.id,
                "kind": finding.kind,
                "severity": finding.severity.word,
                "environment": finding.environment,
                **({"shards": finding.shards} if finding.environment in self.report.sharded else {}),
                "subject": finding.subject,
                "address": finding.address,
                "evidence": finding.evidence,
                "command": finding.command,
                "known": None if self.known is None else self.known.knows(finding),
            }

    def _head(self) -> dict[str, Any]:
        """The report without its findings. None is what is not known, as for all of a side that failed."""
        from gaiaops.audit.compare import Tally

        report = self.report

        def side(tally: Tally, kinds: dict[str, int]) -> dict[str, Any]:
            return {"users": tally.users, "by_tag": dict(tally.by_tag), "kinds": kinds}

        # What was counted up to a failure would be taken for the whole.
        auth = Tally() if report.source_error else report.auth
        tallies = {name: Tally() if one.error else one.tally for name, one in report.sides.items()}
        everywhere = {"unprovisioned": report.count("unprovisioned")} if report.count("unprovisioned") else {}
        return {
            "source": report.source,
            "complete": not report.partial,
            "problems": [*([str(report.source_error)] if report.source_error else []), *report.problems],
            "vanished": report.vanished,
            "auth": side(auth, everywhere),
            "environments": [
                {
                    "environment": name,
                    "error": str(one.error) if one.error else None,
                    "matched": None if report.source_error else tallies[name].matched,
                    **side(tallies[name], {} if one.error else dict(one.kinds)),
                }
                for name, one in report.sides.items()
            ],
        }

    def _stream(self, out: Any, kinds: Iterable[str]) -> None:
        """One JSON document, without holding all findings at once."""
        import msgspec

        body = msgspec.json.encode({**self._head(), "fixed": self.fixed})
        out.write(body[:-1] + b',\n"findings": [')
        for i, document in enumerate(self._documents(kinds)):
            out.write((b",\n" if i else b"\n") + msgspec.json.encode(document))
        out.write(b"]}\n")

    def _save(self, path: Path) -> None:
        from gaiaops.output import files

        with files.whole_file(path, private=True) as out:
            self._stream(out, self.ran)

    def _json(self) -> None:
        from gaiaops.output import files

        with files.standard_output() as out:
            self._stream(out, self.kinds)

    def _jsonl(self) -> None:
        import msgspec

        from gaiaops.output import files

        with files.standard_output() as out:
            for document in self._documents(self.kinds):
                out.write(msgspec.json.encode(document) + b"\n")

    def _csv(self) -> None:
        from gaiaops.output import audit as output
        from gaiaops.output import files

        with files.standard_output() as out:
            columns = output.csv_columns(shards=bool(self.report.sharded))
            out.write(output.csv_line(columns))
            for document in self._documents(self.kinds):
                out.write(output.csv_line(output.csv_row(document, columns)))

    def _text(self) -> None:
        from gaiaops.audit.kinds import KINDS
        from gaiaops.output import audit as output
        from gaiaops.output import files

        screen = output.Screen(SHOWN, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None
        click.echo(output.matrix_text(self._head(), self.kinds))
        with nullcontext() if screen else files.standard_output() as out:
            for name in self.kinds:
                count = self.report.count(name)
                if count:
                    kind = KINDS[name]
                    head = f"\n{kind.severity.word}: {name} ({count}), {kind.meaning}"
                    for text in output.kind_texts(head, self._documents([name]), count, screen):
                        if out is None:
                            click.echo(text)
                        else:
                            out.write(text.encode("utf-8", "replace") + b"\n")

    def _notices(self) -> None:
        report = self.report
        if report.vanished:
            base.notice(f"{report.vanished} findings were gone at the second look")
        if self.known is not None:
            from gaiaops.output.cells import label

            total = sum(report.count(kind) for kind in self.ran)
            new = sum(1 for document in self._documents(self.ran) if not document["known"])
            base.notice(f"baseline: {new} new, {total - new} known, {len(self.fixed)} fixed")
            for one in self.fixed[:SHOWN]:
                base.notice(label(f"fixed: {one['kind']} {one['environment']} {one['address'] or one['subject']}"))
            if len(self.fixed) > SHOWN:
                base.notice(f"… and {len(self.fixed) - SHOWN} more (--json has all)")

    def _end(self) -> None:
        """Raises what the exit code is for: 6 where something is not known, 7 for findings."""
        report = self.report
        if report.partial:
            broken = [side.error.environment for side in report.failed if side.error]
            broken += ["supabase"] if report.source_error or not report.complete else []
            what = ", ".join(broken) or "see above"
            raise PartialError(
                f"not everything could be read: {what}", hint="what was found is reported; what is absent may not be"
            )
        if self.options["fail_on"] == "never":
            return
        from gaiaops.audit.kinds import KINDS, SEVERITIES

        least = SEVERITIES[self.options["fail_on"]]
        bad = [name for name in KINDS if name in self.ran and KINDS[name].severity >= least]  # shown or not
        counted = sum(1 for document in self._documents(bad) if not document["known"])
        if counted:
            new = "new findings" if self.known is not None else "findings"
            raise FindingsError(
                f"{counted} {new} at {least.word} or worse",
                hint="each names its next command; --save FILE and --baseline FILE accept what is known",
            )
