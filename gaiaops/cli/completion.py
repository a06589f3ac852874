"""`gaiaops completion`: the script that makes a shell complete commands, options and environments."""

from __future__ import annotations

import click


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    Examples:
      bash:  eval "$(gaiaops completion bash)"            in ~/.bashrc
      zsh:   eval "$(gaiaops completion zsh)"             in ~/.zshrc
      fish:  gaiaops completion fish > ~/.config/fish/completions/gaiaops.fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:  # pragma: no cover - click knows all three
        raise click.UsageError(f"no completion for {shell}", ctx)
    root = ctx.find_root().command
    script = found(root, {}, "gaiaops", "_GAIAOPS_COMPLETE")
    # Not source(): it runs bash to look at its version, which is the user's own business here.
    click.echo(script.source_template % script.source_vars())
