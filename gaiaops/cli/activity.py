"""`gaiaops activity`: what runs, who waits for whom, and the end of it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import click

from gaiaops.cli import base, replicas
from gaiaops.cli.arguments import ENVIRONMENT
from gaiaops.cli.watch import SECONDS, watched
from gaiaops.errors import ConnectError, DeadlineError, GaiaopsError, UsageError, located

if TYPE_CHECKING:
    from gaiaops.inspect.activity.stop import Outcome, Target
    from gaiaops.postgres.probe import Probe
    from gaiaops.registry.model import Environment, Registry

_PID = click.IntRange(min=1)
_NO_TERMINAL = (160, 50)  # columns and lines


@click.command("activity")
@click.argument("env", type=ENVIRONMENT)
@click.option("--cancel", type=_PID, multiple=True, metavar="PID", help="Cancel the statement that session PID runs.")
@click.option("--terminate", type=_PID, multiple=True, metavar="PID",
              help="End session PID; its transaction is rolled back.")  # fmt: skip
@click.option("--confirm", metavar="ENV", help="Confirm --cancel or --terminate off a terminal.")
@click.option("--all-databases", is_flag=True, help="Sessions of all the server's databases, not of ENV's alone.")
@click.option("--watch", "every", type=SECONDS, metavar="SECONDS", help="Draw it again and again.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document; with --watch, one a line.")
@click.option("--replica", is_flag=True, help="Sessions of the first replica that answers, not of the primary.")
@click.pass_obj
def command(context: base.Context, /, env: str, **options: Any) -> None:
    """Show what runs in ENV's PostgreSQL, and everybody who blocks or waits.

    Running statements, the longest first; transactions that idle; prepared ones; and who waits for whom, as trees:
    whoever blocks, even when idle, everybody behind it, and the command that ends it.

    --cancel and --terminate show the session and ask for the environment's name; they do nothing if the session has
    gone on to another statement or transaction meanwhile.

    \b
    Examples:
      gaiaops activity production
      gaiaops activity production --watch 2
      gaiaops activity dev --cancel 4711
    """
    pids = [("cancel", pid) for pid in options["cancel"]] + [("terminate", pid) for pid in options["terminate"]]
    _check(env, pids, options)
    environment = context.registry().environment(env)
    if options["replica"]:
        environment = replicas.shown(environment)
    if pids:
        _Signal(context, environment, options["all_databases"], options["as_json"]).send(*pids[0], options["confirm"])
        return
    with _Report(context, environment, options["all_databases"], options["as_json"]) as report:
        if options["every"] is None:
            click.echo(report.shown())
        else:
            report.watch(options["every"])


def _check(env: str, pids: list[tuple[str, int]], options: dict[str, Any]) -> None:
    if env == "all":
        raise UsageError("activity takes one environment, not all", hint="run it for each")
    if len(pids) > 1:
        raise UsageError("one session at a time: --cancel PID or --terminate PID", hint="run it for each")
    if pids and options["every"] is not None:
        raise UsageError(f"--watch shows, --{pids[0][0]} acts: not both", hint="run it twice")
    if pids:
        replicas.refuse(
            options["replica"],
            f"--{pids[0][0]} is for sessions of the primary, not of a replica",
            f"with psql on the replica itself: SELECT pg_{pids[0][0]}_backend({pids[0][1]})",
        )
    if options["confirm"] is not None and not pids:
        raise UsageError("--confirm belongs to --cancel or --terminate", hint="gaiaops activity --help")


@contextmanager
def _explained(env: Environment) -> Iterator[None]:
    """Errors with the environment's name; a full server says what would help."""
    from gaiaops.inspect.activity.look import entry_hint

    try:
        with located(env.name):
            yield
    except GaiaopsError as error:
        if isinstance(error, ConnectError) and error.message.startswith("too many connections"):
            error.hint = entry_hint(error.message)
        raise


