"""A reader's folder for temporary files: its own, gone at the end, and swept when it was killed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from ingress.reading.scratch import PREFIX, own_folder


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files are, for this test alone."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_is_named_for_its_reader_and_goes_with_it(temporary: Path) -> None:
    """With all that is in it."""
    with own_folder("reader/1") as folder:
        assert folder.parent == temporary
        assert folder.name.startswith(f"{PREFIX}reader_1-")
        (folder / "file").write_bytes(b"x")
    assert not any(temporary.iterdir())


def test_what_a_killed_reader_left_is_removed(temporary: Path) -> None:
    """Whatever it was called; nothing else is touched."""
    left = temporary / f"{PREFIX}7-abc" / "sluice-open-1"
    left.mkdir(parents=True)
    (left / "file").write_bytes(b"x")
    (temporary / "another's").mkdir()
    (temporary / f"{PREFIX}link").symlink_to(temporary / "another's")
    with own_folder("1") as folder:
        assert {path.name for path in temporary.iterdir()} == {folder.name, "another's", f"{PREFIX}link"}


def test_readers_of_one_name_leave_each_other_alone() -> None:
    """Two stacks on one machine may have the same instances."""
    with own_folder("1") as first:
        (first / "file").write_bytes(b"x")
        with own_folder("1") as second:
            assert first != second
            assert (first / "file").exists()
        assert (first / "file").exists()
