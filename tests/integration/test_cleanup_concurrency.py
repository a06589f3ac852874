"""A purge beside the platform at work: nobody else's row is lost, none unarchived, and no error reaches a client but
that a user is gone (23503). The longest wait of a client is printed."""

from __future__ import annotations

import random
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from tests.integration import purge_kit as kit
from tests.integration.purge_kit import STRESS, Server, Town

USERS = 20_000 if STRESS else 3_000
CLIENTS = 8
FAR = 500  # chains of users who write to each other: where one has to stay, the next ones have to stay too


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with kit.own_server() as made:
        yield made


@dataclass
class Person:
    id: str
    conversation: str


@dataclass
class Client:
    """One thread of the platform. Each changes rows of its own share of the users, so that clients never wait for each
    other: whoever waits, waits for the purge."""

    town: Town
    number: int
    ending: threading.Event
    messages: dict[str, str] = field(default_factory=dict)  # id → content, as committed last
    rows: dict[str, set[str]] = field(default_factory=dict)  # table → ids
    theirs: set[str] = field(default_factory=set)  # messages of people who stay
    errors: list[str] = field(default_factory=list)
    foreign_keys: int = 0
    transactions: int = 0
    longest: float = 0.0

    def __post_init__(self) -> None:
        self.random = random.Random(self.number)  # noqa: S311 - no secrets
        self.thread = threading.Thread(target=self.work)

    def work(self) -> None:
        with psycopg.connect(self.town.url, autocommit=True) as connection:
            connection.execute("SET synchronous_commit = off")
            self.connection = connection
            query = (
                f"SELECT id::text, md5('conversation' || id)::uuid::text FROM people WHERE %s AND i %% {CLIENTS} = %s"
            )
            mine = [Person(*row) for row in connection.execute(query.replace("%s", "test", 1), [self.number])]
            others = [Person(*row) for row in connection.execute(query.replace("%s", "NOT test", 1), [self.number])]
            while not self.ending.is_set():
                self.transaction(mine, others)
                time.sleep(self.random.uniform(0, 0.01))

    def transaction(self, mine: list[Person], others: list[Person]) -> None:
        """One to five statements about one or two people, in any order; what was committed is remembered."""
        pick = self.random.random
        people = [self.random.choice(mine), self.random.choice(mine if pick() < 0.5 else others)]
        messages: dict[str, str] = {}
        rows: list[tuple[str, str]] = []
        theirs: list[str] = []
        steps = [self.message, self.message, self.key, self.talk, self.update, self.update]
        try:
            with self.connection.transaction():
                if pick() < 0.02:  # somebody who stays, in a conversation of one who goes
                    theirs.append(self.insert_message(self.random.choice(others).id, people[0].conversation, messages))
                for step in self.random.choices(steps, k=self.random.randint(1, 4)):
                    step(self.random.choice(people), messages, rows)
                if pick() < 0.05:
                    self.ending.wait(self.random.uniform(0.05, 0.6))
        except psycopg.errors.ForeignKeyViolation:
            self.foreign_keys += 1
            return
        except psycopg.Error as error:
            self.errors.append(f"{error.sqlstate} {error}")
            return
        self.transactions += 1
        self.messages |= messages
        self.theirs.update(theirs)
        for table, key in rows:
            self.rows.setdefault(table, set()).add(key)

    def message(self, person: Person, messages: dict[str, str], rows: list[tuple[str, str]]) -> None:
        self.insert_message(person.id, person.conversation, messages)

    def insert_message(self, user: str, conversation: str, messages: dict[str, str]) -> str:
        key = str(uuid.uuid4())
        self.run(
            "INSERT INTO chat_messages (id, user_id, conversation_id, role, content)"
            " VALUES (%s, %s, %s, 'user', 'new')",
            key, user, conversation,
        )  # fmt: skip
        messages[key] = "new"
        return key

    def key(self, person: Person, messages: dict[str, str], rows: list[tuple[str, str]]) -> None:
        key = str(uuid.uuid4())
        self.run("INSERT INTO api_keys (id, user_id, key_hash) VALUES (%s, %s, %s)", key, person.id, key)
        rows.append(("public.api_keys", key))

    def talk(self, person: Person, messages: dict[str, str], rows: list[tuple[str, str]]) -> None:
        key = str(uuid.uuid4())
        self.run("INSERT INTO conversations (id, user_id, title) VALUES (%s, %s, 'new')", key, person.id)
        rows.append(("public.conversations", key))
        self.insert_message(person.id, key, messages)

    def update(self, person: Person, messages: dict[str, str], rows: list[tuple[str, str]]) -> None:
        content = f"changed {uuid.uuid4()}"
        changed = self.run(
            "UPDATE chat_messages SET content = %s WHERE user_id = %s AND content <> 'with another one'"
            " RETURNING id::text",
            content, person.id,
        )  # fmt: skip
        messages |= dict.fromkeys((row[0] for row in changed), content)

    def run(self, sql: str, *values: str) -> list[tuple[str, ...]]:
        began = time.monotonic()
        try:
            cursor = self.connection.execute(sql, values)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []
        finally:
            self.longest = max(self.longest, time.monotonic() - began)


