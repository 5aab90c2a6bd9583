"""The patches themselves: each can be installed on the product as it is, and none is silently absent."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.patches import TargetMissing, around, find, replace
from tests.chaos.patches.bugs import BUGS
from tests.chaos.patches.messages import SENT, TAKEN
from tests.chaos.patches.points import POINTS
from tests.chaos.patches.starting import role_of
from tests.chaos.plan import PROJECT, PatchFailed, Plan

ROLES = ("ingress", "reader", "streams", "sink", "tasks")


def start(plan: Plan, role: str, instance: str = "0") -> subprocess.CompletedProcess[str]:
    """What becomes of `sluice run ROLE --help` under a plan: it is patched, and then does nothing."""
    return subprocess.run(
        [sys.executable, "-m", "cli.main", "run", role, "--help"],
        env={**os.environ, **plan.environment, "INSTANCE": instance},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def python(plan: Plan, code: str, role: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process that is patched as the role's."""
    return subprocess.run(
        [sys.executable, "-c", code, "run", role],
        env={**os.environ, **plan.environment},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(tmp_path / "plan.json")


def entries(role: str) -> Sequence[Mapping[str, Any]]:
    """Every entry that can be made for a role."""
    topics = {*SENT.get(role, ()), *TAKEN.get(role, {})}
    return [
        *({"patch": "kill", "at": name} for name, point in POINTS.items() if point.role == role),
        *({"patch": "lossy", "topic": topic} for topic in topics),
        *({"patch": "bug", "name": name} for name, bug in BUGS.items() if role in bug.installs),
        *({"patch": name} for name in ("forgetful", "lists-away") if role == "streams"),
    ]


@pytest.mark.parametrize("role", ROLES)
def test_every_patch_of_a_role_finds_what_it_replaces(plan: Plan, role: str) -> None:
    """All patches of a role together are installed on the product as it is, and it starts."""
    plan.set({role: entries(role)})
    done = start(plan, role)
    assert (done.returncode, done.stderr) == (0, "")
    assert plan.bites() == {}


def test_a_patch_that_cannot_be_installed_ends_the_role(plan: Plan) -> None:
    """A point that is not there stops the process with its reason, and the plan tells it too."""
    plan.set({"sink": [{"patch": "kill", "at": "before-nothing"}]})
    done = start(plan, "sink")
    assert done.returncode == 70
    assert "no point before-nothing" in done.stderr
    with pytest.raises(PatchFailed, match="no point before-nothing"):
        plan.bites()


def test_another_roles_patches_are_not_installed(plan: Plan) -> None:
    """A role and a unit get their own entries only; what is no role gets none."""
    plan.set({"sink-1": [{"patch": "kill", "at": "before-nothing"}], "reader": [{"patch": "unknown"}]})
    assert start(plan, "sink").returncode == 0
    assert start(plan, "sink", "1").returncode == 70


def test_the_environment_is_rewritten_before_the_role_reads_it(plan: Plan) -> None:
    """The patch "environment" changes what the role's program finds."""
    plan.always = {"*": [{"patch": "environment", "set": {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9"}}]}
    plan.clear()
    done = python(plan, "import os; print(os.environ['KAFKA_BOOTSTRAP_SERVERS'])", "tasks")
    assert done.stdout == "127.0.0.1:9\n", done.stderr


PASSING = """
import asyncio
from sinks.postgres import PostgresSink
async def take_over(): await PostgresSink.take_over(None, [])
for _ in range(5):
    try: asyncio.run(take_over())
    except AttributeError: print("passed", flush=True)
"""


def test_a_kill_strikes_at_the_nth_passing_and_as_often_as_it_may(plan: Plan) -> None:
    """SIGKILL comes at the third passing of the point, in one process only, and is told before."""
    plan.set({"sink": [{"patch": "kill", "at": "before-take-over", "nth": 3}]})
    struck, spared = python(plan, PASSING, "sink"), python(plan, PASSING, "sink")
    assert (struck.returncode, struck.stdout.count("passed")) == (-9, 2)
    assert (spared.returncode, spared.stdout.count("passed")) == (0, 5)
    assert plan.bites() == {"before-take-over": 1}
    plan.set({"sink": [{"patch": "kill", "at": "before-take-over", "times": 2}]})
    assert [python(plan, PASSING, "sink").returncode for _ in range(3)] == [-9, -9, 0]
    assert plan.bites() == {"before-take-over": 2}


def test_what_is_taken_out_of_the_plan_bites_no_more(plan: Plan) -> None:
    """A process that was patched before the plan was cleared is left alone."""
    plan.set({"sink": [{"patch": "kill", "at": "before-take-over"}]})
    emptied = f"import json; p = {str(plan.path)!r}; open(p, 'w').write(json.dumps({{'entries': {{}}}}))\n"
    done = python(plan, emptied + PASSING, "sink")
    assert (done.returncode, done.stdout.count("passed")) == (0, 5)


def test_a_target_that_is_gone_or_takes_something_else_is_refused() -> None:
    """A renamed function, class or parameter is an error when the patch is installed."""
    for target in ("sinks.postgres:PostgresSink.gone", "sinks.gone:x", "sinks.postgres:Gone.write"):
        with pytest.raises(TargetMissing):
            find(target)
        with pytest.raises(TargetMissing):
            replace(target, lambda original: original)
    with pytest.raises(TargetMissing, match="is awaited"):
        replace("sinks.postgres:PostgresSink.write", lambda original: lambda *args: None)
    with pytest.raises(TargetMissing, match="no longer takes 1"):
        replace("sinks.group:admit", lambda original: lambda batch: None)
    with pytest.raises(TargetMissing, match="no parameter gone"):
        around("sinks.postgres:PostgresSink.write", needs=("gone",))


@pytest.mark.parametrize(
    ("argv", "role"),
    [
        (["python", "-m", "cli.main", "run", "sink"], "sink"),
        (["/venv/bin/sluice", "run", "streams"], "streams"),
        (["python", "-m", "cli.main", "supervise", "sink"], None),
        (["python", "-m", "cli.main", "run"], None),
        ([], None),
    ],
)
def test_only_a_role_is_patched(argv: list[str], role: str | None) -> None:
    """The interpreter's own arguments tell what is run."""
    assert role_of(argv) == role
