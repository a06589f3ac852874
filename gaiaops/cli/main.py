"""The root command: lists commands from a table, loads the one that is run."""

from __future__ import annotations

import gc
import importlib
import os
from typing import Any, NoReturn

import click

from gaiaops import __version__
from gaiaops.cli.base import Context, run

# name → (module, summary): `--help` needs no command's module, and no driver.
COMMANDS = {
    "envs": ("gaiaops.cli.envs", "List the registry; --check connects to everything."),
    "view": ("gaiaops.cli.view", "The overview of one environment, of all, or of Supabase Auth."),
    "query": ("gaiaops.cli.query", "Run SQL in one environment or in all; read-only unless --write."),
    "connect": ("gaiaops.cli.connect", "Open pgcli, psql, iredis or redis-cli, read-only unless --write."),
    "cleanup": ("gaiaops.cli.cleanup", "Purge test users: the plan, the archive, and only then the rows."),
    "runs": ("gaiaops.cli.runs", "Past clean-ups: what went, and where the archive is."),
    "restore": ("gaiaops.cli.restore", "Put back what a clean-up removed."),
    "audit": ("gaiaops.cli.audit", "Whether Supabase Auth, profiles, keys and caches agree; --fix repairs."),
    "whois": ("gaiaops.cli.whois", "One person everywhere: auth record, profiles, keys, cache."),
    "health": ("gaiaops.cli.health", "Checks with values, thresholds and the next command to run."),
    "activity": ("gaiaops.cli.activity", "Running statements, waits, who blocks whom; --cancel, --terminate."),
    "schema": ("gaiaops.cli.schema", "Tables against the registry; two environments against each other."),
    "cache": ("gaiaops.cli.cache", "Redis by key family: count, memory, TTL; keys, get, invalidate."),
    "sandbox": ("gaiaops.cli.sandbox", "A whole platform on this machine: up, down, status, reset."),
    "completion": ("gaiaops.cli.completion", "Print the completion script for bash, zsh or fish."),
}


class Root(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            guess = f' Did you mean "{near[0]}"?' if near else ""
            raise click.UsageError(f'No such command "{args[0]}".{guess}', ctx) from error


@click.command(cls=Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--registry", metavar="FILE", help="The registry to use instead of environments.toml.")
@click.option("--sandbox", is_flag=True, help="Work on the sandbox; it is started if it is down.")
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True)
@click.option("-v", "--verbose", count=True, help="Say more on standard error.")
@click.option("--debug", is_flag=True, help="Add the traceback to errors.")
@click.version_option(__version__, "-V", "--version", prog_name="gaiaops")
@click.pass_context
def cli(ctx: click.Context, /, **options: Any) -> None:
    """Operate the Gaia Platform's databases: PostgreSQL, Redis and Supabase Auth.

    ENV is an environment's name or alias from environments.toml; `all` means every one.
    """
    context: Context = ctx.obj
    context.registry_file = options["registry"]
    context.sandbox = options["sandbox"]
    context.color = options["color"]
    context.verbose = options["verbose"]
    context.debug = options["debug"]


def main() -> NoReturn:
    """The console script."""
    # Imports make many objects and no garbage; the collector would walk them all again and again
    # (callgrind: 4 % of the instructions of `query dev "select 1"`).
    gc.set_threshold(200_000, 20, 20)
    code = run(cli, Context())
    # Everything is closed and flushed. Taking the interpreter apart would cost 50 ms more of every command.
    os._exit(code)