def key_of(line: bytes) -> str:
    return line.partition(b"\t")[0].decode().rstrip("\n")


def test_beside_clients(server: Server, tmp_path: Path) -> None:
    with kit.town(server, tmp_path, USERS, tangled=False, far=FAR) as town:
        original = town.rows()
        ending = threading.Event()
        clients = [Client(town, number, ending) for number in range(CLIENTS)]
        purge = town.start(*town.purging)
        while not town.runs and purge.poll() is None:
            time.sleep(0.01)  # it plans: rows of others that are there before the plan are refused
        for client in clients:
            client.thread.start()
        done = kit.ended(purge)
        ending.set()
        for client in clients:
            client.thread.join()
        print(
            f"\npurge of {USERS} beside {CLIENTS} clients: exit {done.code}, {town.test_users()} left;"
            f" {sum(c.transactions for c in clients)} transactions, {sum(c.foreign_keys for c in clients)} foreign-key"
            f" errors, longest wait {max(c.longest for c in clients):.2f} s"
        )
        assert not [error for client in clients for error in client.errors]
        assert done.code in (0, 1), done
        assert done.code == 0 or "could not be purged" in done.err
        check_kept(town, clients)
        if done.code:
            done = town.run(*town.purging)
            assert done.code == 0, done
            check_kept(town, clients)
        assert len(town.runs) == 1
        whole = town.archived().whole(town.rows())
        touched = {key for client in clients for key in client.messages}
        for table, rows in original.items():
            lost = {line for line in rows - whole[table] if key_of(line) not in touched}
            assert not lost, (table, sorted(lost)[:3])
        assert town.test_users() < USERS / 2
        restored = town.restore(town.runs[0].name)
        assert restored.code == 0, restored
        assert kit.sums(town.rows()) == kit.sums(whole)


def check_kept(town: Town, clients: list[Client]) -> None:
    """Every committed row is in the database or in the archive, once, as it was; others' are in the database."""
    now, archive = town.rows(), town.archived()
    place = archive.columns["public.chat_messages"].index("content")
    there = {key_of(line): line for line in now["public.chat_messages"]}
    gone = {key_of(line): line for line in archive.deleted["public.chat_messages"]}
    assert not there.keys() & gone.keys()
    staying = {row[0] for row in town.fetch("SELECT id::text FROM people WHERE NOT test")}
    owner = archive.columns["public.chat_messages"].index("user_id")
    for client in clients:
        assert client.theirs <= there.keys()
        for key, content in client.messages.items():
            fields = there.get(key, gone.get(key, b"")).rstrip(b"\n").split(b"\t")
            assert fields[place:][:1] == [content.encode()], (key, content, fields)
            assert key in there or fields[owner].decode() not in staying
        for table, keys in client.rows.items():
            lost = keys - {key_of(line) for line in now[table] | archive.deleted[table]}
            assert not lost, (table, lost)


def test_a_user_held_all_along(server: Server, tmp_path: Path) -> None:
    """Whom another session has locked stays, and is said to; the others go; the same command takes him afterwards.

    Meanwhile another purge is refused, from the same machine and from another one, and so is a restore.
    """
    with kit.town(server, tmp_path, 500) as town:
        before = town.sums()
        elsewhere = Town(server, town.database, town.users, tmp_path / "elsewhere")
        with psycopg.connect(town.url) as holder:
            holder.execute("SELECT FROM users WHERE email = 't77+dev@example.com' FOR UPDATE")
            first = town.start(*town.purging)
            while first.poll() is None and not any(event["event"] == "started" for event in town.events()):
                time.sleep(0.01)
            others = [
                (town.start(*town.purging), "is being worked on"),
                (elsewhere.start(*elsewhere.purging), "another clean-up or restore"),
                (town.start("restore", town.runs[0].name, "--confirm", "production"), "is being worked on"),
            ]
            for other, why in others:
                refused = kit.ended(other)
                assert refused.code == 5, refused
                assert why in refused.err, refused
            done = kit.ended(first)
            assert done.code == 1, done
            assert "1 users could not be purged" in done.err, done
            assert "t77+dev@example.com: locked" in done.err, done
            assert town.test_users() == 1
        run = town.finish()
        assert town.restore(run).code == 0
        assert town.sums() == before


