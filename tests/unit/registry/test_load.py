"""environments.toml: every mistake gives one line with the file and the key path."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from gaiaops import registry
from gaiaops.errors import ExitCode, UsageError
from gaiaops.registry.load import parse
from gaiaops.registry.model import Reference
from gaiaops.registry.settings import Variables

GOOD = """
[environments.dev]
tag = "dev"
postgres = "postgresql://u:p@h/d"
[environments.production]
aliases = ["prod"]
protected = true
postgres = "postgres://u:p@h2/d"
"""
BAD = {
    "unknown key": (GOOD + 'host = "x"', "environments.production.host: unknown key"),
    "unknown section": (GOOD + "[enviroments]", "enviroments: unknown key"),
    "unknown nested key": (
        GOOD + '[environments.production.timeouts]\nstatment = "1s"',
        "environments.production.timeouts.statment: unknown key",
    ),
    "wrong type": (GOOD.replace("true", '"yes"'), "environments.production.protected: expected `bool`, got `str`"),
    "wrong type of a list": (GOOD.replace('["prod"]', '"prod"'), "environments.production.aliases: expected"),
    "a number for a URL": (GOOD.replace('"postgres://u:p@h2/d"', "5432"), "environments.production.postgres: expected"),
    "a table for an environment": ("[environments]\ndev = 1", "environments.dev: expected `object`"),
    "alias twice": (GOOD.replace('"prod"', '"dev"'), 'environments.production.aliases: "dev" is used twice'),
    "alias twice in one": (
        GOOD.replace('["prod"]', '["p", "p"]'),
        'environments.production.aliases: "p" is used twice',
    ),
    "tag twice": (GOOD + 'tag = "Dev"', 'environments.production.tag: "Dev" is used twice: environments.dev has it'),
    "tag with a plus": (GOOD + 'tag = "a+b"', "environments.production.tag: 'a+b' cannot stand in an address"),
    "malformed scheme": (GOOD.replace("postgres://u:p@h2", "mysql://u:p@h2"), "environments.production.postgres: malf"),
    "malformed port": (GOOD.replace("@h2/", "@h2:54x2/"), "environments.production.postgres: malformed URL: the port"),
    "port too large": (GOOD.replace("@h2/", "@h2:70000/"), "environments.production.postgres: malformed URL: the port"),
    "no scheme": (GOOD.replace("postgres://u:p@h2/d", "h2/d"), "environments.production.postgres: malformed URL"),
    "malformed query": (GOOD.replace("h2/d", "h2/d?sslmode"), "environments.production.postgres: malformed URL: after"),
    "malformed redis": (GOOD + 'redis = "http://x"', "environments.production.redis: malformed URL"),
    "malformed replica": (GOOD + 'replicas = ["x"]', "environments.production.replicas[0]: malformed URL"),
    "bad duration": (
        GOOD + '[environments.dev.timeouts]\nlock = "5 parsecs"',
        "environments.dev.timeouts.lock: not a duration",
    ),
    "empty URL": (GOOD.replace("postgres://u:p@h2/d", ""), "environments.production.postgres: empty"),
    "missing URL": ("[environments.dev]\n", "environments.dev.postgres: missing"),
    "reserved name": ('[environments.all]\npostgres = "postgresql://h/d"', 'environments.all: "all" cannot be'),
    "no environments": ("", "environments: no environment is declared"),
    "empty command": ("[environments.dev]\npostgres = { command = [] }", "environments.dev.postgres: command is empty"),
    "unknown supabase key": (
        GOOD + '[supabase]\nurl = "x"\nservice_key = "y"\nanon = "z"',
        "supabase.anon: unknown key",
    ),
    "not TOML": ("[environments.dev\n", "not valid TOML"),
    **{
        f"a reference to {name!r}": (
            GOOD + f'[references]\n"{name}" = {{}}',
            f'references."{name}": not a column: write table.column',
        )
        for name in ("notes", "", ".", "notes.", ".user_id")
    },
    "references are no table": (
        'references = ["notes.user_id"]\n' + GOOD,
        "references: expected `object`, got `array`",
    ),
    "a reference is no table": (
        GOOD + '[references]\n"notes.user_id" = "{id}"',
        'references."notes.user_id": expected `object`, got `str`',
    ),
    "a reference that TOML nests": (GOOD + "[references]\nnotes.user_id = {}", 'references."notes": not a column'),
    "unknown key of a reference": (
        GOOD + '[references]\n"notes.user_id" = { hold = "{id}" }',
        'references."notes.user_id".hold: unknown key',
    ),
    "unknown action": (
        GOOD + '[references]\n"notes.user_id" = { on_delete = "cascade" }',
        "references.\"notes.user_id\".on_delete: invalid enum value 'cascade'",
    ),
    "a number for a condition": (
        GOOD + '[references]\n"notes.user_id" = { where = 1 }',
        'references."notes.user_id".where: expected `str',
    ),
    "an empty condition": (
        GOOD + '[references]\n"notes.user_id" = { where = " " }',
        'references."notes.user_id".where: ',
    ),
    **{
        f"a reference that holds {holds!r}": (
            GOOD + f'[references]\n"a.b" = {{}}\n"notes.user_id" = {{ holds = "{holds}" }}',
            'references."notes.user_id".holds: needs {id} or {address}, once',
        )
        for holds in ("", "id", "{ID}", "{id}{id}", "{id}/{address}", "{email}", "{ id }")
    },
    "a number for what it holds": (
        GOOD + '[references]\n"notes.user_id" = { holds = 1 }',
        'references."notes.user_id".holds: expected `str`',
    ),
    **{
        f"a cache key {key!r}": (
            GOOD + f'[cache]\nuser_keys = ["k:{{users.id}}", "{key}"]',
            "cache.user_keys[1]: needs one {table.column}, or {table.column:LENGTH}",
        )
        for key in (
            "",
            "session",
            "{id}",
            "{users.id",
            "users.id}",
            "{users.id}{users.id}",
            "{users.id}:{x}",
            "{users.id}}",
            "{users.id:}",
            "{users.id:x}",
            "{users.id:-1}",
            "{a.users.id}",
            "{users.id:0}",
        )
    },
    "a cache key is no text": (GOOD + "[cache]\nuser_keys = [1]", "cache.user_keys[0]: expected `str`, got `int`"),
    "cache keys are no list": (
        GOOD + '[cache]\nuser_keys = "{users.id}"',
        "cache.user_keys: expected `array`, got `str`",
    ),
    "unknown cache key": (GOOD + "[cache]\nuser_key = []", "cache.user_key: unknown key"),
    **{
        f"protected {entry!r}": (
            GOOD + f'[cleanup]\nprotected = ["@example.org", "{entry}"]',
            "cleanup.protected[1]: needs an address or a domain",
        )
        for entry in ("", " ", "@", "@@", " @ ", " a@x", "a@x ", "@example.org\\n")
    },
    "protected is no list": (
        GOOD + '[cleanup]\nprotected = "@example.org"',
        "cleanup.protected: expected `array`, got `str`",
    ),
    "a protected number": (GOOD + "[cleanup]\nprotected = [1]", "cleanup.protected[0]: expected `str`, got `int`"),
    "unknown key of cleanup": (GOOD + "[cleanup]\nprotect = []", "cleanup.protect: unknown key"),
    "cleanup is no table": ("cleanup = 1\n" + GOOD, "cleanup: expected `object`, got `int`"),
}


def write(folder: Path, text: str) -> str:
    file = folder / "environments.toml"
    file.write_text(text, encoding="utf-8")
    return str(file)


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_gives_the_file_and_the_key_path(case: str, tmp_path: Path) -> None:
    text, message = BAD[case]
    with pytest.raises(UsageError) as caught:
        registry.load(write(tmp_path, text))
    assert str(caught.value).startswith("environments.toml: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.code == ExitCode.USAGE
    assert "u:p@" not in str(caught.value)


def test_what_is_right_is_read(tmp_path: Path) -> None:
    found = registry.load(write(tmp_path, GOOD))
    assert [env.name for env in found.environments] == ["dev", "production"]
    assert found.environment("prod").protected
    assert found.environment("prod").postgres_url().scheme == "postgresql"
    assert found.tags == {"dev": "dev"}


def test_references_cache_keys_and_protected_addresses_are_read(tmp_path: Path) -> None:
    text = """
