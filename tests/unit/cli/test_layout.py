"""Where things are kept, and the sentences when they cannot be."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cli.local.failures import DiskFull, NotWritable, disk_errors
from cli.local.layout import Layout, require_space


def test_everything_is_under_one_directory_of_the_checkout() -> None:
    """Without variables: `.sluice/` beside the Makefile."""
    layout = Layout.of({})
    assert layout.home == layout.project / ".sluice"
    assert layout.servers == layout.home / "servers"
    assert (layout.project / "Makefile").exists()


def test_another_home_shares_the_fetched_servers(tmp_path: Path) -> None:
    """Several stacks of one checkout download once."""
    layout = Layout.of({"SLUICE_HOME": str(tmp_path)})
    assert layout.home == tmp_path
    assert layout.servers == Layout.of({}).servers
    assert Layout.of({"SLUICE_SERVERS_DIR": "/somewhere"}).servers == Path("/somewhere")


def test_a_directory_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    """The path and the variable that moves it are named."""
    (tmp_path / "file").write_text("", "utf-8")
    layout = Layout.of({"SLUICE_HOME": str(tmp_path / "file" / "home")})
    with pytest.raises(NotWritable, match="SLUICE_HOME=DIRECTORY"):
        layout.make()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_sentence(tmp_path: Path, number: int) -> None:
    """Whatever was written when it filled up."""
    with pytest.raises(DiskFull, match="free some space"), disk_errors(tmp_path, "SLUICE_HOME"):
        raise OSError(number, os.strerror(number))


def test_other_faults_of_the_system_are_not_disguised(tmp_path: Path) -> None:
    """Only what is known is translated."""
    with pytest.raises(TimeoutError), disk_errors(tmp_path, "SLUICE_HOME"):
        raise TimeoutError


def test_too_little_space_is_said_with_both_numbers(tmp_path: Path) -> None:
    """How much there is, and how much is needed."""
    with pytest.raises(DiskFull, match="1000000000000 MB needed"):
        require_space(tmp_path, 10**12)