@pytest.mark.first(0)  # test_a_user_held_all_along is its like
def test_a_message_held_all_along(server: Server, tmp_path: Path) -> None:
    """A client that changed a message and does not commit keeps its user, and nobody else, from going."""
    with kit.town(server, tmp_path, 90, tangled=False, far=45) as town:
        with psycopg.connect(town.url) as holder:
            holder.execute(
                "UPDATE chat_messages SET content = 'held'"
                " WHERE user_id = (SELECT id FROM people WHERE test AND i = 77)"
            )
            done = town.run(*town.purging)
            assert done.code == 1, done
            left = [row[0] for row in town.fetch("SELECT email FROM users WHERE email LIKE '%+dev@%'")]
            assert "t77+dev@example.com" in left
            assert len(left) <= 2, left  # and whose conversation he wrote in
            holder.commit()
        before = town.archived().whole(town.rows())
        run = town.finish()
        assert town.restore(run).code == 0
        assert kit.sums(town.rows()) == kit.sums(before)


_QUICK = ("tables that cascade on", "a column", "a trigger that vetoes")
# Statements of a migration, each committed on its own.
DDL: dict[str, list[str]] = {
    "a table that cascades": [
        "CREATE TABLE later (user_id uuid REFERENCES users ON DELETE CASCADE, text text)",
        "INSERT INTO later SELECT id, 'x' FROM users",
    ],
    "tables that cascade on": [
        "CREATE TABLE later (user_id uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE)",
        "CREATE TABLE evenlater (user_id uuid REFERENCES later ON DELETE CASCADE)",
        "INSERT INTO later SELECT id FROM users",
        "INSERT INTO evenlater SELECT user_id FROM later",
    ],
    "a table that is nulled": [
        "CREATE TABLE later (user_id uuid REFERENCES users ON DELETE SET NULL, text text)",
        "INSERT INTO later SELECT id, 'x' FROM users",
    ],
    "a foreign key": [
        "CREATE TABLE later AS SELECT id AS user_id FROM users WHERE email = 't790+dev@example.com'",
        "ALTER TABLE later ADD FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE",
    ],
    "a column": ["ALTER TABLE api_keys ADD COLUMN later text", "UPDATE api_keys SET later = 'x'"],
    "a trigger that vetoes": [
        "CREATE FUNCTION veto() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER veto BEFORE DELETE ON api_keys FOR EACH ROW EXECUTE FUNCTION veto()",
    ],
    "a trigger that deletes more": [
        "INSERT INTO kb_context_cache (context_name, file_paths) VALUES ('x', '{}')",
        "CREATE FUNCTION more() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN DELETE FROM kb_context_cache; RETURN NULL; END'",
        "CREATE TRIGGER more AFTER DELETE ON users EXECUTE FUNCTION more()",
    ],
}


@pytest.mark.parametrize("what", [what for what in DDL if STRESS or what in _QUICK])
def test_ddl_in_the_middle(server: Server, tmp_path: Path, what: str) -> None:
    """Somebody migrates the schema while the purge runs: it may stop, but nothing goes unarchived."""
    with kit.town(server, tmp_path, 1_500 if STRESS else 800) as town:
        with psycopg.connect(town.url, autocommit=True) as migration:
            purge = town.start(*town.purging)
            while purge.poll() is None and not any(event["event"] == "committed" for event in town.events()):
                time.sleep(0.005)
            for statement in DDL[what]:
                migrate(migration, statement)
            purge.send_signal(signal.SIGSTOP)  # what is written now goes with what is looked at now
            after = town.archived().whole(town.rows())
            purge.send_signal(signal.SIGCONT)
        done = kit.ended(purge)
        assert done.code != 70, done
        assert town.test_users() == 0 or done.code in (1, 5), done
        now = town.archived().whole(town.rows())
        for table, rows in after.items():
            lost = rows - now[table]
            assert not lost, (what, table, len(lost), sorted(lost)[:2], done)
        strays = "SELECT count(*) FROM api_keys AS k LEFT JOIN users AS u ON u.id = k.user_id WHERE u.id IS NULL"
        assert town.fetch(strays)[0][0] == 0, done


def migrate(connection: psycopg.Connection, statement: str) -> None:
    """Migrations are tried again where they meet rows that go (or a deadlock, in whose circle they may be)."""
    for _ in range(50):
        with suppress(psycopg.errors.DeadlockDetected, psycopg.errors.ForeignKeyViolation):
            connection.execute(statement)  # type: ignore[arg-type]
            return
    raise AssertionError(statement)
