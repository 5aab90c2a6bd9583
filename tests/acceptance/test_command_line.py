"""The commands that a person uses, on the whole running system."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Running

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ROWS = "email,phone,Colour\n{0}1@example.com,+14155550101,red\n{0}2@example.com,,blue\n"


@pytest.fixture
def name() -> str:
    """An organization of the test's own."""
    return f"Org {uuid.uuid4().hex[:12]}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "two.csv"
    path.write_text(ROWS.format(uuid.uuid4().hex), encoding="utf-8")
    return path


def answer(text: str) -> Any:
    return json.loads(text)


async def test_a_token_is_for_the_same_account_every_time(running: Running, name: str) -> None:
    """Organization and user are made once; the plain form is the token and nothing else."""
    first = answer(running.sluice("token", "--org", name, "--json"))
    second = answer(running.sluice("token", "--org", name.upper(), "--json"))
    assert set(first) == {"token", "organization_id", "user_id"}
    assert first["organization_id"] == second["organization_id"]
    assert first["user_id"] == second["user_id"]
    assert running.sluice("token", "--org", name).count(".") == 2
    other = answer(running.sluice("token", "--org", name, "--user", "Somebody", "--role", "agent", "--json"))
    assert other["organization_id"] == first["organization_id"]
    assert other["user_id"] != first["user_id"]


@pytest.mark.requirement("S0-030", "S0-033")
async def test_an_import_ends_with_the_account_of_every_row(running: Running, name: str, file: Path) -> None:
    """Exit code 0 and a table that sums; the same again doubles nothing."""
    shown = running.sluice("import", str(file), "--org", name)
    assert "created" in shown
    assert "every row once" in shown
    again = answer(running.sluice("import", str(file), "--org", name, "--json"))
    assert again["state"] == "completed"
    assert {key: n for key, n in again["counts"].items() if n} == {"duplicate_existing": 2}


@pytest.mark.requirement("S0-031")
async def test_refused_rows_are_exit_code_3_and_can_be_seen(
    running: Running, name: str, tmp_path: Path
) -> None:
    """`rows` names line and reason of each."""
    path = tmp_path / "bad.csv"
    path.write_text("email,phone\ngood@example.com,\nnot an address,12\n,\n", encoding="utf-8")
    job = answer(running.sluice("import", str(path), "--org", name, "--json", codes=(3,)))
    lines = running.sluice("rows", job["id"], "--org", name, "--json").splitlines()
    rows = [answer(line) for line in lines]
    assert [row["outcome"] for row in rows] == ["created", "invalid", "no_identity"]
    assert [row["source_line"] for row in rows] == [2, 3, 4]
    assert {each["field"] for each in rows[1]["errors"]} == {"email", "phone"}
    (only,) = running.sluice("rows", job["id"], "--org", name, "--outcome", "invalid", "--json").splitlines()
    assert answer(only) == rows[1]
    assert "invalid" in running.sluice("rows", job["id"], "--org", name)


async def test_a_dry_run_writes_nothing(running: Running, name: str, file: Path) -> None:
    """The outcomes are shown and nothing is there afterwards."""
    job = answer(running.sluice("import", str(file), "--org", name, "--dry-run", "--json"))
    assert job["counts"]["created"] == 2
    owner = answer(running.sluice("token", "--org", name, "--json"))["organization_id"]
    count = await running.database.fetchval(
        "SELECT count(*) FROM contacts WHERE organization_id = $1", uuid.UUID(owner)
    )
    assert count == 0


async def test_columns_can_be_mapped_by_hand(running: Running, name: str, tmp_path: Path) -> None:
    """A header that says nothing is told what it is."""
    path = tmp_path / "odd.csv"
    path.write_text("Contact=Info,City\na@example.com,Ulm\n", encoding="utf-8")
    job = answer(
        running.sluice(
            "import", str(path), "--org", name, "--map", "Contact=Info=email", "--map", "City=city", "--json"
        )
    )
    assert job["counts"]["created"] == 1


async def test_imports_are_listed_newest_first(running: Running, name: str, file: Path) -> None:
    """With `--no-wait` the job is answered as it is."""
    made = [
        answer(running.sluice("import", str(file), "--org", name, "--no-wait", "--json"))["id"]
        for _ in range(2)
    ]
    listed = answer(running.sluice("jobs", "--org", name, "--json"))
    assert [job["id"] for job in listed] == made[::-1]
    assert "two.csv" in running.sluice("jobs", "--org", name)
    assert "There are no imports" in running.sluice("jobs", "--org", name + " other")


