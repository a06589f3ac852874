"""Makes a plan: reads the catalog, finds the users, counts what hangs on them. Changes nothing.

Everything is read in one snapshot, in one transaction: it makes our temporary tables, which end with it, and is
read-only from then on; such a one may still write to them (manual, SET TRANSACTION).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from gaiaops import emails
from gaiaops.cleanup import counting, graph, keysets, preflight
from gaiaops.cleanup.graph import Graph
from gaiaops.cleanup.plan import Plan, User, users_of
from gaiaops.cleanup.selection import Selection, Verdict, cap, choose_tags
from gaiaops.errors import RefusedError, located
from gaiaops.postgres import catalog, copytext, guard
from gaiaops.postgres import session as pg
from gaiaops.postgres.changes import check_writable, short_waits
from gaiaops.postgres.identity import Namesakes, check_only_name, check_pin
from gaiaops.postgres.session import Session
from gaiaops.postgres.shape import Facts
from gaiaops.registry.model import Environment, Registry
from gaiaops.rundir import new_id, private_file

COMMAND = "cleanup"
ANOTHER_SERVER = "it was made on another server"
_GOOD_FOR = 24 * 3600  # seconds; each user is checked again under lock, however old the plan is
_CHAINS = 100_000  # a bound, for addresses that all have a chain of tags of their own
_SUGGESTED = 3  # users whom a refusal names
_LISTED = 100  # addresses that are kept, protected or ambiguous, named in a plan


class Options(msgspec.Struct, frozen=True):
    """What the command line asked for: `older_than` in milliseconds, with its text."""

    tags: tuple[str, ...] = ()
    older_than: int | None = None
    older_text: str = ""
    keep: tuple[str, ...] = ()
    max_users: int | None = None
    allow_collateral: bool = False


def make(registry: Registry, env: Environment, options: Options, users_file: Path) -> Plan:
    """The plan for an environment; its users are written to `users_file`.

    Raises RefusedError for a tag that may not be taken, a wrong database behind the name, an unusable schema, and
    the connection's and statements' errors.
    """
    with located(env.name), ExitStack() as stack:
        work = begin(registry, env, options, stack)
        choice = choose(work, users_file)
        check_keep(unknown_keeps(work, choice))
        user_keys = registry.user_keys if env.redis else ()
        counts = count(work, users_file, user_keys)
        made = plan(work, choice, counts, [*over_cap(choice.taken, work.in_all, options.max_users)])
        end(work)
        return made


def begin(registry: Registry, env: Environment, options: Options, stack: ExitStack) -> Work:
    """Opens the transaction in which everything is read; the connection is closed by `stack`. Raises as `make`."""
    chosen = choose_tags(env, registry.tags, options.tags, options.max_users)
    selection = Selection(chosen, tuple(registry.tags), registry.protected, options.keep)
    check_only_name(registry, env)
    namesakes = Namesakes(registry, env)
    session = stack.enter_context(pg.changing(env.postgres_url(), short_waits(env), COMMAND))
    facts = catalog.facts(session)
    check_pin(env, (facts.identifier, facts.database))
    if not facts.may_temp:
        raise RefusedError(
            "this role may not create temporary tables (GRANT TEMP ON DATABASE)", hint="or use another role"
        )
    check_writable(facts)
    found = read_graph(registry, env, session)
    settings = ("SET LOCAL jit = off", "SET LOCAL work_mem = '64MB'")
    session.exchange.command(guard.begin_plan_sql(session.timeouts, *settings, *keysets.create_for_plan(found)))
    in_all = session.count_rows(found.tables[found.users].sql)
    return Work(session, found, facts, env, options, selection, registry, namesakes, in_all)


def end(work: Work) -> None:
    """Ends the transaction. Raises RefusedError where another name leads to the same database."""
    work.namesakes.check(work.session)
    work.session.rollback()


def listed(registry: Registry, users_file: Path) -> Iterator[User]:
    """The users of a plan, with the rule that matched each."""
    tags = tuple(registry.tags)
    for number, key, address in users_of(users_file):
        yield User(number, key, address, f"+{emails.classify(address, tags).tag}")


def misfit(registry: Registry, env: Environment, plan: Plan) -> str:
    """Why a begun plan cannot be gone on with: another server, another schema. Empty where it can.

    Raises RefusedError where another name leads to the same database.
    """
    namesakes = Namesakes(registry, env)
    with located(env.name), pg.reading(env.postgres_url(), env.timeouts, COMMAND) as session:
        facts = catalog.facts(session)
        namesakes.check(session)
        if facts.server != plan.server:
            return ANOTHER_SERVER
        same = read_graph(registry, env, session).fingerprint() == plan.fingerprint
        return "" if same else "the schema was changed since"


def read_graph(registry: Registry, env: Environment, session: Session) -> Graph:
    """The graph of what is there, around `users`."""
    read = catalog.read(session)
    references = [(reference, catalog.find(session, read, reference.table)) for reference in registry.references]
    found = graph.build(read, catalog.find(session, read, "users"), references)
    return msgspec.structs.replace(found, sharded=True) if env.shard else found


class Work(msgspec.Struct):
    """What the steps of making one plan share; `in_all` is the number of users there are."""

    session: Session
    graph: Graph
    facts: Facts
    env: Environment
    options: Options
    selection: Selection
    registry: Registry
    namesakes: Namesakes
    in_all: int


class Choice(msgspec.Struct):
    """Who was found: `taken` users, and the addresses of those who were left out, by verdict."""

    taken: int = 0
    younger: int = 0
    left: dict[Verdict, list[str]] = {}
    sha256: str = ""


def count(
    work: Work,
    users_file: Path,
    user_keys: tuple[str, ...],
    elsewhere: Callable[[set[str]], Iterable[bytes]] | None = None,
) -> counting.Counts:
    """Counts what the users of the file would take with them; see counting.count."""
    work.session.copy_file(keysets.fill_plan(work.graph), users_file)
    return counting.count(work.session, work.graph, user_keys, elsewhere)


def plan(work: Work, choice: Choice, counts: counting.Counts, refused: Sequence[str]) -> Plan:
    """The plan, from what was found and counted; `refused` is what forbids it besides."""
    found = work.graph
    changed = {table.table for table in counts.tables}
    planned = {name for group in work.registry.tables if group.planned for name in group.tables}
    in_the_way = preflight.refusals(found, work.facts, counts.deleted)
    return Plan(
        id=new_id(work.env.name),
        environment=work.env.name,
        server=work.facts.server,
        fingerprint=found.fingerprint(),
        made=work.facts.now,
        until=_later(work.facts.now, _GOOD_FOR),
        tags=work.selection.tags,
        older_than=work.options.older_text,
        keep=work.options.keep,
        users=choice.taken,
        users_in_all=work.in_all,
        tables=tuple(counts.tables),
        collateral=tuple(counts.collateral),
        allow_collateral=work.options.allow_collateral,
        max_users=work.options.max_users,
        cache_keys=counts.cache_keys,
        cache_entries=tuple(counts.cache_entries),
        ambiguous=tuple(choice.left.get(Verdict.AMBIGUOUS, ())),
        protected=tuple(choice.left.get(Verdict.PROTECTED, ())),
        younger=choice.younger,
        unclassified=found.unclassified,
        absent=tuple(name for name in found.absent if name.partition(".")[0] not in planned),
        warnings=tuple(preflight.warnings(found, work.facts, counts.deleted, changed)),
        refusals=(*in_the_way, *refused, *_refusals(work, counts)),
        heavy={str(number): rows for number, rows in counts.heavy.items()},
        sha256=choice.sha256,
    )


def over_cap(taken: int, in_all: int, max_users: int | None) -> Iterator[str]:
    """Too many users."""
    limit = cap(in_all, max_users)
    if taken > limit:
        given = "--max-users allows" if max_users is not None else "5 % or 1,000 of them allow"
        yield f"{taken} of {in_all} users would go; {given} {int(limit)} (--max-users {taken} if you mean it)"


def _refusals(work: Work, counts: counting.Counts) -> Iterator[str]:
    """What the plan itself forbids: rows that block, rows of others."""
    for table in counts.tables:
        if table.action == "block":
            yield f"{table.rows} rows of {table.reasons[0].reference} refer to them, and the registry says block"
    others = sum(table.collateral for table in counts.tables)
    if others and not work.options.allow_collateral:
        hosts = list(dict.fromkeys(user for entry in counts.collateral for user in entry.users))
        keep = (
            " ".join(f"--keep {host}" for host in hosts)
            if len(hosts) <= _SUGGESTED
            else "--keep the users they hang on"
        )
        yield f"{others} rows of other people would go too ({keep}, or --allow-collateral)"


def choose(work: Work, users_file: Path) -> Choice:
    """Streams who may match, decides, and writes the users file.

    What stands between the first `+` and the last `@` decides for most, and repeats: it is judged once.
    """
    choice, digest = Choice(), hashlib.sha256()
    verdicts: dict[bytes, Verdict] = {}
    each = bool(work.selection.protected or work.selection.keep)
    with private_file(users_file) as out:
        for block in work.session.copy_out(_candidates(work)):
            lines = []
            for row in b"".join(block).split(b"\n")[:-1]:
                key, field, old = row.split(b"\t")
                chain = field.rpartition(b"@")[0].partition(b"+")[2]
                verdict = verdicts.get(chain)
                if verdict is None or (each and verdict is Verdict.TAKE):
                    verdict = work.selection.verdict(copytext.decode(field) or "")
                    if not each and len(verdicts) < _CHAINS:
                        verdicts[chain] = verdict
                if verdict is Verdict.TAKE and old == b"t":
                    choice.taken += 1
                    lines.append(b"%d\t%b\t%b\n" % (choice.taken, key, field))
                elif verdict is not Verdict.OTHER:
                    _leave(choice, verdict, field)
            data = b"".join(lines)
            digest.update(data)
            out.write(data)
    choice.sha256 = digest.hexdigest()
    return choice


def _leave(choice: Choice, verdict: Verdict, field: bytes) -> None:
    if verdict is Verdict.TAKE:
        choice.younger += 1
    elif len(choice.left.setdefault(verdict, [])) < _LISTED:
        choice.left[verdict].append(copytext.decode(field) or "")


def _candidates(work: Work) -> str:
    """COPY of (id, address, whether old enough) of users who may match: the server's prefilter, the rule is ours.

    The age is told on the server, by its own clock and time zone; a user without created_at is not old enough.
    """
    users = work.graph.tables[work.graph.users]
    old = "true"
    if work.options.older_than is not None:
        if users.column("created_at") is None:
            raise RefusedError(f"{users.name} has no created_at: --older-than cannot be told")
        old = f"coalesce(created_at < now() - interval '{work.options.older_than} ms', false)"
    return f"COPY (SELECT id, email, {old} FROM {users.sql} WHERE email::text {emails.PREFILTER}) TO STDOUT"


def unknown_keeps(work: Work, choice: Choice) -> list[str]:
    """Entries of --keep that name nobody. Raises RefusedError for one that cannot."""
    present = {address.casefold() for address in choice.left.get(Verdict.KEPT, ())}
    users = work.graph.tables[work.graph.users].sql
    unknown = []
    for entry in work.options.keep:
        if not entry.strip("@ "):
            raise RefusedError(f"--keep {entry}: names nobody", hint="name an address or a @domain")
        wanted, condition = entry, "lower(email::text) = lower(%(wanted)s)"
        if "@" not in entry.strip("@"):
            wanted, condition = (
                "@" + entry.lstrip("@"),
                "right(lower(email::text), length(%(wanted)s)) = lower(%(wanted)s)",
            )
        if entry.casefold() not in present and not work.session.fetch(
            f"SELECT FROM {users} WHERE {condition} LIMIT 1", {"wanted": wanted}
        ):
            unknown.append(entry)
    return unknown


def check_keep(unknown: Sequence[str]) -> None:
    """A --keep that names nobody is a typing mistake that would take the person it means."""
    if unknown:
        raise RefusedError(f"--keep {unknown[0]}: no user has this address", hint="is it typed right?")


def _later(stamp: str, seconds: int) -> str:
    import calendar

    form = "%Y-%m-%dT%H:%M:%SZ"
    return time.strftime(form, time.gmtime(calendar.timegm(time.strptime(stamp, form)) + seconds))
