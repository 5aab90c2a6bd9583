"""`sluice bench`: the benchmarks of a checkout, on stacks of their own."""

from __future__ import annotations

import os
import subprocess
import sys

import click

from cli import output
from cli.local.layout import Layout


@click.command()
@click.option("--rows", type=int, help="Contacts in the large import.  [default: 200,000]")
@click.option("--rounds", type=int, help="How often what is compared runs, in turns.  [default: 5]")
@click.option("--quick", is_flag=True, help="One round of 20,000 rows: to see that everything runs.")
@click.option("--only", multiple=True, metavar="NAME", help="This benchmark alone; may be repeated.")
@click.option("--profile", multiple=True, metavar="PROCESS", help="Count its functions; needs py-spy.")
@click.option("--native", is_flag=True, help="With --profile, look into native code too.")
def bench(
    rows: int | None,
    rounds: int | None,
    quick: bool,
    only: tuple[str, ...],
    profile: tuple[str, ...],
    native: bool,
) -> None:
    """Measure, as ratios in one run; one JSON object per benchmark."""
    project = Layout.of(os.environ).project
    if not (project / "tests" / "benchmarks").is_dir():
        output.fail("The benchmarks are not installed: run this in a checkout of the project.")
        sys.exit(output.FAILED)
    words = [f"--{name}={number}" for name, number in (("rows", rows), ("rounds", rounds)) if number]
    words += [f"--only={name}" for name in only] + [f"--profile={name}" for name in profile]
    words += [flag for flag, given in (("--quick", quick), ("--native", native)) if given]
    sys.exit(subprocess.call([sys.executable, "-m", "tests.benchmarks", *words], cwd=project))
