"""200,000 test users among 1,000,000, with 300,000 messages: cleanup with its archive against one hand-written
transaction without one; the longest wait of a concurrent writer; restore against cleanup; the plan."""

from __future__ import annotations

import random
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from benchmarks.harness import Figure, Platform, Sample, median, run, variables

ROUNDS = 3
_FILL = """
TRUNCATE users, personas, assets, kb_documents, user_persona_preferences, kb_permissions, kb_activity_log,
    kb_semantic_index_metadata CASCADE;
INSERT INTO users (id, email, name, created_at, updated_at)
SELECT md5(i::text)::uuid, 'first.last' || i || CASE WHEN i % 5 = 0 THEN '+staging' ELSE '' END || '@example.com',
    'First Last ' || i, timestamp '2026-01-01' + i * interval '1 second', timestamp '2026-01-01'
FROM generate_series(1, 1000000) AS i;
INSERT INTO conversations (id, user_id, title)
SELECT md5('c' || i)::uuid, md5(i::text)::uuid, 'A talk of ' || i FROM generate_series(5, 1000000, 5) AS i;
INSERT INTO chat_messages (id, user_id, conversation_id, role, content, model, provider, tokens_used)
SELECT md5('m' || i || '/' || k)::uuid, md5(i::text)::uuid, md5('c' || i)::uuid, 'user',
    'What is the answer to question ' || i || '? Tell me in a few words.', 'model', 'provider', 17
FROM generate_series(5, 1000000, 5) AS i, generate_series(1, 1 + i % 2) AS k;
INSERT INTO api_keys (user_id, key_hash, name)
SELECT md5(i::text)::uuid, encode(sha256(i::text::bytea), 'hex'), 'Laptop' FROM generate_series(10, 1000000, 10) AS i;
INSERT INTO personas (name, description, system_prompt) VALUES ('Guide', 'helps', 'Help.');
INSERT INTO user_persona_preferences
SELECT md5(i::text)::uuid::text, (SELECT id FROM personas) FROM generate_series(5, 500000, 5) AS i;
VACUUM (FREEZE, ANALYZE);
"""
# What a careful person would write: set-based, children first, soft references too.
_PEER = """
BEGIN;
CREATE TEMP TABLE victims AS
    SELECT id, id::text AS id_text, 'users/' || email AS namespace FROM users WHERE email ~ '\\+(local|staging)@';
CREATE INDEX ON victims (id); CREATE INDEX ON victims (id_text); ANALYZE victims;
DELETE FROM chat_messages WHERE user_id IN (SELECT id FROM victims);
DELETE FROM chat_messages
WHERE conversation_id IN (SELECT id FROM conversations WHERE user_id IN (SELECT id FROM victims));
DELETE FROM user_persona_preferences WHERE user_id IN (SELECT id_text FROM victims);
DELETE FROM asset_usage WHERE user_id IN (SELECT id_text FROM victims);
DELETE FROM asset_generations WHERE user_id IN (SELECT id_text FROM victims);
DELETE FROM asset_modifications WHERE user_id IN (SELECT id_text FROM victims);
DELETE FROM kb_permissions WHERE principal_type = 'user' AND principal_id IN (SELECT id_text FROM victims);
DELETE FROM kb_semantic_index_metadata WHERE namespace IN (SELECT namespace FROM victims);
UPDATE personas SET created_by = NULL WHERE created_by IN (SELECT id_text FROM victims);
UPDATE kb_documents SET locked_by = NULL WHERE locked_by IN (SELECT id_text FROM victims);
UPDATE kb_document_history SET changed_by = NULL WHERE changed_by IN (SELECT id_text FROM victims);
UPDATE kb_permissions SET granted_by = NULL WHERE granted_by IN (SELECT id_text FROM victims);
UPDATE kb_activity_log SET actor_id = NULL WHERE actor_type = 'user' AND actor_id IN (SELECT id_text FROM victims);
DELETE FROM users WHERE id IN (SELECT id FROM victims);
COMMIT;
"""


