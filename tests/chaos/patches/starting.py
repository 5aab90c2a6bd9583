"""What happens in a role's process before its program starts."""

from __future__ import annotations

import importlib
import itertools
import json
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from cli.roles import MODULES
from tests.chaos.patches import Entry, Process, install
from tests.chaos.plan import VARIABLE, beside


def role_of(argv: Sequence[str]) -> str | None:
    """The role that `... run ROLE` starts; None for any other program."""
    for word, following in itertools.pairwise(argv):
        if word == "run" and following in MODULES:
            return following
    return None


def patch_this_process(environment: Mapping[str, str], argv: Sequence[str]) -> None:
    """Install what the plan has for this process. Raises what a patch raises, and tells it to the plan.

    `argv` must be the interpreter's own: the program's does not exist yet.
    """
    role = role_of(argv)
    if role is None:
        return
    instance = environment.get("INSTANCE", "0")
    process = Process(role, role if instance == "0" else f"{role}-{instance}", Path(environment[VARIABLE]))
    try:
        entries = json.loads(process.plan.read_text())["entries"]
        wanted = [
            each for key in ("*", *dict.fromkeys((role, process.name))) for each in entries.get(key, ())
        ]
        if wanted:
            # A patch replaces names where they are used: all of them must be there first.
            importlib.import_module(MODULES[role])
        for options in wanted:
            install(Entry(process, options))
    except BaseException:
        beside(process.plan, ".failed").write_text(f"{process.name}:\n{traceback.format_exc()}")
        raise
