"""Comparison, look and judgement, against the naive audit of audit_kit on small worlds of few people in many
spellings: the suspects must hold whoever the naive audit accuses, and the findings must be the same."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gaiaops.audit import look
from gaiaops.audit.compare import AUTH, Comparison, spellings
from gaiaops.audit.homes import Homes
from gaiaops.audit.judge import Profile, of_profile
from gaiaops.audit.merge import ranges
from gaiaops.auth.interface import Record, ascii_lower, key_of
from tests.integration.audit_kit import P, R, Triple, naive

HOMES = Homes({"local": "local", "dev": "dev", "staging": "staging"}, ("production",))
NAMES = ("local", "dev", "staging", "production")

# A person's local part in the spellings that somebody may have typed, then tags, then a domain.
PEOPLE = [
    ("ada", "Ada", "ADA"),
    ("kim", "\u212aim", "KIM"),  # the Kelvin sign folds to k
    ("strasse", "straße", "STRASSE", "StraẞE"),
    ("élif", "ÉLIF", "e\u0301lif", "E\u0301LIF"),
    ("ilker", "İlker", "\u0131lker", "ILKER", "i\u0307lker"),
    ('"a b+dev"', '"A b+dev"'),
    ("so\u017fie", "sosie", "SOSIE"),
    ("x\ty\nz", "X\ty\nz"),
]
SPELLED = st.one_of(
    st.builds(
        lambda who, tag, domain: f"{who}{tag}@{domain}",
        st.sampled_from([spelling for person in PEOPLE[:7] for spelling in person]),
        st.sampled_from(
            ["", "+dev", "+DEV", "+Staging", "+alice", "+dev+staging", "+dev+dev", "+local", "+\u017ftaging"]
        ),
        st.sampled_from(["x.org", "X.org"]),
    ),
    st.sampled_from(["", "root", "a@b@c", "+dev@x.org", "@", *PEOPLE[7]]),
)
IDS = st.integers(0, 7).map(lambda n: f"00000000-0000-4000-8000-00000000000{n}")
RECORD = st.builds(
    R, IDS, SPELLED, banned=st.booleans(), deleted=st.sampled_from([False, False, True]),
    anonymous=st.sampled_from([False, False, True]), sso=st.sampled_from([False, False, True]),
    unconfirmed=st.booleans(), young=st.sampled_from([False, False, True]),
    invisible=st.sampled_from([False, False, False, True]),
)  # fmt: skip
PROFILE = st.builds(P, IDS, SPELLED, young=st.sampled_from([False, False, True]), keys=st.sampled_from([0, 0, 2]))


def consistent(records: Sequence[R]) -> list[R]:
    """As the server keeps them: ids are unique, and so are ordinary addresses."""
    kept: dict[str, R] = {}
    taken: set[str] = set()
    for record in records:
        if record.id in kept or (record.address and not record.sso and record.address in taken):
            continue
        kept[record.id] = record
        taken |= {record.address} if not record.sso else set()
    return list(kept.values())


def unique(profiles: Sequence[P]) -> list[P]:
    return list({p.address: p for p in {p.id: p for p in profiles}.values()}.values())


RECORDS = st.lists(RECORD, max_size=8).map(consistent)
WORLDS = st.fixed_dictionaries({name: st.lists(PROFILE, max_size=5).map(unique) for name in NAMES})


class FakeAuth:
    """The auth side in memory, with exactly what the protocol promises."""

    def __init__(self, records: Sequence[R]) -> None:
        self.records = [Record(r.id, r.address, r.flags) for r in records]

    def find(self, ids: Collection[str], addresses: Collection[str]) -> list[Record]:
        wanted = set(addresses)
        return [r for r in reversed(self.records) if r.id in ids or (r.ordinary and r.address in wanted)]


class FakeSide:
    """An environment in memory."""

    def __init__(self, name: str, profiles: Sequence[P]) -> None:
        self.env = SimpleNamespace(name=name, shards=())
        self.profiles = profiles

    def find(self, ids: Collection[str], addresses: Collection[str]) -> list[Profile]:
        wanted = {address for address in addresses if address}
        return [Profile(p.id, p.address, p.young) for p in self.profiles if p.id in ids or p.address in wanted]

    def working_keys(self, ids: Collection[str]) -> Mapping[str, tuple[str, ...]]:
        return {p.id: ("k",) * p.keys for p in self.profiles if p.keys and p.id in ids}

    def lines(self) -> list[str]:
        return sorted((self._line(p) for p in self.profiles), key=key_of)

    def _line(self, p: P) -> str:
        """As audit_profiles.sql writes it."""
        k = ascii_lower(p.address)
        if self.env.name == "production":
            home = "+" not in k
        else:
            home = f"+{self.env.name}@" in k and k.count("+") == 1 and k.count("@") == 1
        flags = ("" if home else "h") + ("c" if k != p.address else "") + ("y" if p.young else "")
        return f"{p.id}\t{flags}\t{p.address}"


def audited(
    records: Sequence[R], world: Mapping[str, Sequence[P]], size: int = 3
) -> tuple[set[Triple], set[tuple[str, str]], Comparison]:
    """(the findings, the suspects, the comparison) of the audit's own pure parts."""
    auth, sides = FakeAuth(records), {name: FakeSide(name, world[name]) for name in NAMES}

    def blocks(lines: list[str]) -> Any:
        return iter([lines[at : at + size] for at in range(0, len(lines), size)])

    def streams() -> dict[str, Any]:
        all_records = sorted((r.line() for r in auth.records), key=key_of)
        return {AUTH: blocks(all_records), **{name: blocks(side.lines()) for name, side in sides.items()}}

    comparison = Comparison(NAMES, HOMES)
    for parts in ranges(streams(), lambda name, error: None):
        comparison.take(parts)
    comparison.finish()
    for parts in ranges(streams(), lambda name, error: None) if comparison.again else ():
        comparison.fold(parts)
    found: set[Triple] = set()
    suspects: set[tuple[str, str]] = set()
    for name, side in sides.items():
        batch = [comparison.widened(name, suspect) for suspect in comparison.profiles[name]]
        suspects |= {(name, suspect.id) for suspect in batch}
        assert len(batch) == len({suspect.id for suspect in batch}), "a suspect came twice"
        for _, copies in look.profiles(side, batch, auth, absence=True):  # type: ignore[arg-type]
            found |= {(f.kind, f.environment, f.subject) for seen in copies for f in of_profile(seen, HOMES)}
    missed = [comparison.widened_record(record) for record in comparison.records]
    suspects |= {("", record.id) for record in missed}
    calm = {"everywhere": True, "surviving": lambda name: nullcontext()}
    given_back = look.records(sides, missed, auth, HOMES, **calm)  # type: ignore[arg-type]
    for _, findings in given_back:
        found |= {(f.kind, f.environment, f.subject) for f in findings}
    comparison.close()
    return found, suspects, comparison


