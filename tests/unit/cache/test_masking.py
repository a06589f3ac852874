"""Secrets that must not be shown, and what must."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaiaops.cache.masking import MASK, is_secret_key, is_secret_name, mask_text, mask_value

JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
SECRET = "hunter2-Zq"

HIDDEN = [
    '{"token": "hunter2-Zq"}',
    '{"a": {"refresh_token": "hunter2-Zq"}, "b": [{"apiKey": "hunter2-Zq"}]}',
    '{"clientSecret": {"value": "hunter2-Zq"}}',
    '{"cookies": ["hunter2-Zq"]}',
    '{"password": "hunter2-Zq", "n": 1',  # cut: no JSON any more
    '[{"access_token": "hunter2-Zq',
    '{"inner": "{\\"jwt\\": \\"hunter2-Zq\\"}"}',
    '{"inner": "{\\"jwt\\": \\"hunter2-Zq',
    '{"x": "ok", "token": "hunter2-Zq", "token": "ok"}',  # the parser keeps the last one only
    '{"Set-Cookie": "sid=hunter2-Zq; Path=/"}',
    "{'token': 'hunter2-Zq'}",
    "Authorization: Bearer hunter2-Zq",
    "authorization=Basic aHVudGVyMg==hunter2-Zq",
    "Cookie: a=1; sid=hunter2-Zq",
    "GET /?access_token=hunter2-Zq&x=1",
    "postgresql://me:hunter2-Zq@db:5432/app",
    "redis://:hunter2-Zq@cache:6379/0",
    "password: hunter2-Zq",
    "DB_PASSWORD=hunter2-Zq",
    "bearer hunter2-Zq",
    "-----BEGIN RSA PRIVATE KEY-----\nhunter2-Zq\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\nhunter2-Zq",
    '{"token": "a\\"hunter2-Zq"}x',
]


@pytest.mark.parametrize("text", HIDDEN)
def test_hidden(text: str) -> None:
    shown = mask_value(text)
    assert SECRET not in shown
    assert MASK in shown


@pytest.mark.parametrize(
    "text",
    [
        JWT,
        f"x {JWT} y",
        JWT[:40],
        json.dumps({"note": JWT}),
        "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
        "sk-proj-abcdefghijklmnopqrstuv",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "xoxb-123456789012-abcdefghij",
        "AKIAIOSFODNN7EXAMPLE",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY12",
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str) -> None:
    shown = mask_value(text)
    assert MASK in shown
    assert text not in shown


SHOWN = [
    '{"user_id":"2c5ea4c0-4067-11e9-8bad-9b1deb4d3b7d","is_active":true}',
    '{"tokens_used":1200,"max_tokens":4096,"token_type":"bearer","token_expires_at":"2026-11-01T10:00:00Z"}',
    '{"monkey":"banana","author":"Ada","authors":["Ada"],"passenger":"x","keyboard":"qwerty"}',
    '{"token":null,"password":"","has_password":true}',
    '{"session_count":3,"n":1.50,"email":"ada@example.com"}',
    "chunk 3 of 8",
    "203.0.113.7",
    "2c5ea4c0-4067-11e9-8bad-9b1deb4d3b7d",
    "/guides/personas.md",
    "https://example.com/a/b?page=2",
    "",
    "[1, 2",
]


@pytest.mark.parametrize("text", SHOWN)
def test_shown_as_it_is(text: str) -> None:
    assert mask_value(text) == text


def test_plain_values_of_secret_keys_are_hidden() -> None:
    assert mask_value("abc", secret=is_secret_key("gaia:auth:jwt:v1:1")) == MASK
    assert mask_value('{"sub":"7","name":"x"}', secret=True) == '{"sub":"7","name":"x"}'
    assert mask_value('{"sub":"7', secret=True) == MASK  # cut: what it was is not known
    assert not is_secret_key("persona:7")


@pytest.mark.parametrize(
    "name", ["token", "X-Api-Key", "refreshToken", "user.password2", "key_hash", "SESSION_ID", "otp"]
)
def test_secret_names(name: str) -> None:
    assert is_secret_name(name, "x")
    assert mask_value("abc", name=name) == MASK


def test_a_number_may_be_a_secret() -> None:
    assert is_secret_name("otp", 123456) and is_secret_name("pin", 1234)
    assert not is_secret_name("tokens", 12)


def test_depth_is_no_way_out() -> None:
    deep = '{"a":' * 5_000 + '{"token":"hunter2-Zq"}' + "}" * 5_000
    assert SECRET not in mask_value(deep)
    deep = "[" * 400 + '{"token":"hunter2-Zq"}' + "]" * 400
    assert SECRET not in mask_value(deep)


LEAVES = st.text(max_size=5) | st.none() | st.integers()
NAMES = st.sampled_from(["a", "token", "b"])


@given(st.recursive(LEAVES, lambda one: st.lists(one, max_size=3) | st.dictionaries(NAMES, one), max_leaves=12))
def test_nothing_under_a_secret_name_gets_through(value: object) -> None:
    planted = {"x": value, "token": [value, SECRET]}
    shown = json.loads(mask_value(json.dumps(planted)))
    assert SECRET not in json.dumps(shown)


@given(st.text(max_size=200))
def test_masking_twice_changes_nothing(text: str) -> None:
    assert mask_text(mask_text(text)) == mask_text(text)


def test_long_texts_take_no_long_time() -> None:
    """Nothing backtracks: 100 kB of each kind of trouble is looked through."""
    pieces = (
        "a",
        "a-",
        "a.b-",
        "key",
        "key-",
        '"token": "\\',
        "eyJ",
        "Bearer ",
        "0123456789abcdef",
        "x=",
        "http://a",
        "-----BEGIN ",
    )
    for piece in pieces:
        mask_text(piece * (100_000 // len(piece)))
