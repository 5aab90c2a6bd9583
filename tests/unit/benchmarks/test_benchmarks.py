"""What the benchmarks count with: the files that are imported, the account of time, the profile."""

from __future__ import annotations

import csv
import io

import pytest

from sluice.values.phone import Phone, parse_phone
from tests.benchmarks.__main__ import NAMES, QUICK, arguments
from tests.benchmarks.contacts import TITLE, contacts_file, listed_numbers, noted_file, number_of
from tests.benchmarks.journeys import MARKS, journey_of
from tests.benchmarks.processes import MAIN, Usage
from tests.benchmarks.profiling import report
from tests.benchmarks.running import Options


def _rows(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode(), newline="")))[1:]


def test_every_contact_of_a_file_is_new_and_callable() -> None:
    """All end as created: no e-mail or number twice, each number valid and the one that lists are made of."""
    rows = _rows(contacts_file(3_000, first=100))
    assert len({row[2] for row in rows}) == len({row[3] for row in rows}) == 3_000
    for number, row in enumerate(rows, start=100):
        phone = parse_phone(row[3], "US", "strict")
        assert isinstance(phone, Phone)
        assert phone.e164 == number_of(number)


def test_a_changed_file_differs_in_one_row_of_twenty() -> None:
    """By nothing but the job title."""
    pairs = list(zip(_rows(contacts_file(1_000)), _rows(contacts_file(1_000, changed_every=20)), strict=True))
    changed = [index for index, (before, after) in enumerate(pairs) if before != after]
    assert changed == list(range(0, 1_000, 20))
    for before, after in pairs:
        assert before[:TITLE] + before[TITLE + 1 :] == after[:TITLE] + after[TITLE + 1 :]


def test_a_company_list_holds_one_number_of_a_hundred_rows() -> None:
    """The others on it are nobody's in the file, and none is there twice."""
    listed = listed_numbers(10_000, 5_000)
    ours = {number_of(row) for row in range(10_000)}
    assert len(set(listed)) == len(listed) == 5_000
    assert len(ours & set(listed)) == 100


def test_the_file_of_a_hundred_megabytes_keeps_the_limits() -> None:
    """A file of the size asked for, with rows so long that their number stays below the product's limit."""
    content, rows = noted_file(1_000_000)
    assert len(content) == pytest.approx(1_000_000, rel=0.03)
    assert rows * 100 < 500_000


def test_the_stages_of_an_import_sum_to_its_time() -> None:
    """Every second between request and answer belongs to one stage."""
    times = {"request": 10.0} | {mark: 10.5 + index for index, mark in enumerate(MARKS)}
    journey = journey_of(times)
    assert list(journey.stages) == list(MARKS.values())
    assert sum(journey.stages.values()) == pytest.approx(journey.seconds)


def test_work_of_other_programs_is_told_apart() -> None:
    """What the machine did and no process of the benchmark did."""
    before = Usage({"sink": 1.0}, {}, machine=100.0, at=0.0)
    used = Usage({"sink": 3.0, "streams": 1.0}, {}, machine=104.0, at=1.0).since(before)
    assert used.by_process == {"sink": 2.0, "streams": 1.0}
    assert 0 < used.by_others <= 1


def test_a_profile_shares_the_cpu_out_by_samples() -> None:
    """A function has what it uses itself, and what it uses with all that it calls, once for a recursion."""
    usage = Usage({}, {("streams", MAIN): 2.0, ("streams", "rdkbroker"): 0.5, ("sink", MAIN): 9.0}, 0, 0)
    stacks = {("main", "step", "hash"): 30, ("main", "step", "step"): 50, ("main",): 20}
    found = report("streams", usage, stacks, rows=1_000_000)
    assert found["by_thread"] == {MAIN: 2.0, "rdkbroker": 0.5}
    assert found["by_function_itself"] == {"step": 1.0, "hash": 0.6, "main": 0.4}
    assert found["by_function_with_what_it_calls"] == {"step": 1.6, "hash": 0.6}


def test_the_command_line_chooses_benchmarks_and_sizes() -> None:
    """All of them by default; a name that is none is a wrong use."""
    assert arguments([]) == (Options(), list(NAMES))
    options, chosen = arguments(["--quick", "--rounds=3", "--only=memory"])
    assert (options.rows, options.rounds, chosen) == (QUICK.rows, 3, ["memory"])
    with pytest.raises(SystemExit):
        arguments(["--only=nonsense"])
