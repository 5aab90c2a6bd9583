"""What is to be patched into which role: a file that roles read when they start, and what they tell back.

    <path>          {"number": 3, "entries": {"sink": [{"patch": "kill", "at": ..., "id": ...}], "*": [...]}}
    <path>.bites    one JSON line for every bite, written before it: id, patch, what, role, pid, at
    <path>.failed   why a patch could not be installed; the role has ended with the same words

A key is a role (all its processes) or the name of one of them ("sink-1"), "*" is every role. An entry bites
no more once it is out of the plan, so `clear` ends every patch without a restart.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VARIABLE = "SLUICE_CHAOS_PLAN"
SITE = Path(__file__).resolve().parent / "site"
PROJECT = Path(__file__).resolve().parents[2]

Entry = Mapping[str, Any]
Entries = Mapping[str, Sequence[Entry]]


class PatchFailed(Exception):
    """A role could not be patched and did not start; the traceback follows."""


def beside(path: Path, suffix: str) -> Path:
    """The file next to the plan that has this suffix."""
    return path.with_name(path.name + suffix)


@dataclass
class Plan:
    """The tests' side. `always` is in force besides whatever is set, and is not cleared."""

    path: Path
    always: Entries = field(default_factory=dict)
    _number: int = 0
    _entries: Entries = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clear()

    @property
    def environment(self) -> dict[str, str]:
        """What the roles need in their environment to find the plan."""
        return {VARIABLE: str(self.path), "PYTHONPATH": f"{SITE}{os.pathsep}{PROJECT}"}

    def set(self, entries: Entries) -> None:
        """Replace the plan; counting of bites starts anew. Processes that start from now on read it."""
        self._number += 1
        self._write(entries)

    def add(self, entries: Entries) -> None:
        """Put more behind what is set; what is there goes on, and so does the counting."""
        self._write(merged(self._entries, entries))

    def clear(self) -> None:
        """Take everything out but `always`; the bites stay to be read."""
        self._write({})

    def bites(self) -> Counter[str]:
        """How often each thing was done since the last `set`. Raises PatchFailed."""
        failed = beside(self.path, ".failed")
        if failed.exists():
            raise PatchFailed(failed.read_text())
        return Counter(bite["what"] for bite in self.told())

    def told(self) -> Iterator[dict[str, Any]]:
        """The bites since the last `set`, in order."""
        lines = beside(self.path, ".bites")
        for line in lines.read_text().splitlines() if lines.exists() else ():
            bite = json.loads(line)
            if str(bite["id"]).startswith(f"{self._number}."):
                yield bite

    def _write(self, entries: Entries) -> None:
        self._entries = entries
        numbered = {
            **_numbered(self.always, "always"),
            **_numbered(entries, str(self._number)),
        }
        for key in self.always.keys() & entries.keys():
            numbered[key] = _numbered(self.always, "always")[key] + numbered[key]
        unfinished = beside(self.path, ".new")
        unfinished.write_text(json.dumps({"number": self._number, "entries": numbered}))
        # A role that starts at this moment finds the old plan or the new one.
        unfinished.replace(self.path)


def merged(*plans: Entries) -> dict[str, list[Entry]]:
    """The entries of several plans, in their order."""
    together: dict[str, list[Entry]] = {}
    for entries in plans:
        for key, held in entries.items():
            together.setdefault(key, []).extend(held)
    return together


def _numbered(entries: Entries, number: str) -> dict[str, list[dict[str, Any]]]:
    return {
        key: [{**entry, "id": f"{number}.{key}.{place}"} for place, entry in enumerate(held)]
        for key, held in entries.items()
    }
