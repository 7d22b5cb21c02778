"""Completion of commands, options and files for bash, zsh and fish."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

VARIABLE = "_RAPIDFLOW_COMPLETE"
"""The variable through which a shell asks the command what can follow."""
_SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@click.pass_context
def completion(context: click.Context, shell: str) -> int:
    """Print the completion script for a shell.

    Put it where your shell looks for completions, for example:

    \b
      rapidflow completion bash > /etc/bash_completion.d/rapidflow
      rapidflow completion zsh  > "${fpath[1]}/_rapidflow"
      rapidflow completion fish > ~/.config/fish/completions/rapidflow.fish
    """
    print(_SHELLS[shell](context.find_root().command, {}, "rapidflow", VARIABLE).source())
    return 0
