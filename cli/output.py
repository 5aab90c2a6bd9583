"""What people see: one vocabulary of colours, errors as one sentence, JSON where a program reads."""

from __future__ import annotations

import json
import time
from typing import Any

from rich.console import Console

OK, FAILED, USAGE, FINISHED_WITH_REJECTED_ROWS = 0, 1, 2, 3

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """A line of progress, with the time, as the supervisor's log has it."""
    console.print(f"[dim]{time.strftime('%H:%M:%S')}[/dim] ", end="")
    console.print(text, markup=False, soft_wrap=True)


def fail(text: str) -> None:
    """The one sentence of a failure."""
    errors.print("[bold red]error:[/bold red] ", end="")
    errors.print(text, markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """An answer for a program: one JSON document on standard output, never coloured or wrapped."""
    print(json.dumps(value, ensure_ascii=False, indent=2))
