"""What `gaiaops cleanup` does its steps with: of an environment with one database, or of one with shards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Generic, TypeVar

from gaiaops.errors import RefusedError

if TYPE_CHECKING:
    from gaiaops.cleanup.apply import Hooks, Outcome
    from gaiaops.cleanup.archive import Run
    from gaiaops.cleanup.plan import Plan
    from gaiaops.cleanup.planner import Options
    from gaiaops.cleanup.shards.archive import WholeRun
    from gaiaops.cleanup.shards.plan import Whole
    from gaiaops.registry.model import Environment, Registry

P = TypeVar("P", "Plan", "Whole")
R = TypeVar("R", "Run", "WholeRun")


class Way(ABC, Generic[P, R]):
    """The steps of a clean-up. `folder` holds the lists of users while it lasts."""

    def __init__(self, registry: Registry, env: Environment, folder: Path) -> None:
        self.registry = registry
        self.env = env
        self.folder = folder

    @abstractmethod
    def make(self, asked: Options) -> P:
        """Makes a plan."""

    @abstractmethod
    def listed(self, plan: P) -> Iterator[dict[str, Any]]:
        """The users of the plan, which was made or loaded last, with the rule that matched each."""

    @abstractmethod
    def document(self, plan: P) -> dict[str, Any]:
        """A plan as a document."""

    @abstractmethod
    def save(self, plan: P, out: IO[bytes]) -> None:
        """Writes a plan's file."""

    @abstractmethod
    def load(self, file: Path) -> P:
        """Reads a plan's file; what was not made here today, or is not allowed, is refused."""

    @abstractmethod
    def run_of(self, plan: P) -> R:
        """The run of a plan: begun before, or made."""

    @abstractmethod
    def unfinished(self, asked: Options) -> tuple[R | None, list[str]]:
        """The run that the same command left unfinished, and the ids of others."""

    @abstractmethod
    def fits(self, run: R) -> str:
        """Why an unfinished run cannot be gone on with."""

    @abstractmethod
    def auth_left(self, tags: tuple[str, ...]) -> R | None:
        """The newest run with auth records that are not settled."""

    @abstractmethod
    def purged(self, run: R) -> int:
        """How many users a run has purged; of shards, who are gone from all."""

    @abstractmethod
    def by_table(self, run: R) -> dict[str, tuple[int, int]]:
        """Table → (rows deleted, rows changed) of a run."""

    @abstractmethod
    def apply(self, run: R, hooks: Hooks) -> Outcome:
        """Applies a run's plan, or goes on with it."""

    @abstractmethod
    def finish(self, run: R, hooks: Hooks) -> Outcome:
        """Closes a run that cannot be gone on with."""

    @abstractmethod
    def report(self, run: R) -> dict[str, Any]:
        """A run as `runs --json` has it."""


class OneDatabase(Way["Plan", "Run"]):
    """An environment with one database."""

    @property
    def _users(self) -> Path:
        return self.folder / "users.copy"

    def make(self, asked: Options) -> Plan:
        from gaiaops.cleanup import planner

        return planner.make(self.registry, self.env, asked, self._users)

    def listed(self, plan: Plan) -> Iterator[dict[str, Any]]:
        import msgspec

        from gaiaops.cleanup import planner

        return (msgspec.structs.asdict(user) for user in planner.listed(self.registry, self._users))

    def document(self, plan: Plan) -> dict[str, Any]:
        return builtins(plan)

    def save(self, plan: Plan, out: IO[bytes]) -> None:
        from gaiaops.cleanup import plan as plans
        from gaiaops.cleanup import planner

        plans.save(plan, planner.listed(self.registry, self._users), out)

    def load(self, file: Path) -> Plan:
        from gaiaops.cleanup import saved
        from gaiaops.cleanup.shards import plan

        if plan.is_of_shards(file):
            raise RefusedError(
                f"{file} is the plan of an environment with shards, and {self.env.name} has one database",
                hint=f"make a new plan: gaiaops cleanup {self.env.name} --save-plan FILE",
                environment=self.env.name,
            )
        return saved.load(self.registry, self.env, file, self._users)

    def run_of(self, plan: Plan) -> Run:
        from gaiaops.cleanup import archive

        begun = [run for run in archive.every() if run.id == plan.id]
        return begun[0] if begun else archive.create(plan, self._users)

    def unfinished(self, asked: Options) -> tuple[Run | None, list[str]]:
        from gaiaops.cleanup import runs

        return runs.unfinished(self.registry, self.env, asked)

    def fits(self, run: Run) -> str:
        from gaiaops.cleanup import runs

        return runs.fits(self.registry, self.env, run)

    def auth_left(self, tags: tuple[str, ...]) -> Run | None:
        from gaiaops.cleanup import runs

        return runs.auth_left(self.env, tags)

    def purged(self, run: Run) -> int:
        return run.state().users

    def by_table(self, run: Run) -> dict[str, tuple[int, int]]:
        return run.state().by_table()

    def apply(self, run: Run, hooks: Hooks) -> Outcome:
        from gaiaops.cleanup import apply

        return apply.apply(self.registry, self.env, run, hooks)

    def finish(self, run: Run, hooks: Hooks) -> Outcome:
        from gaiaops.cleanup import apply

        return apply.finish_cache(self.registry, self.env, run)

    def report(self, run: Run) -> dict[str, Any]:
        from gaiaops.cleanup import runs
        from gaiaops.output import purge

        plan = run.plan()
        body = runs.document(run, plan.sha256, run.state(), outstanding=bool(self.env.redis))
        return purge.run_document(run.id, builtins(plan), body)


