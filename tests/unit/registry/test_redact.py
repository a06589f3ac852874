"""Secrets in texts of which nobody knows what they hold."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from gaiaops import registry
from gaiaops.errors import UsageError
from gaiaops.registry import redact
from gaiaops.registry.urls import POSTGRES_SCHEMES, REDIS_SCHEMES, parse_url

HARD = "p@ss/w:%41#?& '\"\\ü"


def test_every_form_is_hidden() -> None:
    forms = [HARD, quote(HARD), quote(HARD, safe=""), quote_plus(HARD), repr(HARD)[1:-1], json.dumps(HARD)[1:-1]]
    forms.append(base64.b64encode(HARD.encode()).decode())
    for form in forms:
        assert redact.hide(f"<{form}>", [HARD]) == "<***>"


def test_what_a_registry_hides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it, but for commands that were not run, and without running them."""
    monkeypatch.setenv("SOME_KEY", "key-1")
    (tmp_path / "environments.toml").write_text(
        '[environments.dev]\npostgres = "postgresql://u:one@h/d?sslpassword=two"\nredis = "redis://:three@h:1/0"\n'
        'replicas = ["postgresql://u:four@h2/d"]\n'
        f'[environments.prod]\npostgres = {{ command = ["touch", "{tmp_path}/ran"] }}\n'
        '[environments.none]\npostgres = "${NOT_SET_ANYWHERE}"\n[environments.bad]\npostgres = "${SOME_KEY}"\n'
        '[supabase]\nurl = "http://h"\nservice_key = "five"\ndatabase = "postgresql://u:six@h/d"\n',
        encoding="utf-8",
    )
    found = registry.load(str(tmp_path / "environments.toml"))
    known = redact.secrets(found, {"PGPASSWORD": "seven", "HOME": "/root"})
    assert known == {"one", "two", "three", "four", "five", "six", "seven", "key-1"}
    assert not (tmp_path / "ran").exists()


def test_a_traceback_keeps_its_lines() -> None:
    try:
        try:
            raise ValueError(f"inner {HARD}")
        except ValueError as error:
            raise UsageError(f"outer {HARD!r}") from error
    except UsageError as error:
        shown = redact.traceback_of(error, [HARD, "test_redact"])
    assert "inner ***" in shown and "outer '***'" in shown and HARD not in shown and repr(HARD)[1:-1] not in shown
    assert "test_redact.py" in shown  # a password that is a word of ours hides no file name


@pytest.mark.parametrize(
    "text",
    ["postgresql://u:p?w@h/d", "postgresql://u:12?w=x@h/d", "postgresql://u:p@ss?x=1@h/d", "redis://:p?w@h:1/0"],
)
def test_a_raw_question_mark_in_a_password_is_told_and_not_shown(text: str) -> None:
    """It would end the login, and what is behind it would be an option, or a host."""
    with pytest.raises(ValueError, match="write %3F for a \\? in the password"):
        parse_url(text, (*POSTGRES_SCHEMES, *REDIS_SCHEMES))


def test_options_are_hidden_unless_they_are_known_to_hold_no_secret() -> None:
    text = "postgresql://u:p@h/d?sslmode=require&sslpassword=x1&pasword=x2&scram_client_key=x3&sslkey=/k&passfile=/f"
    shown = parse_url(text, POSTGRES_SCHEMES).masked()
    assert shown == (
        "postgresql://u:***@h/d?sslmode=require&sslpassword=***&pasword=***&scram_client_key=***&sslkey=/k&passfile=/f"
    )
    assert "x1" not in parse_url("rediss://h/0?ssl_password=x1&ssl_keyfile=/k", REDIS_SCHEMES).masked()


def test_a_password_that_is_the_users_name_hides_no_name() -> None:
    url = parse_url("postgresql://postgres:postgres@h/d", POSTGRES_SCHEMES)
    assert url.hide('no entry for user "postgres"') == 'no entry for user "postgres"'
