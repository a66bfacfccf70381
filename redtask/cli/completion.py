"""``redtask completion``: shell completion of our commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script for a shell.

    \b
    redtask completion bash >> ~/.bashrc
    redtask completion zsh  >> ~/.zshrc
    redtask completion fish > ~/.config/fish/completions/redtask.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    root = ctx.find_root().command
    click.echo(kind(root, {}, "redtask", "_REDTASK_COMPLETE").source())
