"""`sluice up`, `down`, `status`, and the two that only other programs call."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace

import click
from rich.table import Table

from cli import output, roles
from cli.local import daemon, stack
from cli.local.credentials import read_settings
from cli.local.failures import AlreadyRunning
from cli.local.fetch import fetch
from cli.local.layout import Layout
from cli.local.ports import Ports
from cli.local.processes import StackState, timestamp
from cli.local.status import Status, all_ready, status
from cli.local.supervisor import Say

READY_TIMEOUT_SECONDS = 120.0

roles_option = click.option(
    "--roles",
    "role_list",
    default=",".join(roles.ALL),
    envvar="SLUICE_ROLES",
    show_default=True,
    help="What to run; a role named twice runs twice; 'none' for the servers alone.",
)


@click.command()
@click.option("--detach", is_flag=True, help="Leave it running in the background.")
@click.option(
    "--wait", is_flag=True, help="With --detach: return only when everything answers (the default)."
)
@click.option("--timeout", default=READY_TIMEOUT_SECONDS, show_default=True, help="Seconds to wait for that.")
@roles_option
def up(detach: bool, wait: bool, timeout: float, role_list: str) -> None:
    """Start the local stack: PostgreSQL, Kafka, S3, the schema registry, and the roles."""
    del wait  # kept for those who like to say it: a detached start that nobody waits for hides its failure
    layout, chosen = Layout.of(os.environ), roles.parse(role_list)
    ports = Ports.of(os.environ)
    layout.make()
    if (pid := stack.running(layout)) is not None:
        raise AlreadyRunning(pid=pid)
    servers = fetch(layout, output.say)
    if detach:
        _up_detached(layout, chosen, timeout)
    else:
        with stack.sole_supervisor(layout):
            plan = stack.Plan(layout, ports, servers, chosen)
            asyncio.run(stack.supervise(plan, _say_and_log(layout), lambda _stack: _report(layout)))


def _up_detached(layout: Layout, chosen: tuple[str, ...], timeout: float) -> None:
    process = daemon.spawn(layout, os.environ, chosen)
    said: set[str] = set()

    def progress(state: StackState) -> None:
        for each in state.processes:
            if each.ready and each.name not in said:
                said.add(each.name)
                output.say(f"{each.name} answers at {each.address}")

    with output.console.status("Starting the stack ..."):
        daemon.wait_until_ready(layout, process, timeout, progress)
    _report(layout)


def _say_and_log(layout: Layout) -> Say:
    """Tell the terminal and supervisor.log."""

    def say(text: str) -> None:
        output.say(text)
        with layout.log("supervisor").open("a", encoding="utf-8") as log:
            log.write(f"{timestamp()} {text}\n")

    return say


def _report(layout: Layout) -> None:
    settings = read_settings(layout.env_file)
    output.say(f"Ready: http://{settings['API_HOST']}:{settings['API_PORT']} (settings in {layout.env_file})")


@click.command()
@click.option("--wipe", is_flag=True, help="Also remove the data, the logs and the settings.")
def down(wipe: bool) -> None:
    """Stop the local stack completely; its data stays."""
    layout = Layout.of(os.environ)
    stopped = daemon.shut_down(layout, output.say)
    if wipe:
        daemon.remove_home(layout)
    output.say("The stack is stopped." if stopped else "Nothing was running.")


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Answer as one JSON document.")
def status_command(as_json: bool) -> None:
    """Show servers, roles, lag and addresses; the exit code is 0 when everything answers."""
    layout = Layout.of(os.environ)
    found = status(layout)
    if as_json:
        output.print_json(found)
    elif found["servers"] or found["roles"]:
        _show(found)
    else:
        output.say("Nothing is running here: start it with `sluice up`.")
    if not all_ready(found):
        sys.exit(output.FAILED)


def _show(found: Status) -> None:
    processes = Table("", "process", "where", "answers", box=None, pad_edge=False)
    for kind, where in (("servers", "address"), ("roles", "metrics")):
        for each in found[kind]:  # type: ignore[literal-required]
            mark = "[green]yes[/green]" if each["ready"] else "[red]no[/red]"
            processes.add_row(f"[bold]{each['name']}[/bold]", str(each["pid"] or "-"), each[where], mark)
    output.console.print(processes)
    behind = Table("consumer group", "messages behind", box=None, pad_edge=False)
    for group, messages in found["lag"].items():
        behind.add_row(group, f"{messages:,}")
    if found["lag"]:
        output.console.print()
        output.console.print(behind)
    output.console.print()
    addresses = Table("address of", "", box=None, pad_edge=False)
    for name, address in found["addresses"].items():
        addresses.add_row(name, address)
    output.console.print(addresses)


@click.command(hidden=True)
def fetch_command() -> None:
    """Fetch the servers of the local stack, if they are not there."""
    fetch(Layout.of(os.environ), output.say)


@click.command(hidden=True)
@roles_option
@click.option("--tethered", is_flag=True, help="Leave when standard input closes.")
@click.option("--ephemeral", is_flag=True, help="Remove everything in the end.")
def supervise(role_list: str, tethered: bool, ephemeral: bool) -> None:
    """Be the supervisor of a detached or a tethered stack."""
    layout = Layout.of(os.environ)
    layout.make()
    servers = fetch(layout, _log_only)
    plan = stack.Plan(layout, Ports.of(os.environ), servers, roles.parse(role_list))
    control = daemon.tether if tethered else None
    try:
        with stack.sole_supervisor(layout):
            asyncio.run(stack.supervise(plan, _log_only, lambda _stack: _log_only("Ready."), control))
    finally:
        if ephemeral:
            daemon.remove_home(replace(layout))


def _log_only(text: str) -> None:
    print(f"{timestamp()} {text}", flush=True)
