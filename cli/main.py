"""The `sluice` command: every failure that we know ends in one sentence and an exit code.

A command's module is imported when the command is used: what starts a role must not wait for the clients of
all servers to be imported.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any

import click

from cli import output
from cli.local.credentials import read_settings
from cli.local.layout import Layout
from sluice.errors import SluiceError

# name -> module and attribute of its command, in the order of the help page.
COMMANDS: Mapping[str, str] = {
    "up": "cli.local.commands:up",
    "down": "cli.local.commands:down",
    "status": "cli.local.commands:status_command",
    "run": "cli.world:run",
    "prepare": "cli.world:prepare",
    "migrate": "cli.world:migrate",
    "topics": "cli.world:topics",
    "schemas": "cli.world:schemas",
    "token": "cli.commands.token:token",
    "import": "cli.commands.imports:import_",
    "jobs": "cli.commands.imports:jobs",
    "rows": "cli.commands.imports:rows",
    "undo": "cli.commands.undo:undo",
    "heal": "cli.commands.runs:heal",
    "commit": "cli.commands.runs:commit",
    "dnc": "cli.commands.dnc:dnc",
    "events": "cli.commands.events:events",
    "demo": "cli.demo:demo",
    "bench": "cli.commands.bench:bench",
    "fetch": "cli.local.commands:fetch_command",
    "supervise": "cli.local.commands:supervise",
}


class OneSentence(click.Group):
    """A group whose commands are imported when used, and fail with a sentence instead of a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands; the hidden ones hide themselves."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of this name."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and translate what it raises into an exit code. `--debug` shows where from."""
        try:
            return super().invoke(ctx)
        except SluiceError as error:
            if ctx.params.get("debug"):
                raise
            output.fail(str(error))
            sys.exit(output.FAILED)
        except BrokenPipeError:
            # The reader of our output has left, as `head` does; there is nobody to tell.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(output.FAILED)


@click.group(cls=OneSentence, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, hidden=True, help="Show the traceback of a failure.")
@click.version_option(package_name="sluice")
def sluice(debug: bool) -> None:
    """Contact data in from files, address books and CRMs; clean contacts out, every row accounted for."""
    del debug
    # What the local stack wrote down holds where the environment says nothing.
    for name, value in read_settings(Layout.of(os.environ).env_file).items():
        os.environ.setdefault(name, value)


def main() -> None:
    """The entry point of the `sluice` script."""
    sluice(prog_name="sluice")


if __name__ == "__main__":
    main()