class Shards(Way["Whole", "WholeRun"]):
    """An environment with shards."""

    def make(self, asked: Options) -> Whole:
        from gaiaops.cleanup.shards import planner

        return planner.make(self.registry, self.env, asked, self.folder)

    def listed(self, plan: Whole) -> Iterator[dict[str, Any]]:
        import msgspec

        from gaiaops.cleanup import planner
        from gaiaops.cleanup.shards.plan import users_file

        for place, shard in enumerate(plan.shards):
            for user in planner.listed(self.registry, users_file(self.folder, place)):
                yield {"shard": shard, **msgspec.structs.asdict(user)}

    def document(self, plan: Whole) -> dict[str, Any]:
        found = builtins(plan)
        parts = found.pop("parts")
        return {**found, "shards": [part["plan"] for part in parts]}

    def save(self, plan: Whole, out: IO[bytes]) -> None:
        from gaiaops.cleanup import planner
        from gaiaops.cleanup.shards import plan as plans

        files = [plans.users_file(self.folder, place) for place in range(len(plan.parts))]
        plans.save(plan, [planner.listed(self.registry, file) for file in files], self.folder, out)

    def load(self, file: Path) -> Whole:
        from gaiaops.cleanup.shards import runs

        return runs.load(self.registry, self.env, file, self.folder)

    def run_of(self, plan: Whole) -> WholeRun:
        from gaiaops.cleanup.shards import archive

        begun = [run for run in archive.every() if run.id == plan.id]
        return begun[0] if begun else archive.create(plan, self.folder)

    def unfinished(self, asked: Options) -> tuple[WholeRun | None, list[str]]:
        from gaiaops.cleanup.shards import runs

        return runs.unfinished(self.registry, self.env, asked)

    def fits(self, run: WholeRun) -> str:
        from gaiaops.cleanup.shards import runs

        return runs.fits(self.registry, self.env, run)

    def auth_left(self, tags: tuple[str, ...]) -> WholeRun | None:
        from gaiaops.cleanup.shards import runs

        return runs.auth_left(self.env, tags)

    def purged(self, run: WholeRun) -> int:
        from gaiaops.cleanup.shards import guests

        return run.plan().users - len(guests.people_left(run))

    def by_table(self, run: WholeRun) -> dict[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        for part in run.parts:
            shard = part.shard.partition("/")[2]
            for table, (deleted, changed) in part.state().by_table().items():
                before = found.get(f"{shard}:{table}", (0, 0))
                found[f"{shard}:{table}"] = (before[0] + deleted, before[1] + changed)
        return found

    def apply(self, run: WholeRun, hooks: Hooks) -> Outcome:
        from gaiaops.cleanup.shards import apply

        return apply.apply_whole(self.registry, self.env, run, hooks)

    def finish(self, run: WholeRun, hooks: Hooks) -> Outcome:
        from gaiaops.cleanup.shards import apply

        return apply.finish(self.registry, self.env, run, hooks)

    def report(self, run: WholeRun) -> dict[str, Any]:
        return shards_report(run, outstanding=bool(self.env.redis))


def way(registry: Registry, env: Environment, folder: Path) -> OneDatabase | Shards:
    """How an environment is cleaned up. Raises RefusedError for one shard: a user is looked for in all of them."""
    if env.shard:
        whole = registry.environment(env.whole)
        raise RefusedError(
            f"cleanup takes whole environments: {env.whole} has {len(whole.shards)} shards",
            hint=f"gaiaops cleanup {env.whole}",
            environment=env.name,
        )
    return Shards(registry, env, folder) if env.shards else OneDatabase(registry, env, folder)


def shards_report(run: WholeRun, *, outstanding: bool) -> dict[str, Any]:
    """A run over shards as `runs --json` has it."""
    from gaiaops.cleanup.shards import runs
    from gaiaops.output import purge

    plan = run.plan()
    head = {**builtins(plan), "server": plan.server}
    return purge.run_document(run.id, head, runs.document(run, plan, outstanding=outstanding))


def builtins(value: object) -> dict[str, Any]:
    """A Struct as dicts and lists."""
    import msgspec

    found: dict[str, Any] = msgspec.to_builtins(value)
    return found
