"""Processes are known by number and start, so that nobody else's is ever touched."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from cli.local.processes import StackState, Started, alive, created, leftovers, tail


def me() -> Started:
    """This very process."""
    return Started("test", "role", os.getpid(), created(os.getpid()))


def test_a_process_is_known_by_its_start() -> None:
    """The same number started at another moment is somebody else."""
    assert alive(me())
    assert not alive(replace(me(), created=me().created - 1))
    assert not alive(Started("none", "role", 2**22 + 1, 0.0))


def test_a_reused_number_is_no_leftover(tmp_path: Path) -> None:
    """Of a state whose numbers others have now, nothing is stopped."""
    state = StackState(
        supervisor=replace(me(), created=1.0), phase="ready", processes=(replace(me(), created=2.0),)
    )
    assert leftovers(state, tmp_path) == []


def test_the_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Every field, through the file."""
    state = StackState(me(), "ready", "", {"api": 1}, (replace(me(), name="sink", restarts=2, ready=True),))
    state.write(tmp_path / "stack.json")
    assert StackState.read(tmp_path / "stack.json") == state
    assert [path.name for path in tmp_path.iterdir()] == ["stack.json"]


def test_a_state_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    """Cut short, of another version, or not there: the marks on the processes remain."""
    path = tmp_path / "stack.json"
    assert StackState.read(path) is None
    for text in ("", "{", "[]", '{"phase": "ready"}', '{"supervisor": {"surprise": 1}, "phase": "ready"}'):
        path.write_text(text, "utf-8")
        assert StackState.read(path) is None


def test_the_tail_of_a_log_is_its_last_line_with_words(tmp_path: Path) -> None:
    """Empty lines at the end say nothing, a line too long is cut, no log is no line."""
    log = tmp_path / "log"
    log.write_bytes(b"first\nFATAL: \xff bad\n\n  \n")
    assert tail(log) == "FATAL: � bad"
    log.write_bytes(b"x" * 100_000)
    assert tail(log, 10) == "x" * 10
    assert tail(tmp_path / "none") == ""