def person(n: int, address: str, **states: bool) -> R:
    return R(f"00000000-0000-4000-8000-00000000000{n}", address, **states)


def profile(n: int, address: str, **states: Any) -> P:
    return P(f"00000000-0000-4000-8000-00000000000{n}", address, **states)


def empty(**given: list[P]) -> dict[str, list[P]]:
    return {name: given.get(name, []) for name in NAMES}


@settings(max_examples=100, deadline=None)
@given(RECORDS, WORLDS, st.integers(1, 6))
@example([person(0, "STRASSE@x.org")], empty(production=[profile(1, "straße@x.org")]), 1)
@example([person(0, "straße@x.org")], empty(production=[profile(1, "STRASSE@x.org")]), 1)
@example([person(0, "\u212aim@x.org")], empty(production=[profile(1, "KIM@x.org")]), 1)
@example([person(0, "KIM@x.org")], empty(production=[profile(1, "\u212aim@x.org")]), 1)
@example([person(0, "İlker@x.org")], empty(production=[profile(1, "i\u0307lker@x.org")]), 1)
@example([person(0, "ADA@x.org", banned=True), person(1, "ada@x.org")],
         empty(production=[profile(2, "ada@x.org", keys=1)]), 2)  # fmt: skip
@example([person(1, "ada@x.org")], {**empty(), "staging": [profile(0, "ada@X.org")]}, 2)
@example([], empty(production=[profile(0, "KIM@x.org"), profile(1, "\u212aim@x.org")]), 2)
@example([], empty(production=[profile(0, "ada@x.org"), profile(1, "Ada@x.org", young=True)]), 2)
def test_the_findings_are_those_of_the_naive_audit(records: list[R], world: dict[str, list[P]], size: int) -> None:
    found, suspects, comparison = audited(records, world, size)
    expected = naive(records, world)
    accused = {(kind, name, subject) for kind, name, subject in expected if kind != "duplicate-profile"}
    missing = {(kind, name, subject) for kind, name, subject in accused
               if (name, subject) not in suspects and ("", subject) not in suspects}  # fmt: skip
    assert not missing, "not suspected at all"
    assert found == expected
    tallies = comparison.tallies
    assert tallies[AUTH].users == len(records)
    for name in NAMES:
        assert tallies[name].users == sum(tallies[name].by_tag.values()) == len(world[name])
    assert sum("@" in r.address for r in records) <= sum(tallies[AUTH].by_tag.values()) <= len(records)


def test_addresses_are_counted_once_where_two_environments_have_no_tag() -> None:
    homes = Homes({"dev": "dev"}, ("production", "shard"))
    comparison = Comparison(("dev", "production", "shard"), homes)
    line = "1\t\tada@x.org"
    comparison.take({AUTH: [line], "production": [line], "shard": [line]})
    assert comparison.tallies[AUTH].by_tag[""] == 1
    assert comparison.tallies[AUTH].matched == 1


def test_spellings_hold_the_address_itself_and_its_cases() -> None:
    assert spellings("STRAßE@X.org") == ("STRAßE@X.org", "straße@x.org".replace("straße", "straße"), "strasse@x.org")
    assert "i\u0307" in spellings("İ")[1] + spellings("İ")[-1]


def test_a_blind_comparison_misses_nobody() -> None:
    comparison = Comparison(NAMES, HOMES, blind=True)
    comparison.take({"production": ["1\t\tada@x.org"], "dev": ["2\th\tada@x.org"]})
    comparison.finish()
    assert [s.id for s in comparison.profiles["dev"]] == ["2"]
    assert not len(comparison.profiles["production"])
    assert comparison.tallies["production"].matched == 0
    assert not len(comparison.records)
