"""Connection strings: whatever a password holds, it stays a password and out of sight."""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from gaiaops.registry.settings import Setting, Variables
from gaiaops.registry.urls import POSTGRES_SCHEMES, REDIS_SCHEMES, parse_url

UNPRINTABLE = ("Cs", "Cc", "Cf", "Cn", "Co", "Zs", "Zl", "Zp")
SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FFF, exclude_categories=UNPRINTABLE), min_size=6)


@given(SECRETS)
def test_an_escaped_password_comes_back_and_is_masked(password: str) -> None:
    url = parse_url(f"postgresql://u:{quote(password, safe='')}@h:5433/d?sslmode=require", POSTGRES_SCHEMES)
    assert (url.user, url.password, url.host, url.port, url.database) == ("u", password, "h", "5433", "d")
    assert url.masked() == "postgresql://u:***@h:5433/d?sslmode=require"
    assert repr(url) == "Url(postgresql://u:***@h:5433/d?sslmode=require)"


@given(SECRETS)
def test_a_password_from_a_variable_needs_no_escaping(password: str) -> None:
    from pathlib import Path

    setting = Setting(Path("e.toml"), "p", "postgresql://u:${PW}@h/d", Variables({"PW": password}, {}))
    assert setting.url(POSTGRES_SCHEMES).password == password
    assert password not in repr(setting)


def test_hosts_sockets_and_schemes() -> None:
    socket = parse_url("postgresql://u:p@/d?host=/cloudsql/project:region:instance", POSTGRES_SCHEMES)
    assert (socket.host, socket.address, socket.database) == ("", "/cloudsql/project:region:instance", "d")
    several = parse_url("postgresql://u@h1:1,h2:2/d", POSTGRES_SCHEMES)
    assert (several.host, several.port) == ("h1,h2", "1,2")
    six = parse_url("postgresql://u@[::1]:5432/d", POSTGRES_SCHEMES)
    assert (six.host, six.port, six.masked()) == ("::1", "5432", "postgresql://u@[::1]:5432/d")
    redis = parse_url("rediss://:s3cret@r:6380/2", REDIS_SCHEMES)
    assert (redis.user, redis.password, redis.database, redis.masked()) == (
        None,
        "s3cret",
        "2",
        "rediss://:***@r:6380/2",
    )
    assert "hush" not in parse_url("postgresql://h/d?password=hush", POSTGRES_SCHEMES).masked()
