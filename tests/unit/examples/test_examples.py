"""The sample files are what their generator makes, and meet every rule that the demo is to show."""

from __future__ import annotations

import csv
import importlib.util
from collections import Counter
from pathlib import Path
from types import ModuleType

import phonenumbers
import pytest

from sluice.values.phone import Phone, parse_phone

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """`examples/make_contacts.py` as a module."""
    spec = importlib.util.spec_from_file_location("make_contacts", EXAMPLES / "make_contacts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with (EXAMPLES / "contacts.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_committed_samples_are_the_generated_ones(
    generator: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes every time."""
    monkeypatch.setattr(generator, "HERE", tmp_path)
    generator.main()
    for name in ("contacts.csv", "do-not-call.csv"):
        assert (tmp_path / name).read_bytes() == (EXAMPLES / name).read_bytes()


def test_there_are_a_thousand_rows(rows: list[dict[str, str]]) -> None:
    """Every one under the whole header."""
    assert len(rows) == 1000
    assert all(None not in row and None not in row.values() for row in rows)


@pytest.mark.requirement("T-18")
def test_numbers_are_valid_and_belong_to_nobody(generator: ModuleType, rows: list[dict[str, str]]) -> None:
    """All but the ones made to be faulty are valid, and of the range that is kept for fiction."""
    faulty = {each["Mobile"] for each in generator.FAULTS if "Mobile" in each}
    for row in rows:
        if row["Mobile"] and row["Mobile"] not in faulty:
            number = phonenumbers.parse(row["Mobile"], "US")
            assert phonenumbers.is_valid_number(number)
            assert str(number.national_number)[3:6] == "555"
            assert "0100" <= str(number.national_number)[6:] <= "0199"


def test_nobody_can_be_mailed(rows: list[dict[str, str]]) -> None:
    """Addresses end in example.com, which is nobody's."""
    assert all(row["E-mail"].endswith("example.com") for row in rows if "@" in row["E-mail"])


def test_the_sample_holds_what_the_rules_tell_apart(
    generator: ModuleType, rows: list[dict[str, str]]
) -> None:
    """Rows without identity, repeated people, people without number or address, entries to be excluded."""
    faulty = {each.get("E-mail") for each in generator.FAULTS}
    emails = Counter(row["E-mail"] for row in rows if "@" in row["E-mail"])
    assert sum(not row["E-mail"] and not row["Mobile"] for row in rows) == 8
    assert sum(row["Last Name"] == "Test" for row in rows) == 3
    assert sum(count == 2 for email, count in emails.items() if email not in faulty) == 72
    assert any(row["E-mail"] and not row["Mobile"] for row in rows)
    assert any(row["Mobile"] and not row["E-mail"] for row in rows)
    assert any("\n" in row["Notes"] for row in rows)


def test_the_do_not_call_list_names_people_of_the_sample(rows: list[dict[str, str]]) -> None:
    """Twenty of them, each once in the file."""
    numbers = Counter(
        parsed.e164 for row in rows if isinstance(parsed := parse_phone(row["Mobile"], "US", "strict"), Phone)
    )
    with (EXAMPLES / "do-not-call.csv").open(encoding="utf-8", newline="") as file:
        listed = [parse_phone(row["phone"], "US", "strict") for row in csv.DictReader(file)]
    assert len(listed) == 20
    assert all(isinstance(each, Phone) and numbers[each.e164] == 1 for each in listed)
