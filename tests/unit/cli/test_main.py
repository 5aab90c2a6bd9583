"""The command line: one sentence for a failure, exit codes, and a fast start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import COMMANDS, sluice


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a stack of its own, of which nothing runs."""
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_can_be_asked_for_help(name: str) -> None:
    """Each is there and explains itself in a sentence."""
    result = CliRunner().invoke(sluice, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage: " in result.output


def test_a_known_failure_is_one_sentence_and_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback."""
    monkeypatch.setenv("SLUICE_API_PORT", "no")
    result = CliRunner().invoke(sluice, ["up", "--detach"])
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "error: SLUICE_API_PORT=no is no port: give a number from 1 to 65535."
    ]
    assert "Traceback" not in result.output


def test_a_wrong_use_is_exit_code_2() -> None:
    """As for every command line."""
    assert CliRunner().invoke(sluice, ["up", "--nonsense"]).exit_code == 2
    assert CliRunner().invoke(sluice, ["nonsense"]).exit_code == 2


def test_the_status_of_nothing_is_valid_and_exit_code_1() -> None:
    """A program reads empty lists, a script sees that nothing runs."""
    result = CliRunner().invoke(sluice, ["status", "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"servers": [], "roles": [], "addresses": {}, "lag": {}}


def test_stopping_nothing_is_no_failure() -> None:
    """`down` is safe to repeat."""
    result = CliRunner().invoke(sluice, ["down"])
    assert result.exit_code == 0
    assert "Nothing was running." in result.output


def test_the_local_settings_hold_where_the_environment_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sluice topics` in a checkout speaks to the checkout's stack, unless told otherwise."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "env").write_text("JWT_SECRET=kept\nAPI_PORT=1\n", "utf-8")
    # What the command sets in this process's environment must end with the test.
    environment = {"SLUICE_HOME": str(tmp_path / "home"), "API_PORT": "2"}
    monkeypatch.setattr("cli.main.os.environ", environment)
    CliRunner().invoke(sluice, ["schemas"])
    assert environment["JWT_SECRET"] == "kept"
    assert environment["API_PORT"] == "2"


def test_starting_a_role_imports_no_client_that_it_may_not_need() -> None:
    """Five roles start side by side on two cores: each import counts five times."""
    program = "import sys, cli.main, cli.world; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"aiobotocore", "confluent_kafka", "faust", "aiokafka", "asyncpg", "aiohttp"}
