"""`sluice bench`: the benchmarks of a checkout, on a stack of their own."""

from __future__ import annotations

import os
import subprocess
import sys

import click

from cli import output
from cli.local.layout import Layout


@click.command()
@click.option("--rows", default=200_000, show_default=True, help="Contacts in the large import.")
def bench(rows: int) -> None:
    """Measure, as ratios in one run; one JSON object per benchmark."""
    project = Layout.of(os.environ).project
    if not (project / "tests" / "benchmarks").is_dir():
        output.fail("The benchmarks are not installed: run this in a checkout of the project.")
        sys.exit(output.FAILED)
    sys.exit(subprocess.call([sys.executable, "-m", "tests.benchmarks", str(rows)], cwd=project))
