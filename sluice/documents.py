"""The documents that are made from the code: `python -m sluice.documents` writes them, `--check` compares.

docs/asyncapi.yaml comes from topics and schemas, docs/metrics.md from the closed list of metrics. A test
compares too, so neither can say anything but what the code does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sluice import asyncapi
from sluice.telemetry import METRICS

DOCS = Path(__file__).resolve().parent.parent / "docs"


def asyncapi_yaml() -> str:
    """The AsyncAPI document as YAML."""
    return "# Made by `python -m sluice.documents` from sluice/topics.py and schemas/avro/.\n" + "\n".join(
        (*_block(asyncapi.document(), ""), "")
    )


def metrics_page() -> str:
    """The table of all metrics."""
    lines = [
        "# Metrics",
        "",
        "Made by `python -m sluice.documents` from `METRICS` in `sluice/telemetry.py`. Every role serves all",
        "of them at `/metrics` (the ingress on the API's port, workers on `METRICS_PORT`) and moves its own.",
        "",
        "| Metric | Kind | Labels | What it says |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{each.name}` | {each.kind} | {', '.join(f'`{label}`' for label in each.labels)} | {each.help} |"
        for each in METRICS
    ]
    return "\n".join((*lines, ""))


DOCUMENTS: Mapping[str, Callable[[], str]] = {"asyncapi.yaml": asyncapi_yaml, "metrics.md": metrics_page}


def outdated(directory: Path = DOCS) -> list[str]:
    """Documents that are missing or say something else than the code."""
    return [
        name
        for name, make in DOCUMENTS.items()
        if not (path := directory / name).exists() or path.read_text(encoding="utf-8") != make()
    ]


def write(directory: Path = DOCS) -> None:
    """Write all of them."""
    for name, make in DOCUMENTS.items():
        (directory / name).write_text(make(), encoding="utf-8")


def _block(value: Any, indent: str) -> list[str]:
    """A mapping or list as YAML lines; a text is quoted as in JSON, which YAML reads as it is."""
    if isinstance(value, dict) and value:
        return [line for name, inner in value.items() for line in _entry(f"{_name(name)}:", inner, indent)]
    if isinstance(value, list) and value:
        return [line for inner in value for line in _entry("-", inner, indent)]
    return [f"{indent}{_scalar(value)}"]


def _entry(head: str, value: Any, indent: str) -> list[str]:
    if not (isinstance(value, dict | list) and value):
        return [f"{indent}{head} {_scalar(value)}"]
    lines = _block(value, indent + "  ")
    if head == "-":
        # The first line of an item stands beside its dash.
        return [f"{indent}- {lines[0].lstrip()}", *lines[1:]]
    return [f"{indent}{head}", *lines]


def _name(text: str) -> str:
    return text if text.replace("_", "").isalnum() and not text.isdigit() else _scalar(text)


def _scalar(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def main() -> None:
    """Write the documents, or with `--check` say which are out of date and fail."""
    if "--check" not in sys.argv[1:]:
        write()
    elif names := outdated():
        sys.exit(f"{', '.join(names)} in docs/ is out of date: run `python -m sluice.documents`.")


if __name__ == "__main__":
    main()
