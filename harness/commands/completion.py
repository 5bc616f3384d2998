"""`stormwatch completion`: what a shell needs to complete our commands and options."""

from __future__ import annotations

import click

_SHELLS = ("bash", "zsh", "fish")


@click.command(name="completion")
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Write what SHELL needs to complete commands and options; it is asked for when the shell starts:

    \b
      bash, in ~/.bashrc:                  eval "$(stormwatch completion bash)"
      zsh, in ~/.zshrc:                    eval "$(stormwatch completion zsh)"
      fish, in ~/.config/fish/config.fish: stormwatch completion fish | source
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None  # click has one for each of ours
    # Not source(): for bash it starts one to ask its version.
    complete = kind(context.find_root().command, {}, "stormwatch", "_STORMWATCH_COMPLETE")
    click.echo(complete.source_template % complete.source_vars())
