"""A job's states, its transitions, and the database's copy of them."""

from __future__ import annotations

import re
import time
import uuid
from itertools import pairwise, product
from pathlib import Path

import pytest

import sinks
from sluice.errors import TransitionRefused
from sluice.job import ENDED, TRANSITIONS, JobState, new_job_id, transition

MIGRATIONS = "".join(
    path.read_text("utf-8") for path in sorted((Path(sinks.__path__[0]) / "migrations").glob("*.sql"))
)
PAIRS = list(product(JobState, JobState))


@pytest.mark.requirement("K-08")
def test_the_states_are_the_thirteen_of_the_inner_machine() -> None:
    """One inner machine, whatever words the doors have for it."""
    assert [state.value for state in JobState] == [
        "pending",
        "authenticating",
        "uploading",
        "analyzing",
        "awaiting_mapping",
        "fetching",
        "processing",
        "paused",
        "completed",
        "failed",
        "cancelled",
        "undoing",
        "undone",
    ]
    assert set(TRANSITIONS) == set(JobState)


@pytest.mark.parametrize(("current", "target"), PAIRS, ids=[f"{a}-{b}" for a, b in PAIRS])
def test_a_job_goes_only_where_the_table_allows(current: JobState, target: JobState) -> None:
    """An allowed move answers the target, staying is always allowed, every other move is refused."""
    if target == current or target in TRANSITIONS[current]:
        assert transition(current, target) is target
    else:
        with pytest.raises(TransitionRefused, match=f"{current.value} cannot become {target.value}"):
            transition(current, target)


@pytest.mark.requirement("K-08", "S0-027")
def test_the_database_enforces_the_same_table() -> None:
    """The trigger's list of moves is the kernel's, arrow for arrow."""
    # The migration that defined it last holds.
    body = MIGRATIONS.rpartition("FUNCTION refuse_job_transition() RETURNS")[2].partition("$$;")[0]
    in_database = set(re.findall(r"'(\w+)>(\w+)'", body))
    in_kernel = {(state.value, target.value) for state in TRANSITIONS for target in TRANSITIONS[state]}
    assert in_database == in_kernel


def test_the_database_knows_the_same_states() -> None:
    """The column's CHECK lists the kernel's states."""
    check = re.search(r"CHECK \(state IN \((.*?)\)\)", MIGRATIONS, re.DOTALL)
    assert check is not None
    assert re.findall(r"'(\w+)'", check[1]) == [state.value for state in JobState]


def test_every_job_can_end() -> None:
    """From every state some way leads to an end, so no job lives for ever by design."""
    reaches_end = set(ENDED)
    while grown := {s for s in JobState if s not in reaches_end and TRANSITIONS[s] & reaches_end}:
        reaches_end |= grown
    assert reaches_end == set(JobState)


def test_job_ids_are_uuid_7_and_sort_by_birth() -> None:
    """Later milliseconds give larger ids, each a valid version 7 UUID made of now."""
    before = time.time_ns() // 1_000_000
    ids = [new_job_id() for _ in range(2000)]
    after = time.time_ns() // 1_000_000
    births = [each.int >> 80 for each in ids]
    assert all((each.version, each.variant) == (7, uuid.RFC_4122) for each in ids)
    assert all(a <= b for a, b in pairwise(births))
    assert before <= births[0] <= births[-1] <= after
    assert len(set(ids)) == len(ids)