class _Stage:
    """A database made anew for each run, and a registry that calls it dev."""

    def __init__(self, where: Platform) -> None:
        self.where = where
        self.server = where.url.rpartition("/")[0]
        self.folder = where.folder / "purge"
        self.folder.mkdir(exist_ok=True)
        self.url = f"{self.server}/bench_purge"
        redis = _redis_url(where)
        platform = Path(where.registry).read_text(encoding="utf-8")
        sections = platform[platform.index("[tables.core]") :]
        (self.folder / "environments.toml").write_text(
            f'[environments.dev]\ntag = "dev"\npostgres = "{self.url}"\nredis = "{redis}"\n'
            '[environments.staging]\ntag = "staging"\npostgres = "${NOT_SET}"\n'
            '[environments.local]\ntag = "local"\npostgres = "${NOT_SET}"\n' + sections,
            encoding="utf-8",
        )
        self.env = variables(XDG_DATA_HOME=str(self.folder / "data"), XDG_STATE_HOME=str(self.folder / "state"))

    def sql(self, *statements: str) -> None:
        with psycopg.connect(f"{self.server}/postgres", autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def fill(self) -> None:
        self.sql("CREATE DATABASE bench_purge_template TEMPLATE llm_platform_dev")
        template = f"{self.server}/bench_purge_template"
        subprocess.run(
            [self.where.psql, "-q", "-v", "ON_ERROR_STOP=1", template],
            input=_FILL.encode(),
            check=True,
            stderr=subprocess.DEVNULL,
        )

    def fresh(self) -> None:
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        self.sql(
            "DROP DATABASE IF EXISTS bench_purge WITH (FORCE)",
            "CREATE DATABASE bench_purge TEMPLATE bench_purge_template STRATEGY file_copy",
            "CHECKPOINT",
        )

    def gaiaops(self, *arguments: str) -> Sample:
        program = [*self.where.gaiaops(*arguments)]
        program[program.index("--registry") + 1] = str(self.folder / "environments.toml")
        return run(program, env=self.env)

    def cleanup(self) -> Sample:
        return self.gaiaops("cleanup", "dev", "--confirm", "dev", "--max-users", "200000")

    def restore(self) -> Sample:
        (newest,) = (self.folder / "data" / "gaiaops" / "runs").iterdir()
        return self.gaiaops("restore", newest.name, "--confirm", "dev")

    def peer(self) -> Sample:
        file = self.folder / "peer.sql"
        file.write_text(_PEER, encoding="utf-8")
        return run([self.where.psql, "-q", "-v", "ON_ERROR_STOP=1", "-f", str(file), self.url])


def figures(where: Platform) -> Iterator[Figure]:
    stage = _Stage(where)
    stage.fill()
    stage.fresh()
    plan = median([stage.gaiaops("cleanup", "dev", "--dry-run", "--max-users", "200000") for _ in range(ROUNDS)])
    yield Figure("plan, 200,000 of 1,000,000", plan.wall, 5, "s", plan.peak)
    ours, peers, restores, waits, peer_waits = [], [], [], [], []
    for _ in range(ROUNDS):
        stage.fresh()
        peers.append(stage.peer())
        stage.fresh()
        ours.append(stage.cleanup())
        restores.append(stage.restore())
    stage.fresh()
    with _writer(stage.url, waits):
        stage.cleanup()
    stage.fresh()
    with _writer(stage.url, peer_waits):
        stage.peer()
    mine, theirs, back = median(ours), median(peers), median(restores)
    note = f"{mine.wall:.1f} s (CPU {mine.cpu:.1f}) : {theirs.wall:.1f} s"
    yield Figure("cleanup : one transaction", mine.wall / theirs.wall, 1.25, "x", mine.peak, note)
    yield Figure("cleanup: peak memory", mine.peak, 80, "MB", mine.peak)
    note = f"median {statistics.median(waits) * 1000:.0f} ms of {len(waits)}; one transaction: {max(peer_waits):.1f} s"
    yield Figure("longest wait of a writer", max(waits), 1, "s", 0, note)
    yield Figure("restore : cleanup", back.wall / mine.wall, 1.0, "x", back.peak, f"{back.wall:.1f} s")


@contextmanager
def _writer(url: str, waits: list[float]) -> Iterator[None]:
    """Somebody who inserts API keys, one by one, for users who may be on their way out."""
    ended = threading.Event()

    def write() -> None:
        dice = random.Random(1)  # noqa: S311 - the same users in each run
        with psycopg.connect(url, autocommit=True) as connection:
            while not ended.is_set():
                user = f"md5({dice.randrange(1, 1_000_001)}::text)::uuid"
                began = time.perf_counter()
                with suppress(psycopg.errors.ForeignKeyViolation):  # the user is gone: what is expected
                    connection.execute(f"INSERT INTO api_keys (user_id, key_hash) VALUES ({user}, md5(random()::text))")
                waits.append(time.perf_counter() - began)
                time.sleep(0.002)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _redis_url(where: Platform) -> str:
    import tomllib

    registry = tomllib.loads(Path(where.registry).read_text(encoding="utf-8"))
    return str(registry["environments"]["dev"]["redis"])