class _Report:
    """Looks over one connection, which is opened again when it was lost."""

    def __init__(self, context: base.Context, env: Environment, all_databases: bool, as_json: bool) -> None:
        self._context = context
        self._env = env
        self._all_databases = all_databases
        self._as_json = as_json
        self._stack = ExitStack()
        self._probe: Probe | None = None

    def __enter__(self) -> _Report:
        return self

    def __exit__(self, *failure: Any) -> None:
        self._stack.__exit__(*failure)

    def shown(self) -> str:
        """One report as text or document. Raises the error tree's errors."""
        from gaiaops.output import activity as output
        from gaiaops.output import report

        document = self._document()
        if self._as_json:
            return report.document(document)
        if document["unknown"]:
            base.warn(f"[{self._env.name}] {document['unknown']}")
        if document["hidden"]:
            base.warn(f"[{self._env.name}] {_hidden(document)}")
        return output.text(document, shutil.get_terminal_size(_NO_TERMINAL).columns)

    def watch(self, every_s: float) -> None:
        """Until Ctrl-C. What fails at the start ends it; later it is shown, and tried again."""
        frames = 0

        def frame() -> str:
            nonlocal frames
            frames += 1
            try:
                return self._frame()
            except UsageError:
                raise
            except GaiaopsError as error:
                self._close(error)
                if frames == 1:
                    raise
                return self._failed(error)

        watched(every_s, frame)

    def _frame(self) -> str:
        from gaiaops.output import activity as output

        document = self._document()
        if self._as_json:
            return _compact(document)
        hidden = f"\n{_hidden(document)}" if document["hidden"] else ""
        hidden += f"\n{document['unknown']}" if document["unknown"] else ""
        text = output.text(document, shutil.get_terminal_size(_NO_TERMINAL).columns, watched=sys.stdout.isatty())
        return f"{document['server_time'][:19]}\n{text}{hidden}{'' if sys.stdout.isatty() else chr(10)}"

    def _failed(self, error: GaiaopsError) -> str:
        if self._as_json:
            return _compact({"environment": self._env.name, "error": error.message})
        return f"{base.PROGRAM}: error: {error}\nhint: {error.next_step(self._context.program) or 'it is tried again'}"

    def _document(self) -> dict[str, Any]:
        from gaiaops.inspect.activity import look
        from gaiaops.output import activity_document as documents

        with _explained(self._env):
            activity = look.arranged(look.take(self._connected()), all_databases=self._all_databases)
        env = self._env
        return documents.document(
            activity,
            env.name,
            self._context.program,
            all_databases=self._all_databases,
            replica=(env.replica, env.postgres_url().address),
        )

    def _connected(self) -> Probe:
        from gaiaops.inspect.activity import look
        from gaiaops.postgres.probe import probing

        if self._probe is None:
            url = self._env.postgres_url()
            opening = probing(url, self._env.timeouts, look.COMMAND, statement_ms=look.STATEMENT_MS)
            self._probe = self._stack.enter_context(opening)
        return self._probe

    def _close(self, error: Exception) -> None:
        """The connection hears of the error: what still runs on it is cancelled, and nothing is waited for."""
        self._probe = None
        self._stack.__exit__(type(error), error, error.__traceback__)


def _compact(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def _hidden(document: dict[str, Any]) -> str:
    return f"{document['hidden']} sessions of other users cannot be seen: needs pg_monitor"


class _Signal:
    """`--cancel` and `--terminate`: shown, asked, read again, done, told."""

    def __init__(self, context: base.Context, env: Environment, all_databases: bool, as_json: bool) -> None:
        self._context = context
        self._env = env
        self._all_databases = all_databases
        self._as_json = as_json

    def send(self, action: str, pid: int, confirm: str | None) -> None:
        """Raises RefusedError where it must not be done or is not any more what was shown, DeadlineError where the
        session goes on all the same, and the error tree's errors."""
        from gaiaops.inspect.activity import look, stop
        from gaiaops.postgres.identity import Namesakes, check_only_name
        from gaiaops.postgres.probe import probing

        registry: Registry = self._context.registry()
        base.check_confirmable(self._env, confirm)
        check_only_name(registry, self._env)
        url = self._env.postgres_url()
        opening = probing(url, self._env.timeouts, f"{look.COMMAND} {action}", statement_ms=look.STATEMENT_MS)
        with _explained(self._env), opening as probe:
            namesakes = Namesakes(registry, self._env)  # after we are in: it may take the server's last slot
            identity = stop.identify(probe, self._env)
            seen = look.take(probe)
            target = stop.aim(seen, pid, action, all_databases=self._all_databases)
            behind = look.arranged(seen).behind(pid)
            self._ask(target, behind, confirm)
            namesakes.check()
            self._act(probe, target, identity)
            self._tell(target, stop.settle(probe, target))

    def _ask(self, target: Target, behind: int, confirm: str | None) -> None:
        from gaiaops.output import activity as output

        base.notice(output.session_text(target.session, self._env.name, behind))
        if target.warning:
            base.warn(f"[{self._env.name}] {target.warning}")
        what = "The statement is cancelled." if target.action == "cancel" else (
            "The session is ended, and its transaction rolled back."
        )  # fmt: skip
        base.confirm(self._env, confirm, what)

    def _act(self, probe: Probe, target: Target, identity: tuple[str, str]) -> None:
        from gaiaops import trail
        from gaiaops.inspect.activity import stop

        sha256 = trail.digest(target.session.query or "")
        with trail.change(self._env.name, f"activity {target.action}", sha256=sha256) as record:
            record.server = "/".join(identity)
            record.rows = 1
            record.outcome = trail.COMMITTING  # whether a signal arrived is not known where the answer is lost
            stop.act(probe, target)

    def _tell(self, target: Target, outcome: Outcome) -> None:
        from gaiaops.output import activity as output
        from gaiaops.output import activity_document as documents
        from gaiaops.output import report

        if self._as_json:
            body = {
                "environment": self._env.name,
                "action": target.action,
                **documents.outcome_document(target.session, outcome),
            }
            click.echo(report.document({"signal": body}))
        if outcome.ended:
            base.notice(f"[{self._env.name}] {output.outcome_text(target.session, target.action, outcome)}")
            return
        pid, after = target.session.pid, f"after {outcome.waited_s:.0f}s"
        if target.action == "cancel":
            raise DeadlineError(
                f"the signal was sent, but session {pid} still runs the statement {after}",
                hint=f"look again; if it does not end: gaiaops activity ENV --terminate {pid}",
            )
        raise DeadlineError(
            f"the signal was sent, but session {pid} is still there {after}",
            hint="what it did may take its time to roll back; look again: gaiaops activity ENV",
        )
