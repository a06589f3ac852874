"""The audit's smaller values: ids, homes, piles, reports and baselines."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaiaops.audit import baseline
from gaiaops.audit.homes import Homes
from gaiaops.audit.kinds import KINDS, SEVERITIES, Finding, Severity
from gaiaops.audit.pile import Pile
from gaiaops.audit.report import Report
from gaiaops.cache.scan import key_bytes, key_text
from gaiaops.errors import StatementError, UsageError
from tests.integration.audit_kit import home_of

# ---------------------------------------------------------------------------------------------- kinds


def test_the_id_of_a_finding_never_changes() -> None:
    """Saved baselines hold these: another id would make everything known new."""
    orphan = Finding("orphan-profile", "dev", "7a1e5f5a-0000-4000-8000-000000000001", "a@x", {"auth": "absent"})
    assert orphan.id == "61f2d4bbde02"
    assert Finding("unprovisioned", "", "x").id == "e0e5a4ec0e5e"


def test_the_id_depends_on_kind_environment_and_subject_alone() -> None:
    one = Finding("orphan-profile", "dev", "1", "a@x", {"auth": "absent"}, "gaiaops")
    assert one.id == Finding("orphan-profile", "dev", "1").id
    others = {Finding("email-drift", "dev", "1").id, Finding("orphan-profile", "prod", "1").id,
              Finding("orphan-profile", "dev", "2").id, Finding("orphan-profile", "dev1", "").id}  # fmt: skip
    assert one.id not in others and len(others) == 4


def test_kinds_come_the_worst_first() -> None:
    order = [kind.severity for kind in KINDS.values()]
    assert order == sorted(order, reverse=True)
    assert list(SEVERITIES) == ["critical", "error", "warning", "notice"]
    assert {name for name, kind in KINDS.items() if kind.fixable} == {
        "missing-profile", "email-drift", "case-drift", "revoked-access", "stale-cache"
    }  # fmt: skip
    assert KINDS["revoked-access"].severity is Severity.CRITICAL


# ---------------------------------------------------------------------------------------------- homes

HOMES = Homes({"local": "local", "dev": "dev", "staging": "staging"}, ["production"])


@given(
    st.lists(
        st.sampled_from(["a", "+", "+dev", "+DEV", "+staging", "@", "+\u017ftaging", "x", '"', "+devx"]), max_size=7
    )
)
def test_homes_follow_the_convention(parts: list[str]) -> None:
    address = "".join(parts)
    assert HOMES.home(address) == home_of(address)


def test_an_untagged_address_names_no_home_for_certain_among_two() -> None:
    two = Homes({"dev": "dev"}, ["production", "shard"])
    assert [two.home("a@x"), two.home("a+dev@x"), two.tag("a@x")] == ["", "dev", ""]


# ---------------------------------------------------------------------------------------------- piles

FINDINGS = st.builds(
    Finding, st.sampled_from(list(KINDS)), st.sampled_from(["", "dev"]), st.text(max_size=5), st.text()
)


@settings(deadline=None)
@given(st.lists(FINDINGS, max_size=30), st.integers(1, 7))
def test_a_pile_gives_back_what_it_got(findings: list[Finding], size: int) -> None:
    pile = Pile(Finding)
    for finding in findings:
        pile.add(finding)
    assert list(pile) == list(pile) == findings
    batches = list(pile.batches(size))
    assert [one for batch in batches for one in batch] == findings
    assert all(len(batch) <= size for batch in batches) and len(pile) == len(findings)
    pile.clear()
    assert not list(pile) and len(pile) == 0
    pile.close()


def test_a_pile_goes_to_disk_and_takes_more_while_it_is_read() -> None:
    pile = Pile(Finding)
    for i in range(20_000):
        pile.add(Finding("orphan-profile", "dev", str(i), "a" * 60))
    assert pile._file._rolled  # type: ignore[attr-defined]
    assert next(iter(pile)).subject == "0"
    pile.add(Finding("orphan-profile", "dev", "last"))
    subjects = [finding.subject for finding in pile]
    assert subjects == [*map(str, range(20_000)), "last"]
    pile.close()


@given(st.binary(max_size=12))
def test_redis_keys_survive_as_text(raw: bytes) -> None:
    text = key_text(raw)
    text.encode()  # any document can hold it
    if b"\\x" not in raw:
        assert key_bytes(text) == raw


# ---------------------------------------------------------------------------------------------- reports


def finding(kind: str, environment: str = "dev", subject: str = "1") -> Finding:
    return Finding(kind, environment, subject)


def test_a_failed_environment_says_nothing() -> None:
    report = Report(["dev", "production"])
    report.add(finding("orphan-profile"))
    report.add(finding("orphan-profile", "production", "2"))
    report.add(finding("unprovisioned", "", "3"))
    assert report.count("orphan-profile") == 2 and report.count("unprovisioned") == 1 and not report.partial
    report.sides["dev"].error = StatementError("gone")
    assert [f.subject for f in report.findings()] == ["2"]
    assert report.count("orphan-profile") == 1 and report.count("unprovisioned") == 0
    assert report.partial
    report.close()


def test_what_several_tell_counts_once() -> None:
    report = Report(["dev"])
    for _ in range(2):
        report.add(finding("duplicate-profile", subject="a@x"))
        report.add(finding("stale-cache", subject="user:session:1"))
    assert report.count("duplicate-profile") == report.count("stale-cache") == 1
    assert len(list(report.findings())) == 2
    report.close()


@pytest.mark.parametrize("what", ["problems", "source_error", "complete"])
def test_anything_unknown_makes_it_partial(what: str) -> None:
    report = Report(["dev"])
    setattr(report, what, {"problems": ["one"], "source_error": StatementError("x"), "complete": False}[what])
    assert report.partial


# ---------------------------------------------------------------------------------------------- baselines


def known(*findings: Finding) -> baseline.Baseline:
    return baseline.Baseline([baseline.Known(f.id, f.kind, f.environment, f.subject) for f in findings])


def test_only_what_was_looked_for_can_be_fixed() -> None:
    gone, met, other = finding("orphan-profile"), finding("email-drift"), finding("orphan-profile", "production")
    nowhere, unread = finding("unprovisioned", ""), finding("stale-cache")
    held = known(gone, met, other, nowhere, unread)
    assert held.knows(met) and not held.knows(finding("email-drift", subject="new"))
    fixed = held.fixed({"dev": {"orphan-profile", "email-drift"}, "": set()})
    assert [one.id for one in fixed] == [gone.id]


def test_a_kind_of_another_version_is_never_fixed() -> None:
    held = baseline.Baseline([baseline.Known("1", "no-such-kind", "dev", "x")])
    assert held.fixed({"dev": frozenset(KINDS)}) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "no saved audit"), ("[]", "no saved audit"), ("{}", "no saved audit"), ("\x00\xff", "no saved audit"),
     ('{"findings": [{"id": 7}]}', "no saved audit"), ('{"id": "1"}', "no saved audit")],
)  # fmt: skip
def test_rubbish_is_refused_in_words(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "b.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError) as caught:
        baseline.load(file)
    assert words in caught.value.message


@pytest.mark.parametrize("name", ["absent.json", "."])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot read the baseline"):
        baseline.load(tmp_path / name)