async def test_mistakes_end_in_one_sentence(running: Running, name: str, tmp_path: Path) -> None:
    """Usage is 2, what the API refuses is 1, and neither is a traceback."""
    picture = tmp_path / "picture.csv"
    picture.write_bytes(b"%PDF-1.7 and so on")
    running.sluice("import", str(tmp_path / "gone.csv"), codes=(2,))
    running.sluice("import", str(picture), "--on-duplicate", "destroy", codes=(2,))
    running.sluice("rows", "no-uuid", codes=(2,))
    running.sluice("import", str(picture), "--org", name, codes=(1,))
    running.sluice("rows", str(uuid.uuid4()), "--org", name, codes=(1,))


@pytest.mark.requirement("K-43")
async def test_a_dnc_list_is_loaded_checked_and_replaced(running: Running, name: str, tmp_path: Path) -> None:
    """Bad lines are named and exit code 3; a check answers 0 only for a number that is on no list."""
    path = tmp_path / "dnc.txt"
    path.write_text("phone,reason\n415-555-0142,asked\nnonsense\n", encoding="utf-8")
    running.sluice("token", "--org", name)
    command = ("dnc", "load", str(path), "--list", "Asked", "--org", name, "--json")
    loaded = answer(running.sluice(*command, codes=(3,)))
    assert (loaded["version"], loaded["entries"]) == (1, 1)
    assert loaded["bad_lines"] == [{"line": 3, "problem": "Invalid phone number format"}]
    listed = answer(running.sluice("dnc", "check", "(415) 555-0142", "--org", name, "--json", codes=(3,)))
    assert (listed["status"], listed["list_name"], listed["reason"]) == ("listed", "Asked", "asked")
    assert "is on no list" in running.sluice("dnc", "check", "4155550143", "--org", name)
    path.write_text("4155550143\n", encoding="utf-8")
    assert answer(running.sluice(*command, "--replace"))["version"] == 2
    assert "is on no list" in running.sluice("dnc", "check", "4155550142", "--org", name)
    running.sluice("dnc", "check", "12", "--org", name, codes=(2,))
    path.write_bytes(b"\xff\xfe4\x001\x00")
    running.sluice(*command, codes=(1,))


@pytest.mark.requirement("B-07")
async def test_events_are_shown_decoded_and_once_each(running: Running, name: str, file: Path) -> None:
    """The events of an import, by job and row, from the oldest that is kept."""
    job = answer(running.sluice("import", str(file), "--org", name, "--json"))
    kept = await running.database.fetchval(
        "SELECT sum(created + updated + merged) FROM import_jobs WHERE NOT (options ->> 'dry_run')::boolean"
    )
    lines = running.sluice(
        "events", "--topic", "contacts.imported.v1", "--from-start", "--count", str(kept), "--json"
    )
    seen = [answer(line) for line in lines.splitlines()]
    own = [each["event"] for each in seen if each["event"]["lineage"]["job_id"] == job["id"]]
    assert sorted(each["lineage"]["row_no"] for each in own) == [1, 2]
    assert {each["action"] for each in own} == {"created"}
    assert len({each["event_id"] for each in own}) == 2


@pytest.mark.requirement("B-07")
def test_the_example_subscriber_sees_every_contact(running: Running, name: str, file: Path) -> None:
    """Thirty lines of a stranger's code, with nothing of ours."""
    running.sluice("import", str(file), "--org", name)
    emails = {line.split(",")[0] for line in file.read_text(encoding="utf-8").splitlines()[1:]}
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "subscriber.py")],
        env={**os.environ, **running.stack.env, "GROUP": f"test-{uuid.uuid4()}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        missing = set(emails)
        while missing:
            line = process.stdout.readline()
            assert line, "the subscriber has left"
            missing -= {email for email in missing if email in line}
    finally:
        process.kill()
        process.communicate()


@pytest.mark.requirement("S0-030", "S0-033")
async def test_the_demo_accounts_for_every_row_of_its_file(running: Running) -> None:
    """1,000 rows, five ways, every outcome that a file can have, and every sum is 1,000."""
    shown = answer(running.sluice("demo", "--json"))
    sums = [sum(job["counts"].values()) for job in shown["jobs"]]
    assert sums == [1000] * 5
    occurring = {outcome for job in shown["jobs"] for outcome, count in job["counts"].items() if count}
    assert len(occurring) == 12
    assert "failed" not in occurring
    first = shown["jobs"][1]["counts"]
    assert first == {
        **dict.fromkeys(first, 0),
        "created": 881,
        "duplicate_in_file": 60,
        "excluded": 3,
        "no_identity": 8,
        "suppressed_dnc": 20,
        "invalid": 16,
        "conflict": 12,
    }
