"""Who is taken: whole tags, case-folded, less the ambiguous, the protected and the kept; and how many at most."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaiaops.cleanup.selection import Selection, Verdict, cap, choose_tags
from gaiaops.errors import ExitCode, RefusedError
from gaiaops.registry.model import Environment, Pin, Timeouts
from gaiaops.registry.settings import Setting, Variables

TAGS = {"local": "local", "Dev": "dev", "staging": "staging"}
KNOWN = tuple(TAGS)


def environment(name: str, tag: str | None) -> Environment:
    setting = Setting(Path("environments.toml"), "x", "postgresql://h/d", Variables({}, {}))
    return Environment(name, (), tag, False, setting, None, (), Timeouts(), Pin())


PRODUCTION, DEV = environment("production", None), environment("dev", "Dev")


@pytest.mark.parametrize(
    ("address", "verdict"),
    [
        ("jason+dev@x", Verdict.TAKE),
        ("jason+DEV@x", Verdict.TAKE),
        ("jason+alice+dev@x", Verdict.TAKE),
        ("jason+\u017ftaging@x", Verdict.OTHER),  # folds to staging, which is not taken
        ("jason+staging@x", Verdict.OTHER),
        ("jason+developer@x", Verdict.OTHER),
        ("jason+dev2@x", Verdict.OTHER),
        ("jason+alice@x", Verdict.OTHER),
        ("dev+x@x", Verdict.OTHER),
        ('"jason+dev@home"@x', Verdict.OTHER),
        ("john_doe@x", Verdict.OTHER),
        ("jason@x", Verdict.OTHER),
        ("", Verdict.OTHER),
        ("a+dev+staging@x", Verdict.AMBIGUOUS),
        ("a+staging+dev@x", Verdict.AMBIGUOUS),
        ("a+dev+dev@x", Verdict.TAKE),
        ("QA+dev@Kept.org", Verdict.KEPT),
        ("qa+dev@protected.org", Verdict.PROTECTED),
        ("both+dev@protected.org", Verdict.PROTECTED),
        ("a+dev+staging@protected.org", Verdict.AMBIGUOUS),
        ("a+dev@sub.protected.org", Verdict.TAKE),
    ],
)
def test_the_verdict(address: str, verdict: Verdict) -> None:
    selection = Selection(("local", "Dev"), KNOWN, ("@protected.org",), ("qa+dev@kept.org", "both+dev@protected.org"))
    assert selection.verdict(address) is verdict


@given(st.text(max_size=20), st.sampled_from(KNOWN), st.lists(st.sampled_from(KNOWN), unique=True))
def test_only_a_chosen_tag_is_taken_and_never_a_protected_address(local: str, tag: str, chosen: list[str]) -> None:
    address = f"{local}+{tag}@x"
    verdict = Selection(tuple(chosen), KNOWN).verdict(address)
    assert verdict is not Verdict.TAKE or tag in chosen
    for entry in (address, address.upper(), "x", "@X"):
        assert Selection(tuple(chosen), KNOWN, (entry,)).verdict(address) is not Verdict.TAKE


def test_without_a_name_the_tags_of_all_other_environments_are_chosen() -> None:
    assert choose_tags(PRODUCTION, TAGS, [], None) == KNOWN
    assert choose_tags(DEV, TAGS, [], None) == ("local", "staging")
    assert choose_tags(DEV, {"Dev": "dev"}, [], None) == ()


def test_named_tags_are_found_in_any_case_and_once() -> None:
    assert choose_tags(PRODUCTION, TAGS, ["DEV", "dev", "Local"], None) == ("Dev", "local")


@pytest.mark.parametrize("name", ["", " ", " dev", "developer", "de", "%", "*", "dev,local"])
def test_what_is_no_tag_is_refused(name: str) -> None:
    with pytest.raises(RefusedError) as caught:
        choose_tags(PRODUCTION, TAGS, ["local", name], 10)
    assert caught.value.code == ExitCode.REFUSED
    assert "local, Dev, staging" in caught.value.hint


def test_the_environments_own_tag_asks_for_a_number() -> None:
    for own in ("Dev", "dev", "DEV"):
        with pytest.raises(RefusedError, match="own tag"):
            choose_tags(DEV, TAGS, ["local", own], None)
    assert choose_tags(DEV, TAGS, ["dev"], 0) == ("Dev",)
    assert choose_tags(DEV, TAGS, ["dev"], 5) == ("Dev",)


@pytest.mark.parametrize(
    ("users", "given_", "limit"),
    [(0, None, 0), (10, None, 0.5), (20, None, 1), (20_000, None, 1000), (10**9, None, 1000), (10**9, 0, 0), (1, 5, 5)],
)
def test_the_cap(users: int, given_: int | None, limit: float) -> None:
    assert cap(users, given_) == limit