[references]
"notes.user_id" = {}
"audit.log.namespace" = { holds = "users/{address}", where = "kind = 'u'", on_delete = "keep" }
[cache]
user_keys = ["k:{users.id}", "{api_keys.key_hash:32}:x"]
[cleanup]
protected = ["qa+dev@example.com", "@example.org", "example.net"]
"""
    found = registry.load(write(tmp_path, GOOD + text))
    assert found.references == (
        Reference("notes", "user_id", "{id}", None, None),
        Reference("audit.log", "namespace", "users/{address}", "kind = 'u'", "keep"),
    )
    assert [reference.name for reference in found.references] == ["notes.user_id", "audit.log.namespace"]
    assert found.user_keys == ("k:{users.id}", "{api_keys.key_hash:32}:x")
    assert found.protected == ("qa+dev@example.com", "@example.org", "example.net")


def test_without_these_sections_only_the_platforms_own_keys_are_known(tmp_path: Path) -> None:
    found = registry.load(write(tmp_path, GOOD))
    assert found.references == found.protected == ()
    assert found.user_keys == registry.load(str(Path(__file__).parents[3] / "environments.toml")).user_keys
    assert registry.load(write(tmp_path, GOOD + "[cache]\nuser_keys = []")).user_keys == ()


def test_an_unset_variable_fails_only_its_environment(tmp_path: Path) -> None:
    text = GOOD.replace("postgres://u:p@h2/d", "${NOT_SET_ANYWHERE}")
    found = registry.load(write(tmp_path, text))
    assert found.environment("dev").postgres_url().host == "h"
    with pytest.raises(UsageError) as caught:
        found.environment("production").postgres_url()
    assert str(caught.value) == (
        "[production] environments.toml: environments.production.postgres: variable NOT_SET_ANYWHERE is not set"
    )
    assert "NOT_SET_ANYWHERE" in caught.value.hint


def test_the_process_comes_before_dotenv_and_dotenv_before_the_default(tmp_path: Path) -> None:
    raw = tomllib.loads('[environments.dev]\npostgres = "postgresql://h/${DB:-fallback}"')

    def database(process: dict[str, str], dotenv: dict[str, str]) -> tuple[str, str]:
        env = parse(tmp_path / "environments.toml", raw, Variables(process, dotenv)).environments[0]
        return env.postgres_url().database, env.postgres.source()

    assert database({"DB": "a"}, {"DB": "b"}) == ("a", "$DB")
    assert database({}, {"DB": "b"}) == ("b", "$DB in .env")
    assert database({"DB": ""}, {}) == ("fallback", "default of $DB")


def test_dotenv_beside_the_registry_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOME_DATABASE", raising=False)
    file = write(tmp_path, '[environments.dev]\npostgres = "${SOME_DATABASE}"')
    (tmp_path / ".env").write_text("SOME_DATABASE='postgresql://u:p%40ss@h/d'\n", encoding="utf-8")
    (tmp_path / ".env").chmod(0o644)
    found = registry.load(file)
    assert found.environments[0].postgres_url().password == "p@ss"
    assert found.warnings == (f"{tmp_path}/.env can be read by other users; run: chmod 600 {tmp_path}/.env",)
    (tmp_path / ".env").chmod(0o600)
    assert registry.load(file).warnings == ()


def test_a_command_gives_a_value_and_its_failure_names_no_secret(tmp_path: Path) -> None:
    text = "[environments.dev]\npostgres = {{ command = {} }}"
    found = registry.load(write(tmp_path, text.format('["echo", "postgresql://u:p@h/d"]')))
    assert found.environments[0].postgres_url().database == "d"
    assert found.environments[0].postgres.source() == "command echo"
    found = registry.load(write(tmp_path, text.format('["sh", "-c", "echo s3cret >&2; exit 3"]')))
    with pytest.raises(UsageError, match="command 'sh' gave no value: exit status 3"):
        found.environments[0].postgres_url()
    found = registry.load(write(tmp_path, text.format('["no-such-program", "s3cret"]')))
    with pytest.raises(UsageError) as caught:
        found.environments[0].postgres_url()
    assert "s3cret" not in str(caught.value)


def test_the_nearest_name_is_offered(tmp_path: Path) -> None:
    found = registry.load(write(tmp_path, GOOD))
    with pytest.raises(UsageError, match='unknown environment "prodution"') as caught:
        found.environment("prodution")
    assert 'did you mean "production"?' in caught.value.hint


def test_where_the_registry_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GAIAOPS_REGISTRY", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    nested = tmp_path / "project" / "a" / "b"
    nested.mkdir(parents=True)
    monkeypatch.chdir(nested)
    with pytest.raises(UsageError, match=r"no environments\.toml here"):
        registry.load()
    (tmp_path / "config" / "gaiaops").mkdir(parents=True)
    in_config = write(tmp_path / "config" / "gaiaops", GOOD)
    assert str(registry.load().file) == in_config
    in_parent = write(tmp_path / "project", GOOD)
    assert str(registry.load().file) == in_parent
    (tmp_path / "other").mkdir()
    by_variable = write(tmp_path / "other", GOOD)
    monkeypatch.setenv("GAIAOPS_REGISTRY", by_variable)
    assert str(registry.load().file) == by_variable
    assert str(registry.load(in_parent).file) == in_parent
    with pytest.raises(UsageError, match="registry not found: nowhere"):
        registry.load("nowhere")


def test_the_shipped_registry_is_right_and_the_sandbox_has_the_same_tables_and_families() -> None:
    top = Path(__file__).parents[3] / "environments.toml"
    shipped = registry.load(str(top))
    assert [env.name for env in shipped.environments] == ["local", "dev", "staging", "production"]
    assert shipped.environment("production").protected
    assert shipped.environment("prod").tag is None
    assert len(shipped.deployed_tables) == 19
    assert sum(len(group.tables) for group in shipped.tables) == 35
    sandbox = tomllib.loads((files("gaiaops.sandbox") / "platform.toml").read_text(encoding="utf-8"))
    top_level = tomllib.loads(top.read_text(encoding="utf-8"))
    assert {name: top_level[name] for name in ("tables", "cache", "references")} == sandbox
