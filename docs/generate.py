"""`python docs/generate.py`: writes commands.md from the commands' own --help; a test holds them equal."""

from __future__ import annotations

from pathlib import Path

import click

from gaiaops.cli.base import Context
from gaiaops.cli.main import COMMANDS, cli

HEAD = """# Commands

Generated from `--help` by `make docs`; a test holds them equal.
"""


def reference() -> str:
    """The whole text of commands.md."""
    root = click.Context(cli, info_name="gaiaops", obj=Context(), **{**cli.context_settings, "terminal_width": 80})
    sections = [HEAD, _section("gaiaops", root)]
    for name in COMMANDS:
        command = cli.get_command(root, name)
        assert command is not None  # noqa: S101 - a name of the table
        context = click.Context(command, info_name=name, parent=root, terminal_width=80)
        sections.append(_section(f"gaiaops {name}", context))
        if isinstance(command, click.Group):
            for sub in command.list_commands(context):
                child = command.get_command(context, sub)
                assert child is not None  # noqa: S101
                below = click.Context(child, info_name=sub, parent=context, terminal_width=80)
                sections.append(_section(f"gaiaops {name} {sub}", below))
    return "\n".join(sections)


def _section(title: str, context: click.Context) -> str:
    return f"## {title}\n\n```\n{context.get_help()}\n```\n"


if __name__ == "__main__":
    Path(__file__).with_name("commands.md").write_text(reference(), encoding="utf-8")
